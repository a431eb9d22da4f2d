// Trade-off: the curve that w traces between the Inception Score and the Fréchet distance.

import { frechet, inceptionScore, sampleMoments } from "./metrics.mjs";
import { Mixture } from "./mixture.mjs";
import { SAMPLERS } from "./samplers.mjs";
import { Plot, viewOf } from "./plot.mjs";
import { reporter, runner } from "./run.mjs";
import { samplerControls } from "./sampling.mjs";
import { choice, mixture, number, seed } from "./state.mjs";
import { explorer, make, memo, show } from "./ui.mjs";

const N = 2400;
// Weights along the curve, in the order in which they are worked out: coarse to fine, so that its shape shows early.
const TRACE = [0, 4, 1, 8, 2, 0.5, 6, 0.2, 3, -0.5, 0.1, 0.3, 1.5, 5, 0.75, -0.25, 0.4, 7, 2.5, 0.6, -0.1, 0.05, 0.15, 1.25, 3.5, -0.4];
const NAMED = [0, 0.5, 1, 2, 4, 8];

/** The mixture as a model believes it that takes every component for wider by `blur` (standard deviation). */
const blurred = (mix, blur) => new Mixture({
  means: mix.components.map((k) => k.mean), weights: mix.components.map((k) => k.weight), labels: mix.components.map((k) => k.label),
  covs: mix.components.map(({ cov: [[a, b], [, d]] }) => [[a + blur * blur, b], [b, d + blur * blur]]),
});

/** [Inception Score, Fréchet distance]: of all samples together, or the average over the classes. */
function judge(mix, { points, classes }, distance) {
  const of = (c) => {
    const moments = sampleMoments(points, classes, c);
    return moments ? frechet(moments, mix.moments(c)) : NaN;
  };
  const d = distance === "pooled" ? of(-1) : mix.prior.reduce((sum, _, c) => sum + of(c), 0) / mix.classes;
  return [inceptionScore(mix, points).score, d];
}

export default explorer({
  name: "tradeoff",
  question: "What does a larger w buy, and what does it cost?",
  fields: {
    mixture, w: number(-1e6, 1e6, 1), blur: number(0, 10, 0), v: number(0, 1, 0.3), steps: number(2, 512, 64, { integer: true }),
    sampler: choice(SAMPLERS, "ancestral"), seed, distance: choice(["class", "pooled"], "class"),
  },
  build(ui) {
    const pair = make("div", { className: "cx-pair" });
    ui.stage.append(pair);
    const chart = new Plot(pair, { axes: ["Inception Score → distinct", "Fréchet distance → worse"], title: "the trade-off" });
    const plane = new Plot(pair, { axes: ["x₁", "x₂"], title: "samples at this w" });
    const legend = ui.legend("");
    ui.slider({ key: "w", label: "guidance weight w", min: -0.5, max: 8, step: 0.05 });
    ui.slider({ key: "blur", label: "blur of the model (0: exact)", min: 0, max: 1.5, step: 0.05 });
    samplerControls(ui);
    ui.select({ key: "distance", label: "Fréchet", options: [["class", "by class, averaged"], ["pooled", "all samples together"]] });
    const table = ui.table("At this w");

    const run = runner(), view = memo((mix) => viewOf(mix, 1.15));
    const modelOf = memo(blurred);
    const here = memo((model, w, v, steps, sampler, seed) => run({ mixture: model, w, v, steps, sampler, seed, n: N }));
    const judged = memo(judge);
    // A curve: a few weights at a time between frames, begun anew when a setting changes. The label of 0 stands higher, within it.
    const curveOf = (mix, model, distance, v, steps, sampler, seed) => ({
      points: [], next: 0, work: (w) => judge(mix, run({ mixture: model, w, v, steps, sampler, seed, n: N }), distance),
    });
    const curve = memo(curveOf), reference = memo(curveOf);
    let timer = 0;
    const grow = (curves) => {
      clearTimeout(timer);
      const open = curves.find((c) => c.next < TRACE.length);
      if (!open) return;
      timer = setTimeout(() => {
        const until = performance.now() + 12;
        do {
          const w = TRACE[open.next++];
          open.points.push([w, ...open.work(w)]);
        } while (open.next < TRACE.length && performance.now() < until);
        open.points.sort((a, b) => a[0] - b[0]);
        ui.redraw();
      }, 0);
    };
    ui.ends.push(() => clearTimeout(timer));
    const report = reporter(ui);

    return (state, mix) => {
      const { w, blur, v, steps, sampler, seed, distance } = state, { theme } = ui;
      const model = modelOf(mix, blur), result = here(model, w, v, steps, sampler, seed), [score, cost] = judged(mix, result, distance);
      report(result);
      const rest = [distance, v, steps, sampler, seed];
      const own = curve(mix, model, ...rest), exact = blur > 0 ? reference(mix, mix, ...rest) : null;
      grow(exact ? [own, exact] : [own]);

      const seen = [...own.points, ...(exact?.points ?? [])].filter((p) => Number.isFinite(p[1] + p[2]));
      const top = Math.max(0.1, ...seen.map((p) => p[2])) * 1.08, least = Math.min(mix.classes - 0.2, ...seen.map((p) => p[1]));
      chart.begin({ x0: Math.max(0.95, least - 0.06), x1: mix.classes + 0.03 * (mix.classes - least + 0.3), y0: 0, y1: top }, theme);
      if (exact) chart.curve(exact.points.map((p) => p[1]), exact.points.map((p) => p[2]), theme.ink, { width: 1.3, dash: [4, 4], alpha: 0.7 });
      chart.curve(own.points.map((p) => p[1]), own.points.map((p) => p[2]), theme.colors[0]);
      for (const [weight, x, y] of own.points) if (NAMED.includes(weight) && Number.isFinite(x + y)) {
        chart.mark(x, y, theme.colors[0], 3.5);
        chart.text(`w = ${weight}`, chart.X(x) - (weight ? 8 : -19), chart.Y(y) - (weight ? 9 : 26), { align: "right", halo: true });
      }
      const best = own.points.reduce((a, p) => (p[2] < a[2] ? p : a), [NaN, NaN, Infinity]);
      chart.mark(score, cost, theme.colors[1], 7);
      chart.describe(`Inception Score ${show(score)} and Fréchet distance ${show(cost)} at w = ${show(w)}, on the curve over w.`);

      plane.begin(view(mix), theme);
      let beyond = 0;
      plane.clipped(() => { beyond = plane.dots(result.points, result.classes, 2.2, 0.65); });
      for (let c = 0; c < mix.classes; c++) plane.ellipses(mix, c, theme.colors[c % 12]);
      plane.letters(mix);
      plane.describe(`${N} samples of ${mix.classes} classes at w = ${show(w)}.`);
      legend.textContent = `Blue: the curve as w grows. Vermilion: this w. ${exact ? "Dashed grey: the exact model. " : ""}Dashed round the samples: 2σ of the true components.`;
      table([["Inception Score", `${show(score)} of ${mix.classes}`], ["Fréchet distance", show(cost)],
        ["least Fréchet at", Number.isFinite(best[2]) && own.next >= TRACE.length ? `w = ${best[0]}`.replace("-", "−") : "…"]]);
      if (!Number.isFinite(score + cost) || beyond > 0.02 * N)
        return `At w = ${show(w)} ${show((100 * beyond) / N)} % of the samples are outside of the picture.`;
      return "";
    };
  },
});
