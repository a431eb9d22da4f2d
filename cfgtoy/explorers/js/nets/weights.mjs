// Weight files: from text to bytes, to tensors, with a check that not a bit is wrong.

/** The bytes of a text in base64. */
export function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

/**
 * The tensors of a safetensors file and the JSON that the project keeps in its header: {tensors: Map of name → {shape,
 * data: Float32Array}, meta}. The format: eight bytes with the header's length, the header in JSON, the tensors' bytes.
 */
export function readSafetensors(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), length = Number(view.getBigUint64(0, true));
  const { __metadata__: meta, ...entries } = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  const tensors = new Map(Object.entries(entries).map(([name, { dtype, shape, data_offsets: [from, to] }]) => {
    const raw = bytes.slice(8 + length + from, 8 + length + to).buffer;
    if (dtype !== "F16" && dtype !== "F32") throw new Error(`${name} holds ${dtype}, takes F16 or F32`);
    return [name, { shape, data: dtype === "F16" ? halves(new Uint16Array(raw)) : new Float32Array(raw) }];
  }));
  return { tensors, meta: JSON.parse(meta.cfgtoy) };
}

/** Numbers in half precision: a sign, five bits of exponent, ten of fraction. There are so few that a table holds all. */
export function halves(bits) {
  table ??= Float32Array.from({ length: 65536 }, (_, h) => {
    const sign = h & 0x8000 ? -1 : 1, exponent = (h >> 10) & 31, fraction = (h & 1023) / 1024;
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
  });
  const out = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) out[i] = table[bits[i]];
  return out;
}
let table;

/** SHA-256 of bytes, in hexadecimal (FIPS 180-4). The browser's own is missing on pages that came unencrypted. */
export function sha256(bytes) {
  const k = new Int32Array(64), state = new Int32Array(8), w = new Int32Array(64);
  for (let n = 2, i = 0; i < 64; n++) { // fractional parts of roots of the first primes
    let prime = true;
    for (let d = 2; d * d <= n; d++) prime &&= n % d > 0;
    if (!prime) continue;
    if (i < 8) state[i] = (n ** (1 / 2) % 1) * 2 ** 32;
    k[i++] = (n ** (1 / 3) % 1) * 2 ** 32;
  }
  const blocks = Math.ceil((bytes.length + 9) / 64), end = new Uint8Array(64 * blocks - (bytes.length & ~63));
  end.set(bytes.subarray(bytes.length & ~63));
  end[bytes.length & 63] = 0x80;
  new DataView(end.buffer).setBigUint64(end.length - 8, 8n * BigInt(bytes.length));
  const turn = (x, n) => (x >>> n) | (x << (32 - n));
  const eat = (data, at) => {
    for (let t = 0; t < 16; t++, at += 4) w[t] = (data[at] << 24) | (data[at + 1] << 16) | (data[at + 2] << 8) | data[at + 3];
    for (let t = 16; t < 64; t++) {
      const s0 = turn(w[t - 15], 7) ^ turn(w[t - 15], 18) ^ (w[t - 15] >>> 3);
      const s1 = turn(w[t - 2], 17) ^ turn(w[t - 2], 19) ^ (w[t - 2] >>> 10);
      w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let t = 0; t < 64; t++) {
      const t1 = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + k[t] + w[t]) | 0;
      const t2 = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      h = g; g = f; f = e; e = (d + t1) | 0; d = c; c = b; b = a; a = (t1 + t2) | 0;
    }
    [a, b, c, d, e, f, g, h].forEach((x, i) => { state[i] += x; });
  };
  for (let at = 0; at + 64 <= bytes.length; at += 64) eat(bytes, at);
  for (let at = 0; at < end.length; at += 64) eat(end, at);
  return Array.from(state, (x) => (x >>> 0).toString(16).padStart(8, "0")).join("");
}
