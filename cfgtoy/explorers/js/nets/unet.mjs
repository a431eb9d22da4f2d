// The U-Net and the classifier of noisy images: nets/unet.py, layer by layer, with the same names of weights.
//
// tensors: a Map of weights, name → {shape, data}; args: the network's sizes, as the weight file tells them.

import * as layers from "./layers.mjs";

/** The layers of tensors in a memory: those of layers.mjs, or the memory's own. */
const kit = (memory) => memory.layers ?? layers;

/** The numbers of `tensors` below a name: scope("encoder.")("stem.weight"). */
export function scope(tensors, prefix = "") {
  const get = (name) => tensors.get(prefix + name);
  get.below = (name) => scope(tensors, `${prefix}${name}.`);
  get.linear = (memory, name) => new (kit(memory).Linear)(memory, get(`${name}.weight`), get(`${name}.bias`));
  get.conv = (memory, name) => new (kit(memory).Conv)(memory, get(`${name}.weight`), get(`${name}.bias`));
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
    const { silu } = kit(this.memory), named = this.classes && this.rows(y.map((one) => this.embedded(one)));
    const c = this.out.run(silu(this.hidden.run(this.waves(b, lam))), { onto: named });
    return silu(this.strength ? this.strength.run(this.waves(b, w), { onto: c }) : c);
  }

  /** The row of a class. */
  embedded(one) {
    const { shape: [, width], data } = this.classes, at = (one < 0 ? this.count : one) * width;
    return data.subarray(at, at + width);
  }

  /** Cosines and sines of a number, the same for b images. */
  waves(b, number) {
    const angles = this.frequencies.map((frequency) => Math.fround(number) * frequency);
    return this.rows(Array(b).fill([...angles.map(Math.cos), ...angles.map(Math.sin)]));
  }

  /** Vectors as a tensor. */
  rows(vectors) {
    return kit(this.memory).enter(this.memory, Float32Array.from(vectors.flatMap((v) => [...v])), [vectors.length, 1, 1, vectors[0].length]);
  }
}

export class Attention {
  constructor(memory, weights, head) {
    Object.assign(this, { head, qkv: weights.linear(memory, "qkv"), out: weights.linear(memory, "out") });
  }

  run(x) {
    const { attend, norm } = kit(x.memory);
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
    const { activate } = kit(x.memory), h = this.conv1.run(activate(x, { border: 1 }));
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
      if (i > 0) h = kit(z.memory).pool(h);
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
    const { memory, channels, side } = this, each = side * side, c = 8 * Math.ceil(channels / 8), b = z.length / (channels * each);
    const numbers = new Float32Array(b * each * c);
    z.forEach((value, i) => { numbers[this.place(i, c)] = value; });
    return kit(memory).enter(memory, numbers, [b, side, side, c], 1);
  }

  /** Numbers as tensors hold them, c channels side by side, as PyTorch does. */
  images(numbers, c) {
    return new Float32Array((numbers.length / c) * this.channels).map((_, i) => numbers[this.place(i, c)]);
  }

  /** Where number i of PyTorch's lies among c channels side by side. */
  place(i, c) {
    const { channels, side } = this, each = side * side, row = Math.floor(i / each);
    return (Math.floor(row / channels) * each + (i % each)) * c + (row % channels);
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

  /** z: Float32Array (b, channels, h, w); lam: λ, one for all; y: b classes, −1 for ∅. A promise. */
  async run(z, lam, y, w = 0) {
    const { memory } = this, { activate, double, leave } = kit(memory), mark = memory.used;
    const c = this.conditioning.run(y.length, lam, y, w);
    let [h, skips] = this.encoder.run(this.enter(z), c);
    this.levels.forEach(({ up, merges, blocks }, i) => {
      if (up) h = up.run(h);
      if (i > 0) h = double(h);
      blocks.forEach((block, j) => { h = block.run(merges[j].run(skips.pop(), { onto: h }), c); });
    });
    const out = this.last.run(activate(h, { border: 1 })), numbers = leave(out); // what the memory does not keep
    memory.release(mark);
    return this.images(await numbers, out.c);
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
    const logits = this.head.run(layers.pool(layers.activate(h), h.h)), logProbs = [];
    for (let image = 0; image < y.length; image++) { // the gradient of log softmax is a unit vector less the shares
      const at = logits.pixel(image), to = logits.grad.pixel(image), own = memory.f.subarray(at, at + classes);
      const top = Math.max(...own), shares = own.map((l) => Math.exp(l - top)), sum = shares.reduce((a, s) => a + s, 0);
      logProbs.push(own[y[image]] - top - Math.log(sum));
      for (let i = 0; i < classes; i++) memory.f[to + i] = (i === y[image] ? 1 : 0) - shares[i] / sum;
    }
    memory.goBack();
    const gradient = this.images(layers.leave(x.grad), x.c);
    memory.release(mark);
    return { logProbs, gradient };
  }
}
