// The layers of the networks in nets/unet.py: what each computes, and the way back.
//
// A layer takes tensors and returns a tensor. In a memory that goes backwards it also records how the gradient of its
// result adds to that of its input; played from the end, the records give the gradient with respect to z. None is kept
// with respect to weights or the noise level: nothing is trained here.

import { Tensor } from "./memory.mjs";

const TINY = 1e-6; // in the root mean square
const eights = (n) => 8 * Math.ceil(n / 8);

// -- matrices ----------------------------------------------------------------------------------------------------------

/** The k × n matrix of value(row, column) as a product wants it: panels of eight columns. Returns its place. */
function pack(memory, k, n, value) {
  const at = memory.take(k * n);
  for (let panel = 0, o = at; panel < n; panel += 8)
    for (let i = 0; i < k; i++) for (let j = panel; j < panel + 8; j++) memory.f[o++] = value(i, j);
  return at;
}

/** Numbers in memory as a matrix: from a row to the next it is `down`, from a column to the next `across` numbers. */
const matrix = (at, rows, columns, down, across = 1) => ({ at, rows, columns, down, across });
const turned = ({ at, rows, columns, down, across }) => matrix(at, columns, rows, across, down);

/** C += A·B. */
function multiply(memory, a, b, c) {
  if (a.across !== 1) { // the product reads A along its rows
    const at = memory.take(a.rows * a.columns);
    for (let i = 0, o = at; i < a.rows; i++)
      for (let j = 0; j < a.columns; j++) memory.f[o++] = memory.f[a.at + i * a.down + j * a.across];
    a = matrix(at, a.rows, a.columns, a.columns);
  }
  const packed = pack(memory, b.rows, b.columns, (i, j) => memory.f[b.at + i * b.down + j * b.across]);
  memory.gemm(a.at, a.down, a.rows, 0, packed, c.at, c.down, c.rows, c.columns, b.rows);
}

// -- layers with weights -----------------------------------------------------------------------------------------------

/** What a layer adds to: a copy of `onto`, or zeros, plus the bias where there is one. */
function begin(layer, x, onto) {
  const { memory, out, bias } = layer, y = new Tensor(memory, x.b, x.h, x.w, out), { f } = memory;
  if (onto) {
    f.copyWithin(y.at, onto.at, onto.at + y.size);
    memory.record(() => accumulate(onto.grad, y.grad));
  }
  if (bias) for (let p = 0; p < y.pixels; p++) for (let i = 0; i < bias.length; i++) f[y.pixel(p) + i] += bias[i];
  return y;
}

function accumulate(x, y) {
  const { f } = x.memory;
  for (let i = 0; i < x.size; i++) f[x.at + i] += f[y.at + i];
}

/** Each pixel times a matrix: a 1×1 convolution too. weight {shape: [out, in, …], data}, bias {data}. */
export class Linear {
  constructor(memory, { shape: [out, into], data }, bias) {
    Object.assign(this, { memory, into: eights(into), out: eights(out), bias: bias?.data });
    const w = (o, i) => (o < out && i < into ? data[o * into + i] : 0);
    this.there = pack(memory, this.into, this.out, (i, o) => w(o, i));
    if (memory.backwards) this.back = pack(memory, this.out, this.into, w);
  }

  /** y = onto + x·Wᵀ + bias */
  run(x, { onto = null } = {}) {
    const y = begin(this, x, onto), { memory } = this;
    everyPixel(memory, x, this.there, y);
    memory.record(() => everyPixel(memory, y.grad, this.back, x.grad));
    return y;
  }
}

function everyPixel(memory, x, weights, y) {
  const rows = 4 * Math.ceil(x.pixels / 4); // the last ones may be of nobody: there is room for them
  memory.gemm(x.at, x.c, rows, 0, weights, y.at, y.c, rows, y.c, x.c);
}

/** A 3×3 convolution of images with a border. weight {shape: [out, in, 3, 3], data}, bias {data}. */
export class Conv {
  constructor(memory, { shape: [out, into], data }, bias) {
    Object.assign(this, { memory, into: eights(into), out: eights(out), bias: bias?.data });
    const w = (o, i, place) => (o < out && i < into ? data[(o * into + i) * 9 + place] : 0);
    // For each row of the kernel a matrix: three pixels lie side by side in an image, so do their channels.
    this.there = [0, 1, 2].map((row) => pack(memory, 3 * this.into, this.out, (k, o) =>
      w(o, k % this.into, 3 * row + Math.floor(k / this.into))));
    if (memory.backwards) // the gradient goes back through the kernel turned round
      this.back = [0, 1, 2].map((row) => pack(memory, 3 * this.out, this.into, (k, i) =>
        w(k % this.out, i, 8 - 3 * row - Math.floor(k / this.out))));
  }

  /** y = onto + x * W + bias */
  run(x, { onto = null } = {}) {
    const y = begin(this, x, onto), { memory } = this;
    convolve(memory, x, this.there, y);
    memory.record(() => convolve(memory, bordered(y.grad), this.back, x.grad));
    return y;
  }
}

function convolve(memory, x, rows, y) {
  const { b, h, w, c } = x, line = (w + 2) * c;
  for (let image = 0; image < b; image++)
    rows.forEach((weights, row) => {
      const from = x.at + (image * (h + 2) + row) * line;
      memory.gemm(from, c, w, 2 * c, weights, y.at + image * h * w * y.c, y.c, h * w, y.c, 3 * c);
    });
}

/** A copy with a border of zeros. */
function bordered(x) {
  const y = new Tensor(x.memory, x.b, x.h, x.w, x.c, 1);
  for (let p = 0; p < x.pixels; p++) x.memory.f.copyWithin(y.pixel(p), x.pixel(p), x.pixel(p) + x.c);
  return y;
}

// -- numbers in and out ------------------------------------------------------------------------------------------------

/** Numbers (b, h, w, c), c a multiple of eight, as a tensor. */
export function enter(memory, numbers, [b, h, w, c], border = 0) {
  const x = new Tensor(memory, b, h, w, c, border);
  for (let p = 0; p < x.pixels; p++) memory.f.set(numbers.subarray(p * c, (p + 1) * c), x.pixel(p));
  return x;
}

/** And back, from a tensor without a border. */
export const leave = (x) => x.memory.f.slice(x.at, x.at + x.size);

// -- layers without ----------------------------------------------------------------------------------------------------

/** 1 / root mean square of c numbers. */
function inverseSize(f, at, c) {
  let sum = 0;
  for (let i = at; i < at + c; i++) sum += f[i] * f[i];
  return 1 / Math.sqrt(sum / c + TINY);
}

/** The way back of x → x r, r = 1 / root mean square of the c numbers at `x`: adds r (g − x r mean(g · x r)) at `to`. */
function resize(f, x, c, g, to) {
  const r = inverseSize(f, x, c);
  let mean = 0;
  for (let i = 0; i < c; i++) mean += (g[i] * f[x + i] * r) / c;
  for (let i = 0; i < c; i++) f[to + i] += r * (g[i] - f[x + i] * r * mean);
}

/** Each pixel divided by the root mean square of its channels. */
export function norm(x) {
  const { memory, b, h, w, c, pixels } = x, y = new Tensor(memory, b, h, w, c), { f } = memory;
  for (let p = 0; p < pixels; p++) {
    const from = x.pixel(p), to = y.pixel(p), r = inverseSize(f, from, c);
    for (let i = 0; i < c; i++) f[to + i] = f[from + i] * r;
  }
  memory.record(() => {
    const g = y.grad, on = x.grad, { f } = memory;
    for (let p = 0; p < pixels; p++) resize(f, x.pixel(p), c, f.slice(g.pixel(p), g.pixel(p) + c), on.pixel(p));
  });
  return y;
}

/**
 * SiLU of the norm; in between, where there is a modulation, times 1 + scale and plus shift: its two halves, for each
 * image. border: 1 for a result that a convolution reads.
 */
export function activate(x, { modulation = null, border = 0 } = {}) {
  const { memory, b, h, w, c, pixels } = x, y = new Tensor(memory, b, h, w, c, border), { f } = memory, each = h * w;
  const scale = new Float32Array(c).fill(1), shift = new Float32Array(c);
  const modulate = (p) => { // called where a new image begins
    if (!modulation || p % each) return;
    const at = modulation.pixel(p / each);
    for (let i = 0; i < c; i++) {
      scale[i] = 1 + memory.f[at + i];
      shift[i] = memory.f[at + c + i];
    }
  };
  for (let p = 0; p < pixels; p++) {
    modulate(p);
    const from = x.pixel(p), to = y.pixel(p), r = inverseSize(f, from, c);
    for (let i = 0; i < c; i++) {
      const u = f[from + i] * r * scale[i] + shift[i];
      f[to + i] = u / (1 + Math.exp(-u));
    }
  }
  memory.record(() => {
    const { grad } = y, on = x.grad, { f } = memory, g = new Float32Array(c);
    for (let p = 0; p < pixels; p++) {
      modulate(p);
      const from = x.pixel(p), back = grad.pixel(p), r = inverseSize(f, from, c);
      for (let i = 0; i < c; i++) {
        const u = f[from + i] * r * scale[i] + shift[i], s = 1 / (1 + Math.exp(-u));
        g[i] = f[back + i] * s * (1 + u * (1 - s)) * scale[i];
      }
      resize(f, from, c, g, on.pixel(p));
    }
  });
  return y;
}

/** SiLU, in place: of vectors through which no gradient goes. */
export function silu(x) {
  const { f } = x.memory;
  for (let i = x.at; i < x.at + x.size; i++) f[i] /= 1 + Math.exp(-f[i]);
  return x;
}

/** The mean of each square of `side` × `side` pixels. */
export function pool(x, side = 2) {
  const { memory, b, w, c } = x, y = new Tensor(memory, b, x.h / side, w / side, c), share = 1 / (side * side);
  const pairs = (visit) => { // (pixel of x, pixel of y)
    for (let row = 0, p = 0; row < b * x.h; row++) for (let i = 0; i < w; i++, p++)
      visit(p, Math.floor(row / side) * y.w + Math.floor(i / side));
  };
  const { f } = memory;
  pairs((p, q) => { for (let i = 0; i < c; i++) f[y.at + q * c + i] += share * f[x.at + p * c + i]; });
  memory.record(() => {
    const { grad } = y, on = x.grad, { f } = memory;
    pairs((p, q) => { for (let i = 0; i < c; i++) f[on.at + p * c + i] += share * f[grad.at + q * c + i]; });
  });
  return y;
}

/** Each pixel four times: twice the height and width. Only the U-Net has it, and no gradient goes through that. */
export function double(x) {
  const { memory, b, h, w, c } = x, y = new Tensor(memory, b, 2 * h, 2 * w, c);
  for (let row = 0; row < 2 * b * h; row++)
    for (let i = 0; i < 2 * w; i++) {
      const from = x.at + ((row >> 1) * w + (i >> 1)) * c;
      memory.f.copyWithin(y.at + (row * 2 * w + i) * c, from, from + c);
    }
  return y;
}

/** Softmax of each row, in place. */
function softmax(f, { at, rows, columns }) {
  for (let from = at; from < at + rows * columns; from += columns) {
    let top = -Infinity, sum = 0;
    for (let i = from; i < from + columns; i++) top = Math.max(top, f[i]);
    for (let i = from; i < from + columns; i++) sum += f[i] = Math.exp(f[i] - top);
    for (let i = from; i < from + columns; i++) f[i] /= sum;
  }
}

/** Attention of an image's pixels to each other: softmax(q kᵀ / √d) v for heads of d channels, q and k of length √d. */
export function attend(qkv, d) {
  const { memory, b, h, w } = qkv, c = qkv.c / 3, n = h * w, y = new Tensor(memory, b, h, w, c);
  const unit = new Tensor(memory, b, h, w, 2 * c), scale = 1 / Math.sqrt(d), done = []; // q and k at their length
  for (let p = 0; p < unit.pixels; p++)
    for (let i = 0; i < 2 * c; i += d) {
      const from = qkv.pixel(p) + i, to = unit.pixel(p) + i, r = inverseSize(memory.f, from, d);
      for (let j = 0; j < d; j++) memory.f[to + j] = memory.f[from + j] * r;
    }
  const part = (x, image, i) => matrix(x.at + image * n * x.c + i, n, d, x.c); // channels i … i + d of an image
  for (let image = 0; image < b; image++)
    for (let i = 0; i < c; i += d) {
      const q = part(unit, image, i), k = part(unit, image, c + i), v = part(qkv, image, 2 * c + i);
      const shares = matrix(memory.zeros(n * n), n, n, n);
      multiply(memory, q, turned(k), shares);
      for (let o = shares.at; o < shares.at + n * n; o++) memory.f[o] *= scale;
      softmax(memory.f, shares);
      multiply(memory, shares, v, part(y, image, i));
      done.push({ image, i, q, k, v, shares });
    }
  memory.record(() => {
    for (const { image, i, q, k, v, shares } of done) {
      const g = part(y.grad, image, i), slope = matrix(memory.zeros(n * n), n, n, n);
      multiply(memory, turned(shares), g, part(qkv.grad, image, 2 * c + i));
      multiply(memory, g, turned(v), slope);
      const { f } = memory;
      for (let row = 0; row < n * n; row += n) { // back through the softmax
        let sum = 0;
        for (let j = row; j < row + n; j++) sum += f[slope.at + j] * f[shares.at + j];
        for (let j = row; j < row + n; j++) f[slope.at + j] = scale * f[shares.at + j] * (f[slope.at + j] - sum);
      }
      multiply(memory, slope, k, part(unit.grad, image, i));
      multiply(memory, turned(slope), q, part(unit.grad, image, c + i));
    }
    const g = unit.grad, on = qkv.grad, { f } = memory;
    for (let p = 0; p < unit.pixels; p++)
      for (let i = 0; i < 2 * c; i += d) resize(f, qkv.pixel(p) + i, d, f.slice(g.pixel(p) + i, g.pixel(p) + i + d), on.pixel(p) + i);
  });
  return y;
}
