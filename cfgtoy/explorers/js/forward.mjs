// Forward process: how noise takes the data apart, and how a schedule spends its noise levels.

import { alphaSigma, assign } from "./mixture.mjs";
import { fillNormal, uniforms } from "./random.mjs";
import { SCHEDULES, shifted } from "./schedules.mjs";
import { gridOf, Plot, viewOf } from "./plot.mjs";
import { choice, mixture, number } from "./state.mjs";
import { explorer, make, memo, show } from "./ui.mjs";

const N = 3000, GRID = 64, CURVE = 241;

/** N points of the data with their classes, and the noise that each of them will meet. */
function population(mix) {
  const next = uniforms(7), normals = fillNormal(new Float64Array(2 * N), 8);
  const x = new Float64Array(2 * N), noise = fillNormal(new Float64Array(2 * N), 9), classes = assign(mix, N, null);
  classes.forEach((c, i) => mix.draw(c, next(), normals[2 * i], normals[2 * i + 1], x, 2 * i));
  return { x, noise, classes };
}

export default explorer({
  name: "forward",
  question: "How does noise take the data apart?",
  fields: {
    mixture, lam: number(-20, 20, 1), schedule: choice(Object.keys(SCHEDULES), "cosine"), shift: number(-10, 10, 0),
  },
  build(ui) {
    const pair = make("div", { className: "cx-pair" }), side = make("div");
    ui.stage.append(pair);
    const plane = new Plot(pair, { axes: ["z₁", "z₂"] });
    pair.append(side);
    const amounts = new Plot(side, { axes: ["log-SNR λ  (noise → data)", "share"], ratio: 0.36, title: "signal α² and noise σ²" });
    const law = new Plot(side, { axes: ["log-SNR λ  (noise → data)", "p(λ)"], ratio: 0.36, title: "noise levels of the schedule; shaded: u" });
    ui.legend("Points: noisy samples z = αx + σε, one colour a class. Bands hold 20, 40, 60, 80 and 95 % of p(z).");

    const scheduleOf = memo((name, shift) => shifted(SCHEDULES[name].make(), shift));
    const current = (s) => scheduleOf(s.schedule, s.shift);
    const uOf = (s) => Math.min(Math.max(current(s).u(s.lam), 0), 1);
    const toLam = (u) => Math.min(Math.max(current(ui.state).logsnr(Math.min(Math.max(u, 0), 1)), -20), 20);
    ui.slider({ key: "lam", label: "log-SNR λ", min: -20, max: 20, step: 0.1 });
    ui.slider({ key: "u", label: "u (0 clean, 1 noise)", min: 0, max: 1, step: 0.001, get: uOf, set: (u) => ({ lam: toLam(u) }) });
    ui.select({ key: "schedule", label: "schedule", options: Object.entries(SCHEDULES).map(([key, { name }]) => [key, name]) });
    ui.slider({ key: "shift", label: "shift of the schedule", min: -6, max: 6, step: 0.1 });
    ui.buttons([["Play: data to noise", () => ui.play(6000, (t) => ui.set({ lam: toLam(t) }), () => ui.save())]]);
    const table = ui.table("At this noise level");

    const people = memo(population), view = memo((mix) => viewOf(mix));
    const z = new Float64Array(2 * N);
    return (state, mix) => {
      const { lam } = state, schedule = current(state), u = uOf(state), [alpha, sigma] = alphaSigma(lam);
      const { x, noise, classes } = people(mix), level = mix.at(lam), theme = ui.theme;
      for (let i = 0; i < 2 * N; i++) z[i] = alpha * x[i] + sigma * noise[i];
      const log = new Float64Array(mix.classes);
      let told = 0;
      for (let i = 0; i < N; i += 5) told += Math.exp(Math.max(...level.classLogProb(z[2 * i], z[2 * i + 1], log)));
      told /= N / 5;

      plane.begin(view(mix), theme);
      plane.bands(gridOf(plane.view, GRID, (a, b) => level.logProb(a, b)), GRID, theme.ink, 0.07);
      plane.clipped(() => plane.dots(z, classes, 2.2, 0.6));
      plane.letters(mix, alpha);
      plane.describe(`Noisy samples of ${mix.classes} classes at log-SNR ${show(lam)}: ${show(100 * alpha * alpha)} % signal.`);

      const at = Float64Array.from({ length: CURVE }, (_, i) => -20 + (40 * i) / (CURVE - 1));
      amounts.begin({ x0: -20, x1: 20, y0: 0, y1: 1.02 }, theme);
      amounts.curve(at, at.map((l) => alphaSigma(l)[0] ** 2), theme.colors[0]);
      amounts.curve(at, at.map((l) => alphaSigma(l)[1] ** 2), theme.colors[1], { dash: [6, 3] });
      amounts.text("α²", amounts.X(13), amounts.Y(0.86), { color: theme.colors[0], weight: 700 });
      amounts.text("σ²", amounts.X(-14), amounts.Y(0.86), { color: theme.colors[1], weight: 700 });
      amounts.mark(lam, alpha * alpha, theme.colors[0]);
      amounts.mark(lam, sigma * sigma, theme.colors[1]);
      amounts.describe(`Signal α² = ${show(alpha * alpha)} and noise σ² = ${show(sigma * sigma)} at log-SNR ${show(lam)}.`);

      const p = at.map((l) => (l < schedule.lo || l > schedule.hi ? 0 : schedule.density(l)));
      law.begin({ x0: -20, x1: 20, y0: 0, y1: 1.1 * Math.max(0.05, ...p) }, theme);
      law.clipped((ctx) => { // the area to the right of λ is u
        ctx.globalAlpha = 0.25;
        ctx.fillStyle = theme.colors[2];
        ctx.beginPath();
        ctx.moveTo(law.X(lam), law.Y(0));
        const here = lam < schedule.lo || lam > schedule.hi ? 0 : schedule.density(lam);
        ctx.lineTo(law.X(lam), law.Y(here));
        for (let i = 0; i < CURVE; i++) if (at[i] > lam) ctx.lineTo(law.X(at[i]), law.Y(p[i]));
        ctx.lineTo(law.X(20), law.Y(0));
        ctx.fill();
      });
      law.curve(at, p, theme.colors[2]);
      if (lam >= schedule.lo && lam <= schedule.hi) law.mark(lam, schedule.density(lam), theme.colors[2]);
      law.describe(`Density of log-SNR under the ${SCHEDULES[state.schedule].name} schedule; u = ${show(u)}.`);

      table([
        ["signal α²", show(alpha * alpha)], ["noise σ²", show(sigma * sigma)], ["u", show(u)],
        ["class still told by z", `${show(100 * told)} %`],
      ]);
      return lam < schedule.lo - 1e-9 || lam > schedule.hi + 1e-9
        ? `This schedule never visits λ = ${show(lam)}: it runs from ${show(schedule.lo)} to ${show(schedule.hi)}.` : "";
    };
  },
});
