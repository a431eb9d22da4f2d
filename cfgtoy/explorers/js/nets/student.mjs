// Pictures by a student, in the page: every one is a sketch after its first evaluation, and sharpens with each further one.
//
// Who shows them says what it wants, and hears of each new state of a picture:
//
//   const student = new Student(model, about, () => draw(student.shown));
//   student.want({ w: 1, y: [3, 3, 8], seeds: [0, 1, 0] });   // a class and a noise for each picture
//   student.shown.paths[0].at(-1).x                            // its numbers so far, channels × height × width
//
// about: what `cfgtoy.explorers._networks.student_about` says in Python. The network comes with the first wish, never before.

import { fillNormal } from "../random.mjs";
import { BY } from "./answers.mjs";
import { room, run } from "./engine.mjs";
import { Source } from "./source.mjs";

export class Student {
  /** change(): called whenever there is something new to show. whole: no sketches, and every wish is drawn to its end. */
  constructor(model, about, change, { whole = false } = {}) {
    Object.assign(this, { about, change, wholly: whole, source: new Source(model, about.networks), reduced: matchMedia("(prefers-reduced-motion: reduce)") });
    this.shown = null; // {what, paths: for each picture its [{lam, x}, …], first and seconds: of time, by, whole}
    this.trouble = ""; // why nothing more comes
    this.busy = false;
    this.pushes = new Map(); // what `push` knows
    this.most = Infinity; // workers
    this.how = {}; // more for a run in a worker
  }

  stop() {
    this.running?.abort();
    this.source.stop();
  }

  /** what: {w, y: a class for each picture, seeds: a noise for each}; kernel: whether the kernel is to draw, where there is one. */
  want(what, kernel = false) {
    const key = JSON.stringify([what, kernel]);
    if (key === this.key) return;
    Object.assign(this, { key, what, kernel: kernel && this.source.live });
    if (!this.short) this.begin(); // else the sketches, which are soon there, or the kernel, which cannot be stopped, come first
  }

  async begin() {
    this.running?.abort();
    const running = new AbortController(), { signal } = running, { key, what, kernel } = this, paths = what.y.map(() => []);
    const from = performance.now(), since = () => (performance.now() - from) / 1000, of = this.about.grid.length;
    Object.assign(this, { running, busy: true, short: kernel }); // short: what is under way, new wishes wait for
    this.pushes.clear();
    let first = null;
    const tell = (by) => {
      const whole = paths.every((path) => path.length === of);
      if (!whole && (this.wholly || this.reduced.matches)) return;
      this.shown = { what, paths, first, seconds: since(), by: BY[by], whole };
      this.change();
    };
    try {
      if (kernel) {
        (await this.inKernel(what)).forEach((path, i) => { paths[i] = path; });
        this.short = false;
        tell("kernel");
      } else {
        await this.inPage(what, signal, (picture, state, by) => {
          first ??= since();
          paths[picture].push(state);
          this.short = !this.how.aside && paths.some((path) => path.length < (this.wholly ? of : 1));
          tell(by);
          if (!this.short && key !== this.key && !signal.aborted) this.begin();
        });
      }
      if (signal.aborted) return;
      this.trouble = "";
    } catch (error) {
      if (signal.aborted) return;
      running.abort(); // of several workers, the others
      Object.assign(this, { trouble: error.message, short: false });
    }
    this.busy = false;
    if (key !== this.key) this.begin();
    else this.change();
  }

  // -- who draws ---------------------------------------------------------------------------------------------------------

  /** The pictures are dealt to the workers in turn. seen(picture, {lam, x}, by) is called for each state of each. */
  async inPage({ w, y, seeds, sampler = "ddim" }, signal, seen) {
    const { network, grid } = this.about, net = await this.source.spread(network, Math.min(room(), y.length, this.most));
    if (signal.aborted) return;
    this.short = !this.how.aside;
    await Promise.all(net.where.map((where, k) => {
      const mine = [...y.keys()].filter((i) => i % net.where.length === k);
      const job = { denoiser: net.key, w, y: mine.map((i) => y[i]), z: this.noise(mine.map((i) => seeds[i])), grid, ...this.how, sampler, apart: true };
      return run(job, signal, ({ picture, lam, x, push, by }) => seen(mine[picture], { lam, x, push: push[0] }, by), where);
    }));
  }

  noise(seeds) {
    const size = this.about.shape.reduce((a, b) => a * b), z = new Float32Array(seeds.length * size);
    seeds.forEach((seed, i) => fillNormal(z.subarray(i * size, (i + 1) * size), seed));
    return z;
  }

  /** The kernel's answer holds for each level λ, then x̂ of each picture. */
  async inKernel(draw) {
    const f = await this.source.numbers({ draw }), size = this.about.shape.reduce((a, b) => a * b), each = 1 + draw.y.length * size;
    return draw.y.map((_, i) => this.about.grid.map((_, s) => {
      const at = s * each + 1 + i * size;
      return { lam: f[s * each], x: f.slice(at, at + size) };
    }));
  }

  /** How much w changes ε̂ on the way of a picture, as a root mean square at each level; null until that is known. */
  push(i) {
    if (!this.pushes.has(i)) {
      const { key, pushes } = this, { what: { w, y, seeds } } = this.shown, one = { w, y: [y[i]], seeds: [seeds[i]] };
      pushes.set(i, null);
      const measure = this.kernel ? this.source.numbers({ push: one }) : this.pushInPage(one);
      measure.then((push) => {
        if (key !== this.key) return;
        pushes.set(i, [...push]);
        this.change();
      }, (error) => {
        this.trouble = error.message;
        this.change();
      });
    }
    return this.pushes.get(i);
  }

  async pushInPage({ w, y, seeds }) {
    const { network, grid } = this.about, { key } = await this.source.load(network), out = [];
    const job = { denoiser: key, w, y, z: this.noise(seeds), grid, sampler: "ddim", compare: true };
    await run(job, this.running.signal, ({ push }) => out.push(push[0]));
    return out;
  }
}
