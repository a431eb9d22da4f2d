// Networks as denoisers, guided: the rules of cfgtoy.guidance on what a network says, as one function of (z, λ).

import { alphaSigma } from "../mixture.mjs";
import { Memory } from "./memory.mjs";
import { NoisyClassifier, UNet } from "./unet.mjs";
import { readSafetensors } from "./weights.mjs";

/** The network of a weight file: {net, kind, student}; kind: what its output means; fast: see Memory; or a memory for it. */
export function network(bytes, { fast = true, memory: own = null } = {}) {
  const { tensors, meta } = readSafetensors(bytes), { class: name, args } = meta.net;
  const classifier = name === "NoisyClassifier", memory = own ?? new Memory({ fast, backwards: classifier });
  const net = new (classifier ? NoisyClassifier : UNet)(memory, tensors, args);
  return { net, kind: meta.kind, student: Boolean(net.conditioning.strength) };
}

/** The velocity that an estimate of a kind amounts to. */
function velocity(kind, z, estimate, alpha, sigma) {
  if (kind === "v") return estimate;
  if (kind === "eps") return estimate.map((eps, i) => (eps - sigma * z[i]) / alpha);
  return estimate.map((x, i) => (alpha * z[i] - x) / sigma);
}

/**
 * predict(z, λ) → a promise of {v, push}: the guided velocity, and for each image the root mean square of what guidance added to ε̂.
 * rule: "classifier-free", ε̃ = ε_c + w (ε_c − ε_∅), or "classifier", ε̃ = ε_c − w σ ∇ log p(c|z). A student has learned
 * the guided answer and takes w itself. To know its push it must be asked at w = 0 as well, which it is if `compare` is set;
 * else the push is zero.
 */
export function guided({ denoiser, classifier = null, rule, w, y, compare = false }) {
  const { net, kind, student } = denoiser, none = y.map(() => -1);
  return async (z, lam) => {
    const [alpha, sigma] = alphaSigma(lam), each = z.length / y.length, push = new Float32Array(y.length);
    const ask = async (input, classes, strength = w) => velocity(kind, input, await net.run(input, lam, classes, strength), alpha, sigma);
    if (w === 0 || (student && !compare)) return { v: await ask(z, y), push };
    let v, more; // the conditional velocity, and what guidance adds to it
    if (student) {
      const guided = await ask(z, y);
      v = await ask(z, y, 0);
      more = guided.map((g, i) => g - v[i]);
    } else if (rule === "classifier") {
      v = await ask(z, y);
      more = classifier.net.run(z, lam, y).gradient.map((g) => (-w * sigma * g) / alpha);
    } else {
      const twice = new Float32Array(2 * z.length);
      twice.set(z);
      twice.set(z, z.length);
      const both = await ask(twice, [...y, ...none]);
      v = both.slice(0, z.length);
      more = v.map((c, i) => w * (c - both[z.length + i]));
    }
    for (let i = 0; i < z.length; i++) {
      v[i] += more[i];
      push[Math.floor(i / each)] += (alpha * more[i]) ** 2 / each;
    }
    return { v, push: push.map(Math.sqrt) };
  };
}
