// What the samples are worth: Inception Score, Fréchet distance, class shares.
import { alphaSigma } from "./mixture.mjs";

const DATA = 20; // the log-SNR taken for "no noise": σ = 5e-5

/** Mean and covariance of points (x0, y0, x1, y1, …) whose class is c, or of all (c = −1). Skips what is not finite. */
export function sampleMoments(points, classes, c = -1) {
  let n = 0, mx = 0, my = 0, xx = 0, xy = 0, yy = 0;
  for (let i = 0; i < classes.length; i++) {
    if ((c >= 0 && classes[i] !== c) || !isFinite(points[2 * i] + points[2 * i + 1])) continue;
    const dx = points[2 * i] - mx, dy = points[2 * i + 1] - my; // Welford: no squares of large means
    n++;
    mx += dx / n;
    my += dy / n;
    xx += dx * (points[2 * i] - mx);
    xy += dx * (points[2 * i + 1] - my);
    yy += dy * (points[2 * i + 1] - my);
  }
  return n > 1 ? [[mx, my], [[xx / (n - 1), xy / (n - 1)], [xy / (n - 1), yy / (n - 1)]]] : null;
}

/** Fréchet distance of two moments: ‖μ_a − μ_b‖² + Tr(A + B − 2(AB)^½); for 2 × 2, Tr(M^½)² = Tr M + 2 √det M. */
export function frechet([ma, A], [mb, B]) {
  const det = ([[a, b], [c, d]]) => Math.max(a * d - b * c, 0);
  const traceAB = A[0][0] * B[0][0] + A[0][1] * B[1][0] + A[1][0] * B[0][1] + A[1][1] * B[1][1];
  const root = Math.sqrt(Math.max(traceAB + 2 * Math.sqrt(det(A) * det(B)), 0));
  const shift = (ma[0] - mb[0]) ** 2 + (ma[1] - mb[1]) ** 2;
  return Math.max(shift + A[0][0] + A[1][1] + B[0][0] + B[1][1] - 2 * root, 0);
}

/**
 * Inception Score exp(E KL(p(y|x) ‖ p(y))) with the exact classifier of the data in the place of the Inception network,
 * and the share of each class by that classifier. Between 1 and the number of classes.
 */
export function inceptionScore(mixture, points) {
  const level = mixture.at(DATA), [alpha] = alphaSigma(DATA), C = mixture.classes;
  const log = new Float64Array(C), mean = new Float64Array(C);
  let n = 0, negEntropy = 0;
  for (let i = 0; i < points.length; i += 2) {
    if (!isFinite(points[i] + points[i + 1])) continue;
    level.classLogProb(alpha * points[i], alpha * points[i + 1], log);
    if (!isFinite(log[0] + log[C - 1])) { // so far out that squares overflow
      if (Number.isNaN(log[0])) continue;
    }
    n++;
    for (let c = 0; c < C; c++) {
      const p = Math.exp(log[c]);
      mean[c] += p;
      if (p > 0) negEntropy += p * log[c];
    }
  }
  if (!n) return { score: NaN, shares: mean };
  for (let c = 0; c < C; c++) mean[c] /= n;
  let entropy = 0;
  for (const p of mean) if (p > 0) entropy -= p * Math.log(p);
  return { score: Math.exp(negEntropy / n + entropy), shares: mean };
}

/** Share of the points of class c farther than 3 standard deviations (Mahalanobis) from every component of their class. */
export function shareOutside(mixture, points, classes, c, radius = 3) {
  const own = mixture.components.filter((k) => k.label === c);
  let n = 0, out = 0;
  for (let i = 0; i < classes.length; i++) {
    if (classes[i] !== c) continue;
    n++;
    const inside = own.some(({ mean, axis: [ax, ay], variances: [big, small] }) => {
      const dx = points[2 * i] - mean[0], dy = points[2 * i + 1] - mean[1];
      return (ax * dx + ay * dy) ** 2 / big + (ax * dy - ay * dx) ** 2 / small <= radius * radius;
    });
    if (!inside) out++;
  }
  return n ? out / n : NaN;
}
