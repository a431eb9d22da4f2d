// Filled contours: values on a grid in, closed rings out (marching squares with directed segments).

// For each of the 16 inside/outside patterns of a cell's corners (bits: a = lower left, then counter-clockwise), the
// segments that cut it, from edge to edge (0 bottom, 1 right, 2 top, 3 left), with the inside on the left.
const SEGMENTS = [[], [0, 3], [1, 0], [1, 3], [2, 1], [0, 1, 2, 3], [2, 0], [2, 3],
  [3, 2], [0, 2], [1, 0, 3, 2], [1, 2], [3, 1], [0, 1], [3, 0], []];

/**
 * Add to `path` the rings around values ≥ t of an n × n grid (row by row, from the bottom). Beyond the grid all is outside,
 * so every ring closes. place(i, j) = [x0 + i·dx, y0 + j·dy] puts grid coordinates on the page.
 */
export function addRings(path, values, n, t, x0, dx, y0, dy) {
  const W = n + 1, half = W * W; // edge ids: horizontal ones first, then vertical ones, with a frame of one cell around
  const next = new Int32Array(2 * half).fill(-1), starts = [];
  const edge = (i, j, side) => // of the cell whose lower left corner is (i, j), both from −1
    side === 0 ? j * W + i + 1 : side === 2 ? (j + 1) * W + i + 1
      : half + (j + 1) * W + (side === 1 ? i + 1 : i);
  for (let j = -1; j < n; j++) {
    const low = j >= 0, high = j + 1 < n, row = j * n;
    let left = 0; // bits of the two left corners, carried from cell to cell
    for (let i = -1; i < n; i++) {
      const in1 = i + 1 < n;
      const right = (in1 && low && values[row + i + 1] >= t ? 1 : 0) | (in1 && high && values[row + n + i + 1] >= t ? 2 : 0);
      const code = (left & 1) | ((right & 1) << 1) | ((right & 2) << 1) | ((left & 2) << 2);
      left = right;
      if (code === 0 || code === 15) continue;
      const segments = SEGMENTS[code];
      for (let s = 0; s < segments.length; s += 2) {
        const from = edge(i, j, segments[s]);
        next[from] = edge(i, j, segments[s + 1]);
        starts.push(from);
      }
    }
  }
  const cut = (p, q) => { // where between two nodes the value passes t; a node outside of the grid is no guide
    const d = q - p;
    return Number.isFinite(d) && d !== 0 ? Math.min(Math.max((t - p) / d, 0), 1) : 0.5;
  };
  const point = (id, first) => {
    const vertical = id >= half, k = vertical ? id - half : id, r = (k / W) | 0, c = k - r * W;
    let i = vertical ? c : c - 1, j = vertical ? r - 1 : r;
    if (vertical) j += j < 0 ? 1 : j + 1 >= n ? 0 : cut(values[j * n + i], values[j * n + n + i]);
    else i += i < 0 ? 1 : i + 1 >= n ? 0 : cut(values[j * n + i], values[j * n + i + 1]);
    if (first) path.moveTo(x0 + i * dx, y0 + j * dy);
    else path.lineTo(x0 + i * dx, y0 + j * dy);
  };
  for (const start of starts) {
    if (next[start] < 0) continue; // already part of a ring
    for (let at = start, first = true; next[at] >= 0; first = false) {
      point(at, first);
      const to = next[at];
      next[at] = -1;
      at = to;
    }
    path.closePath();
  }
  return path;
}

/** Thresholds of a grid of log densities such that {value ≥ threshold} holds each share of the mass: by histogram. */
export function massLevels(logs, shares, out = []) {
  const BINS = 512, DEPTH = 16; // what lies e^−16 below the top holds no mass worth a contour
  let top = -Infinity;
  for (const value of logs) if (value > top) top = value;
  const mass = new Float64Array(BINS);
  let total = 0;
  for (const value of logs) {
    const bin = ((top - value) * BINS) / DEPTH | 0;
    if (!(top - value < DEPTH)) continue;
    const p = Math.exp(value - top);
    mass[bin] += p;
    total += p;
  }
  shares.forEach((share, s) => {
    let bin = 0, held = mass[0];
    while (bin < BINS - 1 && held < share * total) held += mass[++bin];
    const over = mass[bin] ? (held - share * total) / mass[bin] : 0;
    out[s] = top - ((bin + 1 - over) * DEPTH) / BINS;
  });
  return out;
}
