// The U-Net and the classifier of noisy images: nets/unet.py, layer by layer, with the same names of weights.
//
// tensors: a Map of weights, name → {shape, data}; args: the network's sizes, as the weight file tells them.

import { activate, attend, Conv, double, Linear, norm, pool } from "./layers.mjs";
import { Tensor } from "./memory.mjs";

/** The numbers of `tensors` below a name: scope("encoder.")("stem.weight"). */
export function scope(tensors, prefix = "") {
  const get = (name) => tensors.get(prefix + name);
  get.below = (name) => scope(tensors, `${prefix}${name}.`);
  get.linear = (memory, name) => new Linear(memory, get(`${name}.weight`), get(`${name}.bias`));
  get.conv = (memory, name) => new Conv(memory, get(`${name}.weight`), get(`${name}.bias`));
  return get;
}

/** The noise level, the class where the network takes one, and w where it takes that, as one vector for each image. */
export class Conditioning {
  constructor(memory, weights, classes) {
    Object.assign(this, { memory, classes: weights("classes.weight"), count: classes });
    this.hidden = weights.linear(memory, "mlp.0");
    this.out = weights.linear(memory, "mlp.2");
    this.strength = weights("strength.weight") ? weights.linear(memory, "strength") : null;
    const [slow, fast] = [Math.log10(0.025), Math.log10(4)];
    this.frequencies = Float32Array.from({ length: 64 }, (_, i) => 10 ** (slow + ((fast - slow) * i) / 63));
  }

  /** lam: one λ for all; y: a class for each image, −1 for none. */
  run(b, lam, y, w) {
    const { memory } = this;
    let c = this.out.run(silu(this.hidden.run(this.waves(b, lam))));
    if (this.strength) c = this.strength.run(this.waves(b, w), { onto: c });
    if (this.classes) {
      const { data } = this.classes;
      for (let image = 0; image < b; image++) {
        const at = c.pixel(image), row = (y[image] < 0 ? this.count : y[image]) * c.c;
        for (let i = 0; i < c.c; i++) memory.f[at + i] += data[row + i];
      }
    }
    return silu(c);
  }

  /** Cosines and sines of a number, the same for b images. */
  waves(b, number) {
    const x = new Tensor(this.memory, b, 1, 1, 128), { f } = this.memory;
    for (let image = 0; image < b; image++)
      this.frequencies.forEach((frequency, i) => {
        const angle = Math.fround(number) * frequency;
        f[x.pixel(image) + i] = Math.cos(angle);
        f[x.pixel(image) + 64 + i] = Math.sin(angle);
      });
    return x;
  }
}

/** SiLU, in place: of vectors through which no gradient goes. */
function silu(x) {
  const { f } = x.memory;
  for (let i = x.at; i < x.at + x.size; i++) f[i] /= 1 + Math.exp(-f[i]);
  return x;
}

export class Attention {
  constructor(memory, weights, head) {
    Object.assign(this, { head, qkv: weights.linear(memory, "qkv"), out: weights.linear(memory, "out") });
  }

  run(x) {
    return this.out.run(attend(this.qkv.run(norm(x)), this.head), { onto: x });
  }
}

export class Block {
  constructor(memory, weights, head) {
    this.conv1 = weights.conv(memory, "conv1");
    this.modulation = weights.linear(memory, "modulation");
    this.conv2 = weights.conv(memory, "conv2");
    this.skip = weights("skip.weight") ? weights.linear(memory, "skip") : null;
    this.attention = weights("attention.qkv.weight") ? new Attention(memory, weights.below("attention"), head) : null;
  }

  run(x, c) {
    const h = this.conv1.run(activate(x, { border: 1 }));
    const inner = activate(h, { modulation: this.modulation.run(c), border: 1 });
    const y = this.conv2.run(inner, { onto: this.skip ? this.skip.run(x) : x });
    return this.attention ? this.attention.run(y) : y;
  }
}

const blocks = (memory, weights, count, head) =>
  Array.from({ length: count }, (_, i) => new Block(memory, weights.below(i), head));

/** The way down. */
class Encoder {
  constructor(memory, weights, { blocks: counts, head }) {
    this.stem = weights.conv(memory, "stem");
    this.levels = counts.map((count, i) => blocks(memory, weights.below(`levels.${i}`), count, head));
    this.middle = new Block(memory, weights.below("middle"), head);
  }

  run(z, c) {
    let h = this.stem.run(z);
    const skips = [];
    this.levels.forEach((level, i) => {
      if (i > 0) h = pool(h);
      for (const block of level) skips.push((h = block.run(h, c)));
    });
    return [this.middle.run(h, c), skips];
  }
}

/** What both networks share: images come in and go out as PyTorch holds them, (b, channels, h, w). */
class Network {
  constructor(memory, tensors, args) {
    Object.assign(this, { memory, args, channels: args.in_channels, side: args.image_size });
    this.weights = scope(tensors);
    this.conditioning = new Conditioning(memory, this.weights.below("conditioning"), args.num_classes);
    this.encoder = new Encoder(memory, this.weights.below("encoder"), args);
  }

  /** z as a tensor with a border. */
  enter(z) {
    const { memory, channels, side } = this, each = side * side, b = z.length / (channels * each);
    const x = new Tensor(memory, b, side, side, 8 * Math.ceil(channels / 8), 1);
    for (let p = 0; p < x.pixels; p++) {
      const image = Math.floor(p / each), at = x.pixel(p);
      for (let k = 0; k < channels; k++) memory.f[at + k] = z[(image * channels + k) * each + (p % each)];
    }
    return x;
  }

  /** A tensor without a border as an array. */
  leave(x) {
    const { memory, channels, side } = this, each = side * side, out = new Float32Array(x.pixels * channels);
    for (let p = 0; p < x.pixels; p++) {
      const image = Math.floor(p / each);
      for (let k = 0; k < channels; k++) out[(image * channels + k) * each + (p % each)] = memory.f[x.pixel(p) + k];
    }
    return out;
  }
}

/** The U-Net: (z, λ, y, w) → an estimate of the size of z. Only a student takes w. */
export class UNet extends Network {
  constructor(memory, tensors, args) {
    super(memory, tensors, args);
    const { weights } = this, counts = [...args.blocks].reverse();
    this.levels = counts.map((count, i) => ({
      up: weights(`ups.${i}.weight`) ? weights.linear(memory, `ups.${i}`) : null,
      merges: Array.from({ length: count }, (_, j) => weights.linear(memory, `merges.${i}.${j}`)),
      blocks: blocks(memory, weights.below(`levels.${i}`), count, args.head),
    }));
    this.last = weights.conv(memory, "last");
  }

  /** z: Float32Array (b, channels, h, w); lam: λ, one for all; y: b classes, −1 for ∅. */
  run(z, lam, y, w = 0) {
    const { memory } = this, mark = memory.used;
    const c = this.conditioning.run(y.length, lam, y, w);
    let [h, skips] = this.encoder.run(this.enter(z), c);
    this.levels.forEach(({ up, merges, blocks }, i) => {
      if (up) h = up.run(h);
      if (i > 0) h = double(h);
      blocks.forEach((block, j) => { h = block.run(merges[j].run(skips.pop(), { onto: h }), c); });
    });
    const out = this.leave(this.last.run(activate(h, { border: 1 })));
    memory.release(mark);
    return out;
  }
}

/** The way down and a mean over the pixels: (z, λ) → logits of p(c | z). */
export class NoisyClassifier extends Network {
  constructor(memory, tensors, args) {
    super(memory, tensors, args);
    this.head = this.weights.linear(memory, "head");
  }

  /** log p(y | z) for each image's class y, and its gradient with respect to z, both as arrays. */
  run(z, lam, y) {
    const { memory } = this, mark = memory.used, classes = this.args.num_classes, x = this.enter(z);
    const [h] = this.encoder.run(x, this.conditioning.run(y.length, lam, null));
    const logits = this.head.run(pool(activate(h), h.h)), logProbs = [];
    for (let image = 0; image < y.length; image++) { // the gradient of log softmax is a unit vector less the shares
      const at = logits.pixel(image), to = logits.grad.pixel(image), own = memory.f.subarray(at, at + classes);
      const top = Math.max(...own), shares = own.map((l) => Math.exp(l - top)), sum = shares.reduce((a, s) => a + s, 0);
      logProbs.push(own[y[image]] - top - Math.log(sum));
      for (let i = 0; i < classes; i++) memory.f[to + i] = (i === y[image] ? 1 : 0) - shares[i] / sum;
    }
    memory.goBack();
    const gradient = this.leave(x.grad);
    memory.release(mark);
    return { logProbs, gradient };
  }
}
