// One particle under guidance, with its scores and x̂, as λ rises; with twins, a second one follows the SDE.

import { weightRule } from "./guidance.mjs";
import { className, classOptions, gridOf, Plot, viewOf } from "./plot.mjs";
import { fillNormal } from "./random.mjs";
import { runner } from "./run.mjs";
import { sample } from "./samplers.mjs";
import { klass, mixture, mixtureOf, number, seed } from "./state.mjs";
import { explorer, handle, make, memo, show } from "./ui.mjs";

const LO = -6, HI = 8, STEP = 0.1, GRID = 64, V = 0.5, CLOUD = 300;

/** One particle's way between two levels: states z, estimates x, and the levels. The ODE also goes back. noise: two normals a step. */
export function way(mix, { start, from, to, w, y, sampler = "heun", noise = new Float32Array(2) }) {
  const steps = Math.max(Math.ceil(Math.abs(to - from) / STEP - 1e-9), 0), sign = Math.sign(to - from), out = new Float64Array(2);
  const grid = Float64Array.from({ length: steps + 1 }, (_, k) => (k < steps ? from + sign * k * STEP : to));
  const z = new Float64Array(2 * steps + 4);
  sample(mix, { classes: new Int32Array([y]), start, grid, sampler, noise, v: V, weight: weightRule(w), path: z });
  const x = new Float64Array(2 * steps + 2);
  grid.forEach((lam, k) => {
    mix.at(lam).x(z[2 * k], z[2 * k + 1], y, w, out);
    x.set(out, 2 * k);
  });
  return { z: z.subarray(0, 2 * steps + 2), x, grid };
}

/** The three arrows at a point, σ · score = −ε: {conditional, unconditional, guided}. */
export function arrowsAt(level, x, y, c, w) {
  const out = new Float64Array(2), minus = (k, weight) => (level.eps(x, y, k, weight, out), [-out[0], -out[1]]);
  return { conditional: minus(c, 0), unconditional: minus(-1, 0), guided: minus(c, w) };
}

export default explorer({
  name: "particle",
  question: "What moves one particle?",
  fields: {
    mixture, w: number(-1e6, 1e6, 2), lam: number(LO, HI, 0), y: klass(0, false), z1: number(-20, 20, -1), z2: number(-20, 20, -0.5),
    at: number(LO, HI, 0), seed,
  },
  build(ui) {
    const twins = ui.model.get("twins"), plot = new Plot(ui.stage, { axes: ["z₁", "z₂"] });
    ui.legend(twins
      ? "Drag the start. Lines: the ways of the ODE and the SDE. Crosses: their x̂. Points: where each takes many."
      : "Drag the particle. Arrows are σ · score. The cross is x̂, the dotted line where it was.");
    const line = make("div", { className: "cx-run" });
    ui.stage.append(line);
    const [play] = ui.buttons([["Play", () => {
      if (ui.playing) return ui.stop();
      const from = ui.state.lam >= HI ? LO : ui.state.lam;
      play.textContent = "Pause";
      ui.play((6000 * (HI - from)) / (HI - LO), (t) => ui.preview({ lam: Math.round(20 * (from + (HI - from) * t)) / 20 }),
        () => { play.textContent = "Play"; ui.save(); });
    }]], line);
    line.addEventListener("pointerdown", (event) => { if (event.target !== play) ui.stop(); });
    ui.slider({ key: "lam", label: "log-SNR λ (noise → data)", min: LO, max: HI, step: 0.05, parent: line });
    ui.slider({ key: "w", label: "guidance weight w", min: -1, max: 8, step: 0.05 });
    ui.select({ key: "y", label: "class c", options: ({ mixture: m }) => classOptions(mixtureOf(m)) });
    if (twins) ui.buttons([ui.newNoise()]);

    let here = [0, 0];
    const put = ([x, y], done) => ui.set({ z1: x, z2: y, at: twins ? LO : ui.state.lam }, done);
    const grip = handle(plot, { label: `${twins ? "Start of both" : "Particle"}: arrow keys move it`, least: -20, most: 20 }, {
      begin: () => ui.stop(),
      move: (event) => put(plot.unproject(event)),
      end: () => ui.set({}, true),
      by: (dx, dy) => {
        ui.stop();
        put([here[0] + dx, here[1] + dy], true);
      },
    });

    const noises = memo((seed) => fillNormal(new Float64Array(2 * Math.ceil((HI - LO) / STEP)), seed + 1));
    const view = memo((mix) => viewOf(mix, 1.5));
    const clouds = memo((mix, w, y) => ["heun", "ancestral"].map((sampler) =>
      runner()({ mixture: mix, w, y, v: V, steps: 60, sampler, seed: 1, n: CLOUD, half: 10 }).points));

    return (state, mix) => {
      const { w, lam, y, z1, z2, seed } = state, at = twins ? LO : state.at, { theme } = ui, level = mix.at(lam);
      plot.begin(view(mix), theme);
      plot.bands(gridOf(plot.view, GRID, (a, b) => level.logProb(a, b, y)), GRID, theme.colors[y % 12], 0.1);
      for (let c = 0; c < mix.classes; c++)
        plot.outline(gridOf(plot.view, GRID, (a, b) => level.logProb(a, b, c)), GRID, theme.colors[c % 12], [0.8], c === y ? [] : [4, 4]);
      if (twins) plot.clipped(() => clouds(mix, w, y).forEach((points, i) => plot.dots(points, new Int32Array(CLOUD).fill(1 - i), 2.2, 0.3)));

      const from = { start: [z1, z2], from: at, to: lam, w, y }, ways = { ODE: way(mix, from) };
      if (twins) ways.SDE = way(mix, { ...from, sampler: "ancestral", noise: noises(seed) });
      const colors = twins ? { ODE: theme.colors[1], SDE: theme.colors[0] } : { ODE: theme.colors[y % 12] };
      const ends = Object.entries(ways).map(([name, { z, x }]) => {
        const split = (v) => [0, 1].map((d) => v.filter((_, i) => i % 2 === d));
        plot.curve(...split(z), colors[name]);
        plot.curve(...split(x), colors[name], { width: 1.5, dash: [2, 4] });
        const [p, q] = z.slice(-2), [u, v] = x.slice(-2);
        if (twins) plot.mark(p, q, colors[name]);
        const d = 6 / plot.kx;
        for (const s of [-d, d]) plot.curve([u - d, u + d], [v - s, v + s], colors[name], { width: 3 });
        if (twins) plot.text(name, plot.X(p) + (name === "SDE" ? 9 : -9), plot.Y(q) - 9, { align: name === "SDE" ? "left" : "right", color: colors[name], halo: true, weight: 700 });
        return [name, p, q, u, v];
      });
      const [, p, q] = ends[0];
      here = twins ? [z1, z2] : [p, q];
      if (!twins) {
        const looks = { unconditional: [theme.colors[6], "∇ log p(z)"], conditional: [theme.colors[5], "∇ log p(z|c)"], guided: [theme.ink, "guided"] };
        const each = arrowsAt(level, p, q, y, w);
        Object.entries(looks).forEach(([key, [color, words]], row) => {
          plot.arrow(p, q, each[key], color);
          plot.text(`→ ${words}`, plot.left + 8, plot.top + 12 + 16 * row, { color, halo: true, weight: 700 });
        });
      }
      const px = plot.X(here[0]), py = plot.Y(here[1]);
      grip.style.transform = `translate(${Math.min(Math.max(px, plot.left), plot.left + plot.w)}px, ${Math.min(Math.max(py, plot.top), plot.top + plot.h)}px)`;
      grip.style.borderColor = twins ? theme.ink : colors.ODE;
      grip.setAttribute("aria-valuenow", +here[0].toFixed(3));
      grip.setAttribute("aria-valuetext", `${show(here[0])}, ${show(here[1])}`);
      plot.describe(`At log-SNR ${show(lam)}, w = ${show(w)}, class ${className(y)}: ${ends.map(([name, ...v]) =>
        `${name} at ${show(v[0])}, ${show(v[1])} with x̂ at ${show(v[2])}, ${show(v[3])}`).join("; ")}.`);
      const { x0, x1, y0, y1 } = plot.view;
      const inside = ([, p, q, u, v]) => Math.min(p, u) >= x0 && Math.max(p, u) <= x1 && Math.min(q, v) >= y0 && Math.max(q, v) <= y1;
      return ends.every(inside) ? "" : `With w = ${show(w)} the particle or its x̂ is outside of the picture.`;
    };
  },
});
