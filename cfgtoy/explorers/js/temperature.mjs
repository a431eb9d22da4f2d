// Temperature: does a low temperature do what guidance does? The two side by side.

import { frechet, inceptionScore, sampleMoments } from "./metrics.mjs";
import { assign } from "./mixture.mjs";
import { gridOf, Plot, viewOf } from "./plot.mjs";
import { uniforms } from "./random.mjs";
import { runner } from "./run.mjs";
import { choice, mixture, number, seed } from "./state.mjs";
import { explorer, make, memo, show } from "./ui.mjs";

const N = 2400, STEPS = 100, HALF = 10, GRID = 72, FINE = 160;
const ROUTES = [["exact", "exact draws"], ["score", "score divided by T"], ["noise", "sampling noise times √T"]];

/** Exact draws from a grid of log densities a class: a cell by its mass, a place in it at random. */
function drawFromGrids(grids, n, view, classes, seed) {
  const next = uniforms(seed + 1), out = new Float64Array(2 * classes.length);
  const cell = (view.x1 - view.x0) / (n - 1), height = (view.y1 - view.y0) / (n - 1);
  const sums = grids.map((logs) => {
    const top = logs.reduce((a, b) => Math.max(a, b), -Infinity), sum = new Float64Array(logs.length);
    let total = 0;
    logs.forEach((value, k) => { sum[k] = total += Math.exp(value - top); });
    return sum;
  });
  classes.forEach((c, i) => {
    const sum = sums[c], target = next() * sum[sum.length - 1];
    let lo = 0, hi = sum.length - 1;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if (sum[mid] < target) lo = mid + 1;
      else hi = mid;
    }
    out[2 * i] = view.x0 + ((lo % n) + next() - 0.5) * cell;
    out[2 * i + 1] = view.y0 + (Math.floor(lo / n) + next() - 0.5) * height;
  });
  return out;
}

/** The two routes that do not lead there, as changes to a step z' = keep·z + turn·v + spread·noise. */
const tweaks = {
  score: (T) => (step, { alpha, sigma }) => { // ε̂/T in the place of ε̂ = σz + αv: v becomes v/T + σ(1/T − 1)/α z
    step.keep += (step.turn * sigma * (1 / T - 1)) / alpha;
    step.turn /= T;
  },
  noise: (T) => (step) => { step.spread *= Math.sqrt(T); },
};

export default explorer({
  name: "temperature",
  question: "Is guidance the same as a low temperature?",
  fields: {
    mixture, temperature: number(0.05, 20, 0.5), w: number(-1e6, 1e6, 2), route: choice(ROUTES.map(([key]) => key), "exact"),
    seed,
  },
  build(ui) {
    const pair = make("div", { className: "cx-pair" });
    ui.stage.append(pair);
    const left = new Plot(pair, { axes: ["x₁", "x₂"], title: "temperature T" }), right = new Plot(pair, { axes: ["x₁", "x₂"], title: "guidance w" });
    ui.legend("Bands: p(x|c)^(1/T) for temperature, p(x|c) p(c|x)^w for guidance. Dashed: 90 % of the class p(x|c). Points: samples.");
    ui.slider({ key: "temperature", label: "temperature T", min: 0.1, max: 3, step: 0.05 });
    ui.slider({ key: "w", label: "guidance weight w", min: -1, max: 8, step: 0.05 });
    ui.select({ key: "route", label: "samples at T", options: ROUTES });
    ui.buttons([ui.newNoise()]);
    const table = ui.table("Samples, held against the data", ["figure", "T", "w"]);

    const run = runner(), view = memo((mix) => viewOf(mix, 1.15)), people = memo(assign);
    const sharpened = memo((mix, T, box, n) => mix.prior.map((_, c) => {
      const level = mix.at(20);
      return gridOf(box, n, (a, b) => level.logProb(a, b, c) / T);
    }));
    const fine = memo((mix, T, box) => sharpened(mix, T, box, FINE));
    const cool = memo((mix, T, route, seed, box) => {
      const classes = people(mix, N, null);
      if (route === "exact") {
        const wide = { x0: box.x0 * 1.5, x1: box.x1 * 1.5, y0: box.y0 * 1.5, y1: box.y1 * 1.5 };
        return judge(mix, drawFromGrids(fine(mix, T, wide), FINE, wide, classes, seed), classes);
      }
      const { points } = run({ mixture: mix, w: 0, steps: STEPS, sampler: "ancestral", seed, n: N, half: HALF, v: 0, tweak: tweaks[route](T) });
      return judge(mix, points, classes);
    });
    const guide = memo((mix, w, seed) => {
      const { points, classes } = run({ mixture: mix, w, steps: STEPS, sampler: "ancestral", seed, n: N, half: HALF, v: 0 });
      return judge(mix, points, classes);
    });

    return (state, mix) => {
      const { temperature: T, w, route, seed } = state, { theme } = ui, box = view(mix), data = mix.at(20);
      const cold = cool(mix, T, route, seed, box), guided = guide(mix, w, seed);
      let beyond = 0;
      for (const [plot, result, f] of [
        [left, cold, (a, b, c) => data.logProb(a, b, c) / T],
        [right, guided, (a, b, c) => data.tiltedLogProb(a, b, c, w)],
      ]) {
        plot.title = plot === left ? `temperature T = ${show(T)}` : `guidance w = ${show(w)}`;
        plot.begin(box, theme);
        for (let c = 0; c < mix.classes; c++) {
          plot.bands(gridOf(box, GRID, (a, b) => f(a, b, c)), GRID, theme.colors[c % 12], 0.12);
          plot.outline(gridOf(box, GRID, (a, b) => data.logProb(a, b, c)), GRID, theme.colors[c % 12]);
        }
        plot.clipped(() => { beyond += plot.dots(result.points, result.classes, 2.2, 0.65); });
        plot.letters(mix);
      }
      left.describe(`Samples at temperature ${show(T)} (${route}) over the exact sharpened class densities.`);
      right.describe(`Samples guided with w = ${show(w)} over the tilted class densities.`);
      table([
        ["Inception Score", show(cold.score), show(guided.score)],
        ["spread in a class", show(cold.spread), show(guided.spread)],
        ["shift of the means", show(cold.shift), show(guided.shift)],
        ["Fréchet, by class", show(cold.distance), show(guided.distance)],
      ]);
      return beyond ? `${show((50 * beyond) / N)} % of the points are outside of the picture.` : "";
    };
  },
});

/** Points with their figures: Inception Score, and averages over the classes of spread, shift of the mean, Fréchet distance. */
function judge(mix, points, classes) {
  let spread = 0, shift = 0, distance = 0;
  for (let c = 0; c < mix.classes; c++) {
    const moments = sampleMoments(points, classes, c), truth = mix.moments(c);
    if (!moments) {
      spread = shift = distance = NaN;
      break;
    }
    const [mean, cov] = moments;
    spread += Math.sqrt((cov[0][0] + cov[1][1]) / 2) / mix.classes;
    shift += Math.hypot(mean[0] - truth[0][0], mean[1] - truth[0][1]) / mix.classes;
    distance += frechet(moments, truth) / mix.classes;
  }
  return { points, classes, score: inceptionScore(mix, points).score, spread, shift, distance };
}
