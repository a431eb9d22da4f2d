// Sampling: 4,000 particles from noise to data, held against the class densities and the tilted target.

import { frechet, inceptionScore, sampleMoments, shareOutside } from "./metrics.mjs";
import { SAMPLERS } from "./samplers.mjs";
import { className, classOptions, gridOf, Plot, viewOf } from "./plot.mjs";
import { reporter, runner } from "./run.mjs";
import { choice, interval, klass, mixture, mixtureOf, number, seed } from "./state.mjs";
import { explorer, make, memo, show } from "./ui.mjs";

export const SAMPLER_NAMES = { ancestral: "ancestral", ddim: "DDIM", heun: "Heun (ODE)" };
const GRID = 64, TRAILS = 60;

/** v, where it matters, the steps and the sampler. */
export function samplerControls(ui, parent, label = "sampler") {
  ui.slider({ key: "v", label: "v: variance of the ancestral step", min: 0, max: 1, step: 0.01, when: (s) => s.sampler === "ancestral", parent });
  ui.slider({ key: "steps", label: "steps N", min: 2, max: 256, step: 1, parent });
  ui.select({ key: "sampler", label, options: SAMPLERS.map((key) => [key, SAMPLER_NAMES[key]]), parent });
}

export default explorer({
  name: "sampling",
  question: "Do guided samples follow the density that guidance is said to aim at?",
  fields: {
    mixture, w: number(-1e6, 1e6, 2), v: number(0, 1, 0.3), steps: number(2, 512, 64, { integer: true }), sampler: choice(SAMPLERS, "ancestral"),
    seed, n: number(10, 20000, 4000, { integer: true }), y: klass(null, true), interval,
    density: choice(["tilted", "true"], "tilted"),
  },
  build(ui) {
    const plot = new Plot(ui.stage, { axes: ["z₁", "z₂"] });
    const legend = ui.legend("");
    const line = make("div", { className: "cx-run" });
    ui.stage.append(line);
    let progress = 1; // of the run, 0 noise … 1 data
    const toggle = () => {
      if (ui.playing) return ui.stop();
      play.textContent = "Pause";
      const from = progress >= 1 ? 0 : progress;
      ui.play(4000 * (1 - from), (t) => { progress = from + (1 - from) * t; ui.refresh(); }, () => { play.textContent = "Play"; });
    };
    const [play] = ui.buttons([["Play", toggle]], line);
    ui.slider({ key: "progress", label: "progress of the run, %", min: 0, max: 100, step: 0.5, parent: line,
      get: () => 100 * progress, set: (x) => { progress = Math.min(Math.max(x / 100 || 0, 0), 1); return {}; } });

    ui.slider({ key: "w", label: "guidance weight w", min: -1, max: 8, step: 0.05 });
    samplerControls(ui);
    ui.select({ key: "y", label: "class", options: ({ mixture: m }) => [[null, "all"], ...classOptions(mixtureOf(m))] });
    ui.select({ key: "density", label: "bands", options: [["tilted", "tilted target"], ["true", "class density"]] });
    ui.select({ key: "interval", label: "guide", options: ({ interval: own }) => [[null, "at every λ"],
      ...(own && own.join() !== "-1,5" ? [[own, `for λ in ${own.map((x) => show(x)).join(" … ")}`]] : []), [own && own.join() === "-1,5" ? own : MIDDLE, "only for λ in −1 … 5"]] });
    ui.buttons([ui.newNoise()]);
    const table = ui.table("At the end of the run", ["class", "Fréchet", "beyond 3σ"]);
    const score = ui.table("All classes");

    const run = runner(), view = memo((mix) => viewOf(mix, 1.15));
    let path = new Float32Array(0);
    const simulate = memo((mix, w, v, steps, sampler, seed, n, y, between) => {
      const size = (steps + 1) * 2 * n;
      if (path.length !== size) path = new Float32Array(size);
      const result = run({ mixture: mix, w, v, steps, sampler, seed, n, y, interval: between, path });
      const used = y === null ? [...mix.prior.keys()] : [y];
      const rows = used.map((c) => {
        const moments = sampleMoments(result.points, result.classes, c);
        return [className(c), show(moments ? frechet(moments, mix.moments(c)) : NaN), `${show(100 * shareOutside(mix, result.points, result.classes, c))} %`];
      });
      return { ...result, rows, used, score: inceptionScore(mix, result.points).score };
    });
    const report = reporter(ui), blank = memo((n) => new Float32Array(2 * n));

    return (state, mix) => {
      const { w, v, steps, sampler, seed, n, y, density } = state, { theme } = ui;
      const result = simulate(mix, w, v, steps, sampler, seed, n, y, state.interval);
      report(result);
      const place = progress * steps, step = Math.min(Math.floor(place), steps - 1), part = place - step;
      const lam = result.grid[Math.min(Math.round(place), steps - 1)], level = mix.at(lam);
      const at = blank(n), a = path.subarray(step * 2 * n), b = path.subarray((step + 1) * 2 * n);
      for (let i = 0; i < 2 * n; i++) at[i] = a[i] + (b[i] - a[i]) * part;

      plot.begin(view(mix), theme);
      const tilted = (c) => gridOf(plot.view, GRID, (p, q) => level.tiltedLogProb(p, q, c, w));
      const plain = (c) => gridOf(plot.view, GRID, (p, q) => level.logProb(p, q, c));
      for (const c of result.used) {
        const color = theme.colors[c % 12];
        plot.bands((density === "tilted" ? tilted : plain)(c), GRID, color, 0.12);
        plot.outline((density === "tilted" ? plain : tilted)(c), GRID, color, [0.9]);
      }
      let beyond = 0;
      plot.clipped(() => {
        if (progress > 0 && progress < 1) trails(plot, path, n, step, part, result.classes, theme);
        beyond = plot.dots(at, result.classes, n > 6000 ? 1.6 : 2.2, 0.65);
      });
      plot.letters(mix, level.alpha);
      plot.describe(`${n} particles at log-SNR ${show(lam)}, guided with w = ${show(w)}; ${SAMPLER_NAMES[sampler]}, ${steps} steps.`);
      legend.textContent = density === "tilted"
        ? "Bands: the tilted target p(z|c) p(c|z)^w. Dashed: 90 % of the class p(z|c). Points: samples."
        : "Bands: the class density p(z|c). Dashed: 90 % of the tilted target p(z|c) p(c|z)^w. Points: samples.";
      table(result.rows);
      score([["Inception Score", `${show(result.score)} of ${mix.classes}`], ["λ on screen", show(lam)]]);
      if (beyond) return `${show((100 * beyond) / n)} % of the particles are outside of the picture${beyond > n / 4 ? `: w = ${show(w)} with ${steps} steps drives them away` : ""}.`;
      return "";
    };
  },
});

const MIDDLE = Object.freeze([-1, 5]);

/** The last few steps of some particles, as lines. */
function trails(plot, path, n, step, part, classes, theme) {
  const { ctx } = plot, stride = Math.max(1, Math.floor(n / TRAILS)), back = Math.max(0, step - 10);
  ctx.lineWidth = 1;
  ctx.globalAlpha = 0.8;
  for (let i = 0; i < n; i += stride) {
    ctx.strokeStyle = theme.colors[classes[i] % 12];
    ctx.beginPath();
    for (let s = back; s <= step; s++) ctx.lineTo(plot.X(path[s * 2 * n + 2 * i]), plot.Y(path[s * 2 * n + 2 * i + 1]));
    const from = step * 2 * n + 2 * i, to = from + 2 * n;
    ctx.lineTo(plot.X(path[from] + (path[to] - path[from]) * part), plot.Y(path[from + 1] + (path[to + 1] - path[from + 1]) * part));
    ctx.stroke();
  }
  ctx.globalAlpha = 1;
}
