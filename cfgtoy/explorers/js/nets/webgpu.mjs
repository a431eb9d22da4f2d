// The layers of nets/layers.mjs once more, on a graphics card: the same names, the same results, forward only.
//
// A page fetches this module, with card.mjs, when it has found a card, never before. Tensors are buffers of float32, the
// channels of a pixel side by side, in fours: what a shader reads and writes at once. Nothing is cleared, since every
// shader writes all of its result; and no image has a border, since a convolution looks where an image ends.
// Source: WebGPU and WebGPU Shading Language, W3C Candidate Recommendations.

const TINY = 1e-6; // in the root mean square
const SIDE = 8; // a workgroup has SIDE × SIDE threads
const eights = (n) => 8 * Math.ceil(n / 8);
const four = (f) => [0, 1, 2, 3].map(f).join(" ");

// -- shaders -----------------------------------------------------------------------------------------------------------

/** A shader: numbers `s.…`, arrays to read, and `y` to write. id.x counts columns, id.y rows, id.z what is beyond. */
const shader = (sizes, reads, body) => `
  struct Sizes { ${sizes.map((name) => `${name}: u32,`).join(" ")} }
  @group(0) @binding(0) var<uniform> s: Sizes;
  @group(0) @binding(1) var<storage, read_write> y: array<vec4f>;
  ${reads.map((name, i) => `@group(0) @binding(${i + 2}) var<storage, read> ${name}: array<vec4f>;`).join(" ")}
  fn inverseSize(squares: vec4f, n: u32) -> vec4f { return inverseSqrt(squares / f32(n) + ${TINY}); }
  @compute @workgroup_size(${SIDE}, ${SIDE}) fn main(@builtin(global_invocation_id) id: vec3u) {
    if (id.x >= s.columns || id.y >= s.rows) { return; }
    ${body}
  }`;

const SHADERS = {
  // y = onto + bias + x * W for four pixels, a row, and four channels, a column. A kernel of side × side taps; fours: of
  // x's channels; weights: for each tap and each channel of x a row of all of y's.
  product: shader(["columns", "rows", "pixels", "h", "w", "fours", "side", "added"], ["x", "weights", "bias", "onto"], `
    let first = 4 * id.y;
    ${four((r) => `
    let p${r} = min(first + ${r}, s.pixels - 1); // the last ones may be of nobody
    var sum${r} = bias[id.x];
    if (s.added > 0) { sum${r} += onto[p${r} * s.columns + id.x]; }`)}
    let reach = s.side / 2;
    for (var tap = 0u; tap < s.side * s.side; tap++) {
      let down = tap / s.side; let right = tap % s.side; // one more than from a pixel to its neighbour, where side is 3
      ${four((r) => `
      let row${r} = (p${r} / s.w) % s.h + down; let column${r} = p${r} % s.w + right;
      let inside${r} = row${r} >= reach && row${r} < s.h + reach && column${r} >= reach && column${r} < s.w + reach;
      let at${r} = select(0u, p${r} + down * s.w + right - reach * (s.w + 1), inside${r}) * s.fours;
      let share${r} = select(0.0, 1.0, inside${r});`)}
      var k = 4 * tap * s.fours * s.columns + id.x;
      for (var i = 0u; i < s.fours; i++) {
        let m = mat4x4f(weights[k], weights[k + s.columns], weights[k + 2 * s.columns], weights[k + 3 * s.columns]);
        ${four((r) => `sum${r} += m * (share${r} * x[at${r} + i]);`)}
        k += 4 * s.columns;
      }
    }
    ${four((r) => `if (first + ${r} < s.pixels) { y[p${r} * s.columns + id.x] = sum${r}; }`)}`),

  // Norm, modulation and SiLU, each where it is asked for. columns: fours of channels; each: pixels of an image.
  activate: shader(["columns", "rows", "each", "normed", "modulated", "silu"], ["x", "modulation"], `
    let at = id.y * s.columns;
    var u = x[at + id.x];
    if (s.normed > 0) {
      var squares = vec4f();
      for (var i = at; i < at + s.columns; i++) { squares += x[i] * x[i]; }
      u *= inverseSize(vec4f(dot(squares, vec4f(1))), 4 * s.columns);
    }
    if (s.modulated > 0) {
      let scale = 2 * (id.y / s.each) * s.columns + id.x;
      u = u * (1 + modulation[scale]) + modulation[scale + s.columns];
    }
    if (s.silu > 0) { u /= 1 + exp(min(-u, vec4f(80))); }
    y[at + id.x] = u;`),

  // exp(q·k / √d) of a pixel, a row, with four others, a column, for head id.z; q and k at length √d, so that no exponent is
  // large. n: pixels of an image, a multiple of four; c, d: fours of channels in all and a head.
  scores: shader(["columns", "rows", "n", "c", "d"], ["qkv"], `
    let q = 3 * id.y * s.c + id.z * s.d; let k = 3 * (id.y / s.n * s.n + 4 * id.x) * s.c + s.c + id.z * s.d;
    var own = 0.0; var others = vec4f(); var products = vec4f();
    for (var i = 0u; i < s.d; i++) {
      let a = qkv[q + i];
      own += dot(a, a);
      ${four((r) => `let b${r} = qkv[k + ${3 * r} * s.c + i]; others[${r}] += dot(b${r}, b${r}); products[${r}] += dot(a, b${r});`)}
    }
    let lengths = inverseSize(vec4f(own), 4 * s.d) * inverseSize(others, 4 * s.d);
    y[(id.z * s.rows + id.y) * s.columns + id.x] = exp(products * lengths * inverseSqrt(4 * f32(s.d)));`),

  // Values of an image's pixels, weighted by their scores.
  mix: shader(["columns", "rows", "n", "d"], ["qkv", "scores"], `
    let row = (id.x / s.d * s.rows + id.y) * s.n / 4; let step = 3 * s.columns;
    var v = id.y / s.n * s.n * step + 2 * s.columns + id.x; var sum = vec4f(); var total = vec4f();
    for (var j = row; j < row + s.n / 4; j++) {
      let e = scores[j];
      total += e;
      sum += mat4x4f(qkv[v], qkv[v + step], qkv[v + 2 * step], qkv[v + 3 * step]) * e;
      v += 4 * step;
    }
    y[id.y * s.columns + id.x] = sum / dot(total, vec4f(1));`),

  // The mean of side × side pixels; w: pixels of a line of y.
  pool: shader(["columns", "rows", "w", "side"], ["x"], `
    var sum = vec4f(); let corner = (id.y / s.w * s.w * s.side + id.y % s.w) * s.side;
    for (var i = 0u; i < s.side * s.side; i++) { sum += x[(corner + i / s.side * s.w * s.side + i % s.side) * s.columns + id.x]; }
    y[id.y * s.columns + id.x] = sum / f32(s.side * s.side);`),

  // Each pixel four times; w as above.
  double: shader(["columns", "rows", "w"], ["x"], `
    y[id.y * s.columns + id.x] = x[(id.y / (2 * s.w) * s.w / 2 + id.y % s.w / 2) * s.columns + id.x];`),
};

// -- the card ----------------------------------------------------------------------------------------------------------

/** A network's buffers and shaders on a GPUDevice. */
export class Memory {
  constructor(device) {
    Object.assign(this, { device, kind: "webgpu", layers, backwards: false, pipelines: {}, uniforms: new Map(), taken: [], free: new Map(), pass: null });
    this.trouble = null; // the first thing that the card complained of
    device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.trouble ??= event.error;
    });
  }

  /** A buffer that holds these numbers for good. */
  keep(numbers, usage = GPUBufferUsage.STORAGE) {
    const buffer = this.device.createBuffer({ size: numbers.byteLength, usage, mappedAtCreation: true });
    new numbers.constructor(buffer.getMappedRange()).set(numbers);
    buffer.unmap();
    return buffer;
  }

  /** A buffer for n floats, until it is released. */
  take(n) {
    const size = 4 * n, usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const buffer = this.free.get(size)?.pop() ?? this.device.createBuffer({ size, usage });
    this.taken.push(buffer);
    return buffer;
  }

  get used() {
    return this.taken.length;
  }

  /** Let go of all that was taken since `used` was `mark`. The card works in order: what it has to do yet is done before. */
  release(mark) {
    for (const buffer of this.taken.splice(mark)) this.free.set(buffer.size, [...(this.free.get(buffer.size) ?? []), buffer]);
  }

  /** Have a shader fill y: sizes: its numbers after columns and rows, reads: the buffers that it reads. */
  run(name, y, [columns, rows, beyond = 1], sizes, reads) {
    const { device } = this, numbers = Uint32Array.of(columns, rows, ...sizes);
    const pipeline = (this.pipelines[name] ??= device.createComputePipeline({ layout: "auto", compute: { module: device.createShaderModule({ code: SHADERS[name] }) } }));
    if (!this.uniforms.has(String(numbers))) this.uniforms.set(String(numbers), this.keep(numbers, GPUBufferUsage.UNIFORM));
    const buffers = [this.uniforms.get(String(numbers)), y.buffer, ...reads];
    const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
    if (!this.pass) {
      this.encoder = device.createCommandEncoder();
      this.pass = this.encoder.beginComputePass();
    }
    this.pass.setPipeline(pipeline);
    this.pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
    this.pass.dispatchWorkgroups(Math.ceil(columns / SIDE), Math.ceil(rows / SIDE), beyond);
    return y;
  }

  /** Send all that was to run, and the numbers of a buffer once it has. */
  async read(buffer) {
    const { device, pass } = this, { size } = buffer, encoder = pass ? this.encoder : device.createCommandEncoder();
    const copy = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
    pass?.end();
    encoder.copyBufferToBuffer(buffer, 0, copy, 0, size);
    device.queue.submit([encoder.finish()]);
    this.pass = null;
    await copy.mapAsync(GPUMapMode.READ);
    const numbers = new Float32Array(copy.getMappedRange()).slice();
    copy.destroy();
    if (this.trouble) throw new Error(this.trouble.message);
    return numbers;
  }
}

class Tensor {
  constructor(memory, b, h, w, c) {
    Object.assign(this, { memory, b, h, w, c, quads: c / 4, pixels: b * h * w, buffer: memory.take(b * h * w * c) });
  }
}

// -- layers: see layers.mjs --------------------------------------------------------------------------------------------

/** Numbers (b, h, w, c), c a multiple of eight, as a tensor. */
function enter(memory, numbers, [b, h, w, c]) {
  const x = new Tensor(memory, b, h, w, c);
  memory.device.queue.writeBuffer(x.buffer, 0, numbers);
  return x;
}

/** And back: a promise. */
const leave = (x) => x.memory.read(x.buffer);

class Conv {
  constructor(memory, { shape: [out, into, side = 1], data }, bias) {
    const rows = eights(into), columns = eights(out), taps = side * side, packed = new Float32Array(taps * rows * columns);
    for (let o = 0; o < out; o++) for (let i = 0; i < into; i++) for (let tap = 0; tap < taps; tap++)
      packed[(tap * rows + i) * columns + o] = data[(o * into + i) * taps + tap];
    const shift = new Float32Array(columns);
    if (bias) shift.set(bias.data);
    Object.assign(this, { memory, out: columns, side, weights: memory.keep(packed), bias: memory.keep(shift) });
  }

  run(x, { onto = null } = {}) {
    const { memory, side, weights, bias } = this, y = new Tensor(memory, x.b, x.h, x.w, this.out);
    const sizes = [x.pixels, x.h, x.w, x.quads, side, onto ? 1 : 0];
    return memory.run("product", y, [y.quads, Math.ceil(x.pixels / 4)], sizes, [x.buffer, weights, bias, (onto ?? x).buffer]);
  }
}

function apply(x, { normed = 1, modulation = null, silu = 1 }) {
  const y = new Tensor(x.memory, x.b, x.h, x.w, x.c), sizes = [x.h * x.w, normed, modulation ? 1 : 0, silu];
  return x.memory.run("activate", y, [x.quads, x.pixels], sizes, [x.buffer, (modulation ?? x).buffer]);
}

function attend(qkv, d) {
  const { memory, b, h, w, pixels } = qkv, c = qkv.c / 3, n = h * w, heads = c / d;
  const scores = memory.run("scores", new Tensor(memory, b * heads, h, w, n), [n / 4, pixels, heads], [n, c / 4, d / 4], [qkv.buffer]);
  return memory.run("mix", new Tensor(memory, b, h, w, c), [c / 4, pixels], [n, d / 4], [qkv.buffer, scores.buffer]);
}

function pool(x, side = 2) {
  const y = new Tensor(x.memory, x.b, x.h / side, x.w / side, x.c);
  return x.memory.run("pool", y, [y.quads, y.pixels], [y.w, side], [x.buffer]);
}

function double(x) {
  const y = new Tensor(x.memory, x.b, 2 * x.h, 2 * x.w, x.c);
  return x.memory.run("double", y, [y.quads, y.pixels], [y.w], [x.buffer]);
}

const layers = {
  enter, leave, Conv, Linear: Conv, attend, pool, double,
  norm: (x) => apply(x, { silu: 0 }), silu: (x) => apply(x, { normed: 0 }), activate: (x, { modulation } = {}) => apply(x, { modulation }),
};
