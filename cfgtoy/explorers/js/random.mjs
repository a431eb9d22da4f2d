// Seeded random numbers: the same seed gives the same picture in every browser.

/** A generator of uniform numbers in (0, 1): sfc32 (Chris Doty-Humphrey's PractRand), seeded by splitmix-like stirring. */
export function uniforms(seed) {
  let a = 0x9e3779b9, b = 0x243f6a88, c = (seed | 0) ^ 0xb7e15162, d = 1;
  const next = () => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + t | 0;
    return ((t >>> 0) + 0.5) / 4294967296;
  };
  for (let i = 0; i < 16; i++) next();
  return next;
}

/** Fill `out` with independent N(0, 1) draws (Box & Muller, a pair at a time). */
export function fillNormal(out, seed) {
  const next = uniforms(seed);
  for (let i = 0; i < out.length; i += 2) {
    const r = Math.sqrt(-2 * Math.log(next())), turn = 2 * Math.PI * next();
    out[i] = r * Math.cos(turn);
    if (i + 1 < out.length) out[i + 1] = r * Math.sin(turn);
  }
  return out;
}
