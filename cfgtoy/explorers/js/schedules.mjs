// Noise schedules: how log-SNR λ is spread over u in (0, 1), 0 clean and 1 noise.
// Each is {lo, hi, logsnr(u), u(λ), density(λ)}: a falling map, its inverse, and the law of λ for uniform u.

const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

/** λ spread evenly (Ho & Salimans 2022). */
export function uniform(lo = -20, hi = 20) {
  return { lo, hi, logsnr: (u) => hi - (hi - lo) * u, u: (lam) => (hi - lam) / (hi - lo), density: () => 1 / (hi - lo) };
}

/** λ = −2 log tan(au + b): the continuous cosine schedule, a hyperbolic secant cut to [lo, hi] (ibid.). */
export function cosine(lo = -20, hi = 20) {
  const b = Math.atan(Math.exp(-hi / 2)), end = Math.atan(Math.exp(lo / 2)), a = Math.PI / 2 - end - b;
  return {
    lo, hi,
    // Past the middle the angle is measured from π/2: there tan loses what its reciprocal keeps.
    logsnr: (u) => (u <= 0.5 ? -2 * Math.log(Math.tan(a * u + b)) : 2 * Math.log(Math.tan(a * (1 - u) + end))),
    u: (lam) => (lam >= 0 ? (Math.atan(Math.exp(-lam / 2)) - b) / a : 1 - (Math.atan(Math.exp(lam / 2)) - end) / a),
    density: (lam) => 1 / (4 * a * Math.cosh(lam / 2)),
  };
}

/** DDPM's linear β in continuous time: α² = exp(−B(t)), B(t) = β₀t + ½(β₁ − β₀)t² (Ho et al. 2020; Song et al. 2021). */
export function linear(b0 = 0.1, b1 = 20, hi = 20) {
  const slope = b1 - b0, lo = -Math.log(Math.expm1((b0 + b1) / 2));
  const time = (lam) => { // from B = −log α² = softplus(−λ)
    const total = softplus(-lam);
    return (2 * total) / (b0 + Math.sqrt(b0 * b0 + 2 * slope * total));
  };
  const clean = time(hi), noisy = time(lo);
  return {
    lo, hi,
    logsnr: (u) => {
      const t = clean + (noisy - clean) * u;
      return -Math.log(Math.expm1(b0 * t + 0.5 * slope * t * t));
    },
    u: (lam) => (time(lam) - clean) / (noisy - clean),
    density: (lam) => -Math.expm1(-softplus(-lam)) / ((noisy - clean) * (b0 + slope * time(lam))),
  };
}

/** EDM's training law: log(σ/α) normal, so λ ~ N(−2 mean, 4 std²), cut to [lo, hi] (Karras et al. 2022). */
export function logNormal(mean = -1.2, std = 1.2, lo = -20, hi = 20) {
  const standard = (lam) => (lam + 2 * mean) / (2 * std);
  const below = normalCdf(-standard(hi)), above = normalCdf(-standard(lo)), mass = above - below;
  return {
    lo, hi,
    logsnr: (u) => { // the inverse of u(λ), by halving
      let a = lo, b = hi;
      for (let i = 0; i < 48; i++) {
        const mid = (a + b) / 2;
        if (normalCdf(-standard(mid)) - below > u * mass) a = mid;
        else b = mid;
      }
      return (a + b) / 2;
    },
    u: (lam) => (normalCdf(-standard(lam)) - below) / mass,
    density: (lam) => Math.exp(-0.5 * standard(lam) ** 2) / (2 * std * Math.sqrt(2 * Math.PI) * mass),
  };
}

/** Φ(x): Marsaglia's series near the middle, the tail's continued fraction beyond. */
export function normalCdf(x) {
  const phi = Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
  if (Math.abs(x) > 4) {
    let f = 0;
    for (let k = 40; k > 0; k--) f = k / (Math.abs(x) + f);
    const tail = phi / (Math.abs(x) + f);
    return x < 0 ? tail : 1 - tail;
  }
  let term = x, sum = x;
  for (let k = 3; Math.abs(term) > 1e-17; k += 2) sum += term *= (x * x) / k;
  return 0.5 + phi * sum;
}

/** `base` with every λ moved by `shift`: the same schedule for another resolution (Hoogeboom et al. 2023). */
export function shifted(base, shift) {
  return {
    lo: base.lo + shift, hi: base.hi + shift,
    logsnr: (u) => base.logsnr(u) + shift, u: (lam) => base.u(lam - shift), density: (lam) => base.density(lam - shift),
  };
}

/** The rising levels λ_1 = lo < … < λ_T = hi of a sampler, evenly spaced in u. */
export function grid(schedule, steps) {
  const out = Float64Array.from({ length: steps }, (_, i) => schedule.logsnr(steps > 1 ? 1 - i / (steps - 1) : 1));
  out[0] = schedule.lo;
  if (steps > 1) out[steps - 1] = schedule.hi;
  return out;
}

export const SCHEDULES = {
  cosine: { name: "cosine", make: () => cosine() },
  uniform: { name: "uniform in λ", make: () => uniform() },
  linear: { name: "linear β (DDPM)", make: () => linear() },
  lognormal: { name: "log-normal (EDM)", make: () => logNormal() },
};
