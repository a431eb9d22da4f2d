// Where a network's numbers live, and the one operation that takes its time: C += A·B.
//
// All tensors are runs of float32 in one memory, so that WebAssembly can work on them where they lie.

import { gemm, gemmText } from "./gemm.mjs";
import { assemble } from "./wat.mjs";

const PAGE = 65536; // bytes, the unit in which WebAssembly's memory grows

export class Memory {
  /**
   * fast: with WebAssembly's vectors where the browser has them; else, or where it lacks them, in plain JavaScript.
   * backwards: whether layers made in it can go back, for gradients with respect to z.
   */
  constructor({ fast = true, backwards = false } = {}) {
    this.used = 0;
    this.backwards = backwards;
    this.tape = []; // steps back of what was computed since the last release
    const bytes = fast ? assemble(gemmText) : null;
    if (bytes && globalThis.WebAssembly?.validate(bytes)) {
      const memory = new WebAssembly.Memory({ initial: 64 });
      const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } });
      this.kind = "wasm";
      this.f = new Float32Array(memory.buffer);
      this.grow = (floats) => {
        memory.grow(Math.ceil((4 * floats) / PAGE) - memory.buffer.byteLength / PAGE);
        return new Float32Array(memory.buffer);
      };
      this.gemm = (a, lda, run, skip, b, c, ldc, m, n, k) =>
        exports.gemm(4 * a, 4 * lda, run, 4 * skip, 4 * b, 4 * c, 4 * ldc, m, n, k);
    } else {
      this.kind = "js";
      this.f = new Float32Array((64 * PAGE) / 4);
      this.grow = (floats) => {
        const more = new Float32Array(floats);
        more.set(this.f);
        return more;
      };
      this.gemm = (...sizes) => gemm(this.f, ...sizes);
    }
  }

  /** Room for n floats; what lies there is not cleared. It reaches a little further, for the last rows of a product. */
  take(n) {
    const at = this.used, end = at + 4 * Math.ceil(n / 4) + 4096;
    if (end > this.f.length) this.f = this.grow(Math.ceil(1.25 * end));
    this.used = end;
    return at;
  }

  /** The same, all zeros. */
  zeros(n) {
    const at = this.take(n);
    this.f.fill(0, at, at + n);
    return at;
  }

  /** Note a step back; `step` runs when the gradients of all that came after are there. */
  record(step) {
    if (this.backwards) this.tape.push(step);
  }

  /** Take all steps back, the last one first. */
  goBack() {
    while (this.tape.length) this.tape.pop()();
  }

  /** Forget all that was taken since `used` was `mark`. */
  release(mark) {
    this.used = mark;
    this.tape.length = 0;
  }
}

/**
 * b images of h × w pixels of c channels, a multiple of eight; the channels of a pixel lie side by side. border: 1 where
 * a border of zeros surrounds each image, for a convolution to read.
 */
export class Tensor {
  constructor(memory, b, h, w, c, border = 0) {
    const size = b * (h + 2 * border) * (w + 2 * border) * c;
    Object.assign(this, { memory, b, h, w, c, border, size, pixels: b * h * w, at: memory.zeros(size), gradient: null });
  }

  /** Where pixel p of all the images lies; the border is not counted. */
  pixel(p) {
    if (!this.border) return this.at + p * this.c;
    const row = Math.floor(p / this.w), image = Math.floor(row / this.h), x = p - row * this.w;
    return this.at + ((row + 2 * image + 1) * (this.w + 2) + x + 1) * this.c;
  }

  /** The gradient with respect to this tensor, without a border: zeros, to which all that used the tensor adds. */
  get grad() {
    return (this.gradient ??= new Tensor(this.memory, this.b, this.h, this.w, this.c));
  }
}
