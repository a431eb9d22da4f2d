// From settings to pictures that a network draws: one run after another, where the newest settings win.
//
// A row of pictures, one a class, all from one noise, is {denoiser, classifier, rule, w, steps, sampler, seed}, the first
// two by name; a student's has its own grid beside, and says whether to `compare` (see guided.mjs). While a reader drags a slider, each new setting first gets a draft of a few levels, which is soon there; the
// whole run follows once the hand is still, and is cancelled when it moves again.

import { fillNormal } from "../random.mjs";
import { grid, uniform } from "../schedules.mjs";
import { run } from "./engine.mjs";
import { Source } from "./source.mjs";

const DRAFT = 6; // levels
const SLOW = 300; // milliseconds, after which unfinished pictures are shown as well
export const BY = { webgpu: "WebGPU, in this page", wasm: "WebAssembly, in this page", js: "JavaScript, in this page", kernel: "PyTorch, in the kernel" };

export class Answers {
  /**
   * about: {networks: {name: {files, sha256, bytes, webgpu}}, shape, classes, lo, hi}; change(): called when there is something new
   * to draw.
   */
  constructor(model, about, change) {
    Object.assign(this, { about, change, source: new Source(model, about.networks), reduced: matchMedia("(prefers-reduced-motion: reduce)") });
    this.shown = null; // {rows, paths: for each row its [{lam, x, push}, …], seconds, by, whole}
    this.trouble = ""; // why nothing more comes
    this.busy = false;
  }

  stop() {
    this.running?.abort();
    this.source.stop();
  }

  /** kernel: whether the kernel is to draw, where there is one. */
  want(rows, kernel) {
    const key = JSON.stringify([rows, kernel]);
    if (key === this.key) return;
    Object.assign(this, { key, wanted: rows, kernel: kernel && this.source.live });
    if (this.short) return; // a draft, which ends soon, or the kernel, which cannot be stopped: what is wanted then comes next
    this.running?.abort();
    this.begin();
  }

  begin() {
    const { wanted, kernel } = this, draft = !kernel && !this.reduced.matches && this.shown !== null && wanted.some(({ steps }) => steps > DRAFT);
    this.draw(draft ? wanted.map((row) => ({ ...row, steps: Math.min(row.steps, DRAFT) })) : wanted, draft);
  }

  async draw(rows, draft) {
    const { key, kernel } = this, first = this.shown === null, from = performance.now(), paths = [];
    const running = new AbortController(), { signal } = running;
    Object.assign(this, { running, busy: true, short: draft || kernel });
    const tell = (by, whole) => {
      this.shown = { rows, paths: [...paths], seconds: (performance.now() - from) / 1000, by: BY[by], whole };
      this.change();
    };
    try {
      let by;
      for (const row of rows) {
        by = await (kernel ? this.inKernel(row, (path) => paths.push(path)) : this.inPage(row, signal, (path, by) => {
          paths[rows.indexOf(row)] = path;
          const slow = first || performance.now() - from > SLOW;
          if (slow && !draft && !this.reduced.matches && paths.length === rows.length) tell(by, false);
        }));
        if (signal.aborted) return;
      }
      this.trouble = "";
      tell(by, !draft);
    } catch (error) {
      if (signal.aborted) return;
      this.trouble = error.message;
    }
    Object.assign(this, { busy: false, short: false });
    if (key !== this.key) this.begin();
    else if (draft && !this.trouble) this.draw(this.wanted, false);
    else this.change();
  }

  // -- who draws ---------------------------------------------------------------------------------------------------------

  /** seen(path, by) is called at each level. Resolves to who drew, at the end of the run or when `signal` ends it before. */
  async inPage({ denoiser, classifier, rule, w, steps, sampler, seed, grid: own, compare }, signal, seen) {
    const { shape, classes, lo, hi } = this.about, each = shape.reduce((a, b) => a * b), n = classes.length;
    const [net, judge] = await Promise.all([denoiser, classifier].map((name) => name && this.source.load(name)));
    const z = new Float32Array(n * each), noise = fillNormal(new Float32Array(each), seed), path = [];
    let kind;
    for (let i = 0; i < n; i++) z.set(noise, i * each);
    const job = { denoiser: net.key, classifier: judge?.key, rule, w, compare, y: classes.map((_, i) => i), z,
      grid: own ?? grid(uniform(lo, hi), steps), sampler };
    await run(job, signal, ({ lam, x, push, by }) => {
      kind = by;
      path.push({ lam, x, push });
      seen(path, kind);
    });
    return kind;
  }

  /** The kernel's answer holds for each level λ, then x̂ and the push of each picture. */
  async inKernel({ w, steps, sampler, seed, rule }, seen) {
    const f = await this.source.numbers({ draw: { w, steps, sampler, seed, rule } });
    const { shape, classes } = this.about, n = classes.length, size = n * shape.reduce((a, b) => a * b);
    seen(Array.from({ length: steps }, (_, s) => {
      const at = s * (1 + size + n);
      return { lam: f[at], x: f.slice(at + 1, at + 1 + size), push: f.slice(at + 1 + size, at + 1 + size + n) };
    }));
    return "kernel";
  }
}
