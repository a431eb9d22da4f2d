// C += A·B, in single precision, for four rows of C and eight columns at a time.
//
// A has m rows of k numbers, `lda` apart; after each `run` of rows, another `skip` numbers are passed over, so that the
// rows may be the pixels of an image with a border. B is packed: panels of eight columns, each of k times 8 numbers.
// C has m rows of n numbers, `ldc` apart. m and run are multiples of 4, n is one of 8.

/** The product in plain JavaScript; f holds all three, and sizes and places count in floats. */
export function gemm(f, a, lda, run, skip, b, c, ldc, m, n, k) {
  for (let j = 0; j < n; j += 4) {
    const panel = b + (j >> 3) * 8 * k + (j & 7);
    for (let i = 0, row = a, left = run; i < m; i += 2) {
      const o = c + i * ldc + j, u = o + ldc;
      let s0 = f[o], s1 = f[o + 1], s2 = f[o + 2], s3 = f[o + 3];
      let t0 = f[u], t1 = f[u + 1], t2 = f[u + 2], t3 = f[u + 3];
      for (let x = row, y = row + lda, p = panel; x < row + k; x++, y++, p += 8) {
        const q = f[x], r = f[y], b0 = f[p], b1 = f[p + 1], b2 = f[p + 2], b3 = f[p + 3];
        s0 += q * b0; s1 += q * b1; s2 += q * b2; s3 += q * b3;
        t0 += r * b0; t1 += r * b1; t2 += r * b2; t3 += r * b3;
      }
      f[o] = s0; f[o + 1] = s1; f[o + 2] = s2; f[o + 3] = s3;
      f[u] = t0; f[u + 1] = t1; f[u + 2] = t2; f[u + 3] = t3;
      row += 2 * lda;
      left -= 2;
      if (left === 0) {
        row += skip;
        left = run;
      }
    }
  }
}

// The same for WebAssembly, four numbers an instruction; places and strides count in bytes. Written out four times
// below are the rows of a block: $a0 … $a3 walk along them in A, $s00 … $s31 are their sums, two times four columns each.
const rows = [0, 1, 2, 3];
const four = (f) => rows.map(f).join(" ");
const sums = (f) => four((r) => `${f(r, 0)} ${f(r, 1)}`);

export const gemmText = `
(func $gemm (param $a i32) (param $lda i32) (param $run i32) (param $skip i32) (param $b i32)
            (param $c i32) (param $ldc i32) (param $m i32) (param $n i32) (param $k i32)
  (local $row i32) (local $left i32) (local $rows i32) (local $out i32) (local $p i32) (local $end i32)
  ${four((r) => `(local $a${r} i32) (local $c${r} i32)`)}
  ${sums((r, q) => `(local $s${r}${q} v128)`)} (local $b0 v128) (local $b1 v128) (local $x v128)
  (loop $panels
    (local.set $row (local.get $a)) (local.set $left (local.get $run))
    (local.set $rows (local.get $m)) (local.set $out (local.get $c))
    (local.set $end (i32.add (local.get $b) (i32.shl (local.get $k) (i32.const 5))))
    (loop $blocks
      (local.set $a0 (local.get $row)) (local.set $c0 (local.get $out))
      ${[1, 2, 3].map((r) => `
      (local.set $a${r} (i32.add (local.get $a${r - 1}) (local.get $lda)))
      (local.set $c${r} (i32.add (local.get $c${r - 1}) (local.get $ldc)))`).join("")}
      ${sums((r, q) => `(local.set $s${r}${q} (v128.load offset=${16 * q} (local.get $c${r})))`)}
      (local.set $p (local.get $b))
      (loop $along
        (local.set $b0 (v128.load (local.get $p))) (local.set $b1 (v128.load offset=16 (local.get $p)))
        ${four((r) => `
        (local.set $x (v128.load32_splat (local.get $a${r})))
        (local.set $s${r}0 (f32x4.add (local.get $s${r}0) (f32x4.mul (local.get $x) (local.get $b0))))
        (local.set $s${r}1 (f32x4.add (local.get $s${r}1) (f32x4.mul (local.get $x) (local.get $b1))))
        (local.set $a${r} (i32.add (local.get $a${r}) (i32.const 4)))`)}
        (local.set $p (i32.add (local.get $p) (i32.const 32)))
        (br_if $along (i32.lt_u (local.get $p) (local.get $end))))
      ${sums((r, q) => `(v128.store offset=${16 * q} (local.get $c${r}) (local.get $s${r}${q}))`)}
      (local.set $row (i32.add (local.get $row) (i32.shl (local.get $lda) (i32.const 2))))
      (local.set $out (i32.add (local.get $out) (i32.shl (local.get $ldc) (i32.const 2))))
      (local.set $left (i32.sub (local.get $left) (i32.const 4)))
      (if (i32.eqz (local.get $left)) (then
        (local.set $row (i32.add (local.get $row) (local.get $skip)))
        (local.set $left (local.get $run))))
      (local.set $rows (i32.sub (local.get $rows) (i32.const 4)))
      (br_if $blocks (local.get $rows)))
    (local.set $b (local.get $end))
    (local.set $c (i32.add (local.get $c) (i32.const 32)))
    (local.set $n (i32.sub (local.get $n) (i32.const 8)))
    (br_if $panels (local.get $n))))`;
