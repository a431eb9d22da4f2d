// The exact mixture in the plane: what a perfectly trained diffusion model would say.
//
// The data are a Gaussian mixture; at log-SNR λ the noisy sample z = αx + σε has the mixture density with
// components N(αμ, α²Σ + σ²I), where α² = sigmoid(λ) and σ² = sigmoid(−λ). Everything else follows in closed form.
// Densities stay in log space (logsumexp), so nothing underflows far from the data.

const LOG_2PI = Math.log(2 * Math.PI);

/** Signal and noise amplitudes (α, σ) at log-SNR λ. No 1 − α²: both keep full precision at |λ| = 40. */
export const alphaSigma = (lam) => [1 / Math.sqrt(1 + Math.exp(-lam)), 1 / Math.sqrt(1 + Math.exp(lam))];

// e^−t for t ≥ 0 from a table of e^−(i/64) and a cubic for the rest: relative error 2e-10, four times Math.exp's speed.
// It serves the sums of weights only, where a term below e^−64 is lost anyway. Infinity and NaN fall through to 0.
const TABLE = Float64Array.from({ length: 4097 }, (_, i) => Math.exp(-i / 64));
const expNeg = (t) => {
  if (!(t < 64)) return 0;
  const i = (t * 64 + 0.5) | 0, r = i / 64 - t;
  return TABLE[i] * (1 + r * (1 + r * (0.5 + r * 0.16666666666666666)));
};

/** log(Σ exp(values[from..to))), safe at any magnitude. */
export function logSumExp(values, from = 0, to = values.length) {
  let max = -Infinity, sum = 0;
  for (let i = from; i < to; i++) if (values[i] > max) max = values[i];
  if (max === -Infinity) return max;
  for (let i = from; i < to; i++) sum += Math.exp(values[i] - max);
  return max + Math.log(sum);
}

/**
 * A mixture of Gaussians in the plane, several components a class.
 * means [[x, y]…], covs [[[a, b], [b, d]]…], weights [p…] (normalised here), labels [class of each component…].
 */
export class Mixture {
  constructor({ means, covs, weights, labels }) {
    const order = means.map((_, k) => k).sort((i, j) => labels[i] - labels[j] || i - j); // a class is a run of components
    const total = weights.reduce((a, b) => a + b, 0);
    this.size = means.length;
    this.classes = Math.max(...labels) + 1;
    this.components = order.map((k) => {
      const [[a, b], [, d]] = covs[k], angle = 0.5 * Math.atan2(2 * b, a - d);
      const mid = (a + d) / 2, gap = Math.hypot((a - d) / 2, b), big = mid + gap;
      return {
        source: k, label: labels[k], weight: weights[k] / total, mean: means[k], cov: covs[k],
        axis: [Math.cos(angle), Math.sin(angle)], // unit eigenvector of the larger variance
        variances: [big, gap ? (a * d - b * b) / big : mid], // det / big: no cancellation when one is small
      };
    });
    this.from = new Int32Array(this.classes + 1); // class c owns components from[c] … from[c + 1] − 1
    for (const { label } of this.components) this.from[label + 1]++;
    for (let c = 0; c < this.classes; c++) this.from[c + 1] += this.from[c];
    this.logs = new Float64Array(this.size * BLOCK); // room for all levels
    this.prior = Array.from({ length: this.classes }, (_, c) =>
      this.components.filter((k) => k.label === c).reduce((sum, k) => sum + k.weight, 0));
  }

  /** The mixture as noise leaves it at log-SNR λ. */
  at(lam) { return new Level(this, lam); }

  /** Mean and covariance [m, [[a, b], [b, d]]] of the data, of class c or (c = −1) of all. */
  moments(c = -1) {
    const own = this.components.filter((k) => c < 0 || k.label === c);
    const total = own.reduce((sum, k) => sum + k.weight, 0);
    const mean = [0, 1].map((i) => own.reduce((sum, k) => sum + k.weight * k.mean[i], 0) / total);
    const cov = [0, 1].map((i) => [0, 1].map((j) => own.reduce((sum, k) =>
      sum + k.weight * (k.cov[i][j] + (k.mean[i] - mean[i]) * (k.mean[j] - mean[j])), 0) / total));
    return [mean, cov];
  }

  /** Turn standard normals into data of class c: `pick` in (0, 1) chooses the component. Writes out[at], out[at + 1]. */
  draw(c, pick, n1, n2, out, at) {
    const [from, to] = [this.from[c], this.from[c + 1] - 1];
    let k = from, left = pick * this.prior[c];
    while (k < to && (left -= this.components[k].weight) > 0) k++;
    const { mean, axis: [ax, ay], variances: [big, small] } = this.components[k];
    const a = n1 * Math.sqrt(big), b = n2 * Math.sqrt(small);
    out[at] = mean[0] + ax * a - ay * b;
    out[at + 1] = mean[1] + ay * a + ax * b;
  }
}

const STRIDE = 11; // numbers a component, in the order of the constructor below
// Particles that are worked on together. Each loop over them has one component's numbers at hand; their own wait in arrays.
const BLOCK = 128;
const [TOP, SUM, MX, MY] = Array.from({ length: 4 }, () => new Float64Array(BLOCK));
const OWN = new Float64Array(2 * BLOCK), POINT = new Float64Array(2);

/**
 * A mixture at one noise level. λ is shared by all points, so all that depends on λ alone is worked out here, once;
 * a point then costs a dozen multiplications a component. With δ = z − αμ, and s the variances in the eigenbasis:
 *   log N = −½ (a² + b²) + const, a = p·δx + q·δy and b = r·δy   (p, q, r: a triangular root of the precision)
 *   v̂     = −σμ + Gδ, G of eigenvalues ασ(1 − s)/(α²s + σ²)      (E[αε − σx | z, component]: exact at both ends of λ)
 */
export class Level {
  constructor(mixture, lam) {
    const [alpha, sigma] = alphaSigma(lam);
    Object.assign(this, { mixture, lam, alpha, sigma });
    this.coef = new Float64Array(mixture.size * STRIDE);
    this.logs = new Float64Array(mixture.size);
    mixture.components.forEach(({ mean: [mx, my], axis: [ax, ay], variances, weight }, k) => {
      const [c1, c2] = variances.map((s) => alpha * alpha * s + sigma * sigma);
      const [g1, g2] = variances.map((s, i) => (alpha * sigma * (1 - s)) / (i ? c2 : c1));
      const down = ax * ax * c2 + ay * ay * c1; // variance of y; that of x given y is c1·c2/down
      const p = Math.sqrt(down / (c1 * c2)), q = (-ax * ay * (c1 - c2) / down) * p;
      const logConst = Math.log(weight) - LOG_2PI - 0.5 * (Math.log(c1) + Math.log(c2));
      this.coef.set([alpha * mx, alpha * my, p, q, 1 / Math.sqrt(down), logConst,
        -sigma * mx, -sigma * my, ax * ax * g1 + ay * ay * g2, ax * ay * (g1 - g2), ay * ay * g1 + ax * ax * g2], k * STRIDE);
    });
  }

  /** Fill this.logs with log(weight · N(z; component)) and return it. */
  componentLogs(x, y) {
    const { coef, logs } = this;
    for (let k = 0, o = 0; k < logs.length; k++, o += STRIDE) {
      const dx = x - coef[o], dy = y - coef[o + 1], a = coef[o + 2] * dx + coef[o + 3] * dy, b = coef[o + 4] * dy;
      logs[k] = coef[o + 5] - 0.5 * (a * a + b * b);
    }
    return logs;
  }

  /** log p(z), or log p(z|c) for a class c ≥ 0. */
  logProb(x, y, c = -1) {
    const logs = this.componentLogs(x, y), { from, prior } = this.mixture;
    return c < 0 ? logSumExp(logs) : logSumExp(logs, from[c], from[c + 1]) - Math.log(prior[c]);
  }

  /** log p(c|z) for every class, into `out`: the exact noisy classifier. */
  classLogProb(x, y, out = new Float64Array(this.mixture.classes)) {
    const logs = this.componentLogs(x, y), { from } = this.mixture;
    for (let c = 0; c < out.length; c++) out[c] = logSumExp(logs, from[c], from[c + 1]);
    const total = logSumExp(out);
    for (let c = 0; c < out.length; c++) out[c] -= total;
    return out;
  }

  /** log of p(z|c) p(c|z)^w, up to its normaliser: the density classifier guidance is said to aim at. */
  tiltedLogProb(x, y, c, w) {
    const logs = this.componentLogs(x, y), { from, prior } = this.mixture;
    const own = logSumExp(logs, from[c], from[c + 1]);
    return (1 + w) * own - w * logSumExp(logs) - Math.log(prior[c]);
  }

  /** The guided prediction (1 + w) v(z, c) − w v(z), in v = αε − σx; c = −1 is no class. Writes out[0], out[1]. */
  v(x, y, c, w, out) {
    POINT[0] = x;
    POINT[1] = y;
    this.vMany(POINT, 0, 1, c, w, out);
  }

  /** `v` of the particles z[2i], z[2i + 1] for i in from … to − 1, all of class c, into `out` at the same places. */
  vMany(z, from, to, c, w, out) {
    const { from: starts, size } = this.mixture, first = c < 0 ? 0 : starts[c], end = c < 0 ? size : starts[c + 1];
    for (let at = from; at < to; at += BLOCK) {
      const n = Math.min(BLOCK, to - at);
      if (c < 0 || w === 0) { // one branch only
        this.fillLogs(z, at, n, first, end);
        this.meanV(z, at, n, first, end, out, 2 * at);
        continue;
      }
      this.fillLogs(z, at, n, 0, size);
      this.meanV(z, at, n, first, end, OWN, 0);
      this.meanV(z, at, n, 0, size, out, 2 * at);
      for (let i = 0, j = 2 * at; i < 2 * n; i++, j++) out[j] = OWN[i] + w * (OWN[i] - out[j]);
    }
  }

  /** log(weight · N(z; component)) of the components start … stop − 1 for n particles. The hot loop of every explorer. */
  fillLogs(z, at, n, start, stop) {
    const { coef, mixture: { logs } } = this;
    for (let k = start, o = k * STRIDE, l = k * BLOCK; k < stop; k++, o += STRIDE, l += BLOCK) {
      const mx = coef[o], my = coef[o + 1], p = coef[o + 2], q = coef[o + 3], r = coef[o + 4], peak = coef[o + 5];
      for (let i = 0, j = 2 * at; i < n; i++, j += 2) {
        const dx = z[j] - mx, dy = z[j + 1] - my, a = p * dx + q * dy, b = r * dy;
        logs[l + i] = peak - 0.5 * (a * a + b * b);
      }
    }
  }

  /** The mean of the components' v, by their logs, for n particles: out[to], out[to + 1], …  And the second hot loop. */
  meanV(z, at, n, start, stop, out, to) {
    const { coef, mixture: { logs } } = this;
    if (stop - start === 1) { // nothing to weigh
      const o = start * STRIDE, mx = coef[o], my = coef[o + 1], vx = coef[o + 6], vy = coef[o + 7], gxx = coef[o + 8], gxy = coef[o + 9], gyy = coef[o + 10];
      for (let i = 0, j = 2 * at, t = to; i < n; i++, j += 2, t += 2) {
        const dx = z[j] - mx, dy = z[j + 1] - my;
        out[t] = vx + gxx * dx + gxy * dy;
        out[t + 1] = vy + gxy * dx + gyy * dy;
      }
      return;
    }
    TOP.fill(-Infinity);
    SUM.fill(0);
    MX.fill(0);
    MY.fill(0);
    for (let k = start, l = k * BLOCK; k < stop; k++, l += BLOCK)
      for (let i = 0; i < n; i++) if (logs[l + i] > TOP[i]) TOP[i] = logs[l + i];
    for (let k = start, o = k * STRIDE, l = k * BLOCK; k < stop; k++, o += STRIDE, l += BLOCK) {
      const mx = coef[o], my = coef[o + 1], vx = coef[o + 6], vy = coef[o + 7], gxx = coef[o + 8], gxy = coef[o + 9], gyy = coef[o + 10];
      for (let i = 0, j = 2 * at; i < n; i++, j += 2) {
        const r = expNeg(TOP[i] - logs[l + i]), dx = z[j] - mx, dy = z[j + 1] - my;
        SUM[i] += r;
        MX[i] += r * (vx + gxx * dx + gxy * dy);
        MY[i] += r * (vy + gxy * dx + gyy * dy);
      }
    }
    for (let i = 0, j = to; i < n; i++, j += 2) {
      const over = 1 / SUM[i];
      out[j] = MX[i] * over;
      out[j + 1] = MY[i] * over;
    }
  }

  /** E[x|z] under the guided prediction: x = αz − σv. */
  x(x, y, c, w, out) {
    this.v(x, y, c, w, out);
    out[0] = this.alpha * x - this.sigma * out[0];
    out[1] = this.alpha * y - this.sigma * out[1];
  }

  /** ε̃ = (1 + w) ε(z, c) − w ε(z): ε = σz + αv. */
  eps(x, y, c, w, out) {
    this.v(x, y, c, w, out);
    out[0] = this.sigma * x + this.alpha * out[0];
    out[1] = this.sigma * y + this.alpha * out[1];
  }

  /** The score ∇ log p = −ε/σ of p(z), p(z|c), or their guided mix. */
  score(x, y, c, w, out) {
    this.eps(x, y, c, w, out);
    out[0] /= -this.sigma;
    out[1] /= -this.sigma;
  }
}

/** Classes of n particles: all of `y`, or (null) the classes in proportion, one run of particles each. */
export function assign(mixture, n, y) {
  const classes = new Int32Array(n);
  if (y !== null) return classes.fill(y);
  for (let i = 0, c = 0, upTo = mixture.prior[0]; i < n; i++) {
    while (c < mixture.classes - 1 && (i + 0.5) / n > upTo) upTo += mixture.prior[++c];
    classes[i] = c;
  }
  return classes;
}
