// Pictures by the student's teacher, in the page: the same as student.mjs, slower, by classifier-free guidance.
//
// what: {w, y, seeds, sampler}. A picture's path has {lam, x, push} at each level, push: what guidance adds to ε̂ there.

import { Student } from "./student.mjs";

const MOST = 2; // workers: each holds the weights, 65 MB in single precision

export class Teacher extends Student {
  /** about: what `cfgtoy.explorers._networks.teacher_about` says in Python. */
  constructor(model, about, change) {
    super(model, about, change);
    Object.assign(this, { most: MOST, how: { rule: "classifier-free", aside: true } });
  }

  /** Give up what runs in the page; what was shown stays. */
  rest() {
    if (this.short || !this.key) return;
    this.running?.abort();
    Object.assign(this, { key: null, busy: false });
  }

  /** Forget that it failed. */
  again() {
    Object.assign(this, { key: null, trouble: "" });
  }

  /** Its path of a picture, as far as that was drawn at these settings; null where it was not. */
  path(w, sampler, y, seed) {
    const { what, paths } = this.shown ?? {};
    if (what?.w !== w || what.sampler !== sampler) return null;
    return paths[what.y.findIndex((one, i) => one === y && what.seeds[i] === seed)] ?? null;
  }

  /** The kernel's answer holds for each level λ, then x̂ and the push of each picture. */
  async inKernel(teach) {
    const f = await this.source.numbers({ teach }), size = this.about.shape.reduce((a, b) => a * b), n = teach.y.length;
    return teach.y.map((_, i) => this.about.grid.map((_, s) => {
      const from = s * (1 + n * size + n), at = from + 1 + i * size;
      return { lam: f[from], x: f.slice(at, at + size), push: f[from + 1 + n * size + i] };
    }));
  }
}
