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

/**
 * One step of one particle, from `here` to `there` (two Levels), in place at z[i], z[i + 1].
 * w: guidance weight at `here`; w1: at `there` (Heun looks there too); n1, n2: standard normals.
 */
export function advance(step, sampler, here, there, c, w, w1, z, i, n1, n2, out) {
  const x = z[i], y = z[i + 1], { keep, turn, spread } = step;
  here.v(x, y, c, w, out);
  if (sampler !== "heun") {
    z[i] = keep * x + turn * out[0] + spread * n1;
    z[i + 1] = keep * y + turn * out[1] + spread * n2;
    return;
  }
  // Heun: dz = x dα + ε dσ. After the Euler step, the means of x and ε at both ends take their places.
  const half = 0.5 * here.sigma * Math.expm1((here.lam - there.lam) / 2); // half of ασ'/α' − σ
  const ex = here.sigma * x + here.alpha * out[0], ey = here.sigma * y + here.alpha * out[1];
  const px = keep * x + turn * out[0], py = keep * y + turn * out[1];
  there.v(px, py, c, w1, out);
  z[i] = px + half * (there.sigma * px + there.alpha * out[0] - ex);
  z[i + 1] = py + half * (there.sigma * py + there.alpha * out[1] - ey);
}

/**
 * A whole run. classes: Int32Array of each particle's class; start: its standard normals (2n);
 * noise: 2n standard normals a step, or fewer, then read round and round; weight(λ): w at that level;
 * path: optional Float32Array of (steps + 1)·2n that receives every state. Returns x̂ at the last level (Float64Array).
 */
export function sample(mixture, { classes, start, grid, sampler, noise, v = 0.3, weight, path, tweak }) {
  const z = Float64Array.from(start), out = new Float64Array(2), steps = grid.length, n = classes.length;
  let there = mixture.at(grid[0]), here;
  path?.set(z, 0);
  for (let s = 0; s + 1 < steps; s++) {
    here = there;
    there = mixture.at(grid[s + 1]);
    const step = stepCoefficients(sampler, here.lam, there.lam, v), w = weight(here.lam), w1 = weight(there.lam);
    tweak?.(step, here);
    const shift = (s * 2 * n) % noise.length, wrap = noise.length - shift;
    for (let i = 0; i < 2 * n; i += 2) {
      const j = i < wrap ? shift + i : i - wrap;
      advance(step, sampler, here, there, classes[i >> 1], w, w1, z, i, noise[j], noise[j + 1], out);
    }
    path?.set(z, (s + 1) * 2 * n);
  }
  const w = weight(there.lam);
  for (let i = 0; i < 2 * n; i += 2) {
    there.x(z[i], z[i + 1], classes[i >> 1], w, out);
    z[i] = out[0];
    z[i + 1] = out[1];
  }
  path?.set(z, steps * 2 * n);
  return z;
}
