// Guidance rules. On the exact mixture a rule is nothing but a weight w for every noise level:
//   ε̃ = (1 + w) ε(z, c) − w ε(z)      (classifier-free; Ho & Salimans 2022, eq. 6),
// which `Level.v(x, y, c, w, out)` evaluates in one pass. w = 0 is the conditional model, w = −1 the unconditional one.

/** The weight as a function of λ. interval: [lo, hi], outside of which there is no guidance (Kynkäänniemi et al. 2024). */
export function weightRule(w, interval = null) {
  return interval ? (lam) => (lam >= interval[0] && lam <= interval[1] ? w : 0) : () => w;
}

/** ∇_z log p(c|z) of the exact noisy classifier, Σ_k (r_k|c − r_k) ∇ log N_k, straight from the densities. */
export function classifierGradient(level, x, y, c, out) {
  const logs = level.componentLogs(x, y), { from, components } = level.mixture, { alpha, sigma } = level;
  const top = Math.max(...logs), ownTop = Math.max(...logs.subarray(from[c], from[c + 1]));
  let sum = 0, ownSum = 0, gx = 0, gy = 0, ownX = 0, ownY = 0;
  components.forEach(({ mean, axis: [ax, ay], variances: [big, small], label }, k) => {
    const dx = x - alpha * mean[0], dy = y - alpha * mean[1];
    const a = (ax * dx + ay * dy) / (alpha * alpha * big + sigma * sigma);
    const b = (ax * dy - ay * dx) / (alpha * alpha * small + sigma * sigma);
    const px = ay * b - ax * a, py = -ay * a - ax * b; // ∇ log N_k
    const r = Math.exp(logs[k] - top), q = label === c ? Math.exp(logs[k] - ownTop) : 0;
    sum += r; gx += r * px; gy += r * py;
    ownSum += q; ownX += q * px; ownY += q * py;
  });
  out[0] = ownX / ownSum - gx / sum;
  out[1] = ownY / ownSum - gy / sum;
}

/** Classifier guidance ε̃ = ε(z, c) − w σ ∇ log p(c|z) (Dhariwal & Nichol 2021): the same thing when the classifier is exact. */
export function classifierGuidedEps(level, x, y, c, w, out) {
  classifierGradient(level, x, y, c, out);
  const gx = out[0], gy = out[1];
  level.eps(x, y, c, 0, out);
  out[0] -= w * level.sigma * gx;
  out[1] -= w * level.sigma * gy;
}
