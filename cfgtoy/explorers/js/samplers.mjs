// From noise to data: three samplers over one rising grid of log-SNRs, z_1 ~ N(0, I) at λ_1 = λ_min.
//
// At each level the guided prediction v gives x̂ = αz − σv and ε̂ = σz + αv. All three updates are linear in (z, v),
// with coefficients that depend on the two levels alone, so a step for 4,000 particles is one short loop.

import { alphaSigma } from "./mixture.mjs";

export const SAMPLERS = ["ancestral", "ddim", "heun"];

/**
 * Coefficients of one step λ → λ' > λ: z' = keep·z + turn·v + spread·noise.
 * ancestral: posterior mean at x̂, with variance (σ̃²)^(1−v) (σ²_λ|λ')^v between its two bounds (`noise` is that v).
 * ddim:      z' = α'x̂ + σ'ε̂.                  heun: the same Euler step, corrected in `advance`.
 */
export function stepCoefficients(sampler, lam, next, noise) {
  const [alpha, sigma] = alphaSigma(lam), [alpha1, sigma1] = alphaSigma(next);
  if (sampler === "ancestral") {
    const shrink = Math.exp(lam - next), grow = -Math.expm1(lam - next); // e^(λ−λ') and 1 − e^(λ−λ')
    return {
      keep: (shrink * alpha1) / alpha + grow * alpha1 * alpha,
      turn: -grow * alpha1 * sigma,
      spread: Math.sqrt(grow) * Math.pow(sigma1, 1 - noise) * Math.pow(sigma, noise),
    };
  }
  return { keep: alpha1 * alpha + sigma1 * sigma, turn: sigma1 * alpha - alpha1 * sigma, spread: 0 };
}

/** One step of one particle, in place at z[i], z[i + 1]; n1, n2: standard normals. The rest as for `move`. */
export function advance(step, sampler, here, there, c, w, w1, z, i, n1, n2, out) {
  move(step, sampler, here, there, c, w, w1, z.subarray(i, i + 2), 0, 1, [n1, n2], 0, out, new Float64Array(2));
}

/**
 * One step of the particles from … to − 1, all of class c, from `here` to `there` (two Levels), in place in z.
 * w: guidance weight at `here`; w1: at `there` (Heun looks there too); noise: their standard normals, from noise[at] on;
 * v, v1: arrays of z's length to work in.
 */
function move(step, sampler, here, there, c, w, w1, z, from, to, noise, at, v, v1) {
  const { keep, turn, spread } = step;
  here.vMany(z, from, to, c, w, v);
  if (spread) {
    for (let i = 2 * from; i < 2 * to; i++) z[i] = keep * z[i] + turn * v[i] + spread * noise[at++];
  } else if (sampler !== "heun") {
    for (let i = 2 * from; i < 2 * to; i++) z[i] = keep * z[i] + turn * v[i];
  } else {
    // Heun: dz = x dα + ε dσ. After the Euler step, the means of x and ε at both ends take their places.
    const half = 0.5 * here.sigma * Math.expm1((here.lam - there.lam) / 2); // half of ασ'/α' − σ
    for (let i = 2 * from; i < 2 * to; i++) {
      const eps = here.sigma * z[i] + here.alpha * v[i];
      z[i] = keep * z[i] + turn * v[i];
      v[i] = eps;
    }
    there.vMany(z, from, to, c, w1, v1);
    for (let i = 2 * from; i < 2 * to; i++) z[i] += half * (there.sigma * z[i] + there.alpha * v1[i] - v[i]);
  }
}

/**
 * A whole run. classes: Int32Array of each particle's class; start: its standard normals (2n);
 * noise: 2n standard normals a step, or fewer, then read round and round; weight(λ): w at that level;
 * path: optional Float32Array of (steps + 1)·2n that receives every state. Returns x̂ at the last level (Float64Array).
 */
export function sample(mixture, { classes, start, grid, sampler, noise, v = 0.3, weight, path, tweak }) {
  const z = Float64Array.from(start), v0 = new Float64Array(z.length), v1 = new Float64Array(z.length);
  const steps = grid.length, n = classes.length;
  const runs = [0]; // where a run of particles of one class begins; many short ones cost time
  for (let i = 1; i <= n; i++) if (i === n || classes[i] !== classes[i - 1]) runs.push(i);
  let there = mixture.at(grid[0]), here;
  path?.set(z, 0);
  for (let s = 0; s + 1 < steps; s++) {
    here = there;
    there = mixture.at(grid[s + 1]);
    const step = stepCoefficients(sampler, here.lam, there.lam, v), w = weight(here.lam), w1 = weight(there.lam);
    tweak?.(step, here);
    let at = (s * 2 * n) % noise.length;
    for (let r = 0; r + 1 < runs.length; r++)
      for (let from = runs[r], to; from < runs[r + 1]; from = to) {
        to = step.spread ? Math.min(runs[r + 1], from + (noise.length - at) / 2) : runs[r + 1];
        move(step, sampler, here, there, classes[from], w, w1, z, from, to, noise, at, v0, v1);
        at = (at + 2 * (to - from)) % noise.length;
      }
    path?.set(z, (s + 1) * 2 * n);
  }
  const w = weight(there.lam), { alpha, sigma } = there;
  for (let r = 0; r + 1 < runs.length; r++) there.vMany(z, runs[r], runs[r + 1], classes[runs[r]], w, v0);
  for (let i = 0; i < 2 * n; i++) z[i] = alpha * z[i] - sigma * v0[i];
  path?.set(z, steps * 2 * n);
  return z;
}

/**
 * The states of a run for samples of any size, along the probability-flow ODE: {step, lam, z, x, …} at each level, x the
 * estimate and with it all else that `predict` said; the last one again as step T, with z = x.
 * predict(z, λ) → a promise of {v, …}; z: Float32Array; sampler: "ddim", or "dpm++2m" (Lu et al. 2022b, Algorithm 2), which
 * extrapolates x̂ from the level before; where a step is more than twice as long as that, as if it were as long.
 */
export async function* states(predict, z, grid, sampler) {
  let before = null;
  for (let step = 0; step < grid.length; step++) {
    const lam = grid[step], next = grid[step + 1], [alpha, sigma] = alphaSigma(lam), { v, ...rest } = await predict(z, lam);
    const x = z.map((at, i) => alpha * at - sigma * v[i]), state = { step, lam, z, x, ...rest };
    yield state;
    if (step + 1 === grid.length) {
      yield { ...state, step: grid.length, z: x };
    } else if (sampler === "ddim") {
      const { keep, turn } = stepCoefficients(sampler, lam, next);
      z = z.map((at, i) => keep * at + turn * v[i]);
    } else {
      const [alpha1, sigma1] = alphaSigma(next), fill = -alpha1 * Math.expm1((lam - next) / 2);
      const ratio = (next - lam) / (lam - grid[step - 1]), ahead = (ratio <= 2 ? ratio : 1) / 2, old = before ?? x;
      z = z.map((at, i) => (sigma1 / sigma) * at + fill * (x[i] + ahead * (x[i] - old[i])));
      before = x;
    }
  }
}
