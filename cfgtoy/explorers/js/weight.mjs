// One weight, three ways: clouds of an ODE over the density they are said to reach, photographs, and the trade-off's curve.

import { frechet, sampleMoments } from "./metrics.mjs";
import { SAMPLERS } from "./samplers.mjs";
import { paint, picture, pixels } from "./nets/pictures.mjs";
import { Student } from "./nets/student.mjs";
import { className, gridOf, Plot, viewOf } from "./plot.mjs";
import { reporter, runner } from "./run.mjs";
import { SAMPLER_NAMES, samplerControls } from "./sampling.mjs";
import { choice, mixture, number, seed } from "./state.mjs";
import { explorer, make, memo, show } from "./ui.mjs";

const GRID = 56, TOP = 8, PLAY = 9000; // cells of the bands; the largest w of the slider; milliseconds there and back
const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** [x, y] on the line through rows [w, x, y], w rising; beyond the ends, the end. */
export function along(rows, w) {
  const next = rows.findIndex((row) => row[0] >= w);
  if (next <= 0) return (next ? rows.at(-1) : rows[0]).slice(1);
  const [a, b] = [rows[next - 1], rows[next]], share = (w - a[0]) / (b[0] - a[0]);
  return [a[1] + share * (b[1] - a[1]), a[2] + share * (b[2] - a[2])];
}

/** The index of the entry of `drawn`, rising, that is nearest to w. */
export const nearest = (drawn, w) => drawn.reduce((best, at, i) => (Math.abs(at - w) < Math.abs(drawn[best] - w) ? i : best), 0);

export default explorer({
  name: "weight",
  question: "One number, w. How much is too much?",
  fields: {
    mixture, w: number(-1e6, 1e6, TOP), v: number(0, 1, 0.3), steps: number(2, 512, 40, { integer: true }), sampler: choice(SAMPLERS, "heun"),
    seed, n: number(10, 20000, 1200, { integer: true }),
  },
  build(ui) {
    const about = ui.model.get("about"), { curve, drawn, names, tile } = about;
    ui.root.classList.add("cx-weight");
    const bar = make("div", { className: "cx-run" });
    ui.root.querySelector(".cx-body").before(bar);
    const first = !ui.live && !still() && ui.state.w === TOP && !location.hash.startsWith("#weight?");
    const go = (from) => {
      play.textContent = "Pause";
      ui.play(PLAY * (1 - from), (t) => {
        const share = (at = from + (1 - from) * t);
        ui.preview({ w: Math.round(20 * TOP * (1 - Math.abs(1 - 2 * share)) ** 2) / 20 });
      }, () => { play.textContent = "Play"; if (at >= 1) at = 0; });
    };
    let at = 0; // of the way from w = 0 to 8 and back
    const [play] = ui.buttons([["Play", () => {
      if (ui.playing) ui.stop();
      else if (still()) ui.set({ w: ui.state.w > 0.5 * TOP ? 0 : TOP }, true);
      else go(at);
    }]], bar);
    bar.addEventListener("pointerdown", (event) => { if (event.target !== play) ui.stop(); });
    bar.addEventListener("keydown", (event) => { if (event.target !== play) ui.stop(); });
    ui.slider({ key: "w", label: "guidance weight w", min: 0, max: TOP, step: 0.05, parent: bar });

    const plane = new Plot(ui.stage, { axes: ["x₁", "x₂"], title: "three classes whose density is known" });
    const photographs = make("div", { className: "cx-photographs", role: "img" }), caption = make("p", { className: "cx-caption" });
    const tiles = names.map(() => make("canvas", { width: 3 * tile, height: 3 * tile, "aria-hidden": "true" }));
    photographs.append(...tiles);
    ui.panel.append(make("p", { className: "cx-title", textContent: "photographs, each from one noise" }), photographs, caption);
    const chart = new Plot(ui.panel, { axes: ["Inception Score → distinct", "Fréchet distance → worse"], ratio: 0.6, title: "50,000 such photographs at each w" });
    const legend = ui.legend("Bands: the density that guidance is derived from. Points: where it takes samples.");

    const more = ui.fold();
    samplerControls(ui, more, "sampler of the points");
    ui.buttons([ui.newNoise()], more);
    // The photographs by a student, in a page; a kernel does not send its weights here.
    const student = new Student(ui.model, about.student, () => ui.redraw(), { whole: true }), { w_max: learned, shape, classes } = about.student;
    const small = picture(shape), megabytes = show(about.student.networks[about.student.network].bytes / 1e6);
    let here = false, painted = null;
    ui.ends.push(() => student.stop());
    if (!ui.live) {
      const [draw] = ui.buttons([[`Draw the photographs here (${megabytes} MB)`, () => {
        here = draw.disabled = true;
        ui.redraw();
      }]], more);
    }
    const table = ui.table("At this w", ["class", "Fréchet distance to its density"], more);

    const sheet = make("img", { src: `data:image/jpeg;base64,${about.sheet}` });
    let row = -1, loaded = false;
    sheet.decode().then(() => { loaded = true; ui.redraw(); }, () => {});
    if (first) {
      ui.preview({ w: 0 });
      const eye = new IntersectionObserver((entries) => {
        if (!entries.some((entry) => entry.isIntersecting)) return;
        eye.disconnect();
        timer = setTimeout(() => ui.playing || go(0), 600);
      }, { threshold: 0.3 });
      let timer = 0;
      eye.observe(ui.root);
      const leave = () => { eye.disconnect(); clearTimeout(timer); };
      for (const event of ["pointerdown", "keydown"]) ui.root.addEventListener(event, leave, { once: true });
      ui.ends.push(leave);
    }

    const run = runner(), view = memo((mix) => viewOf(mix, 1.1)), report = reporter(ui);
    const simulate = memo((mix, w, v, steps, sampler, seed, n) => run({ mixture: mix, w, v, steps, sampler, seed, n }));
    const judged = memo((mix, { points, classes }) => mix.prior.map((_, c) => {
      const moments = sampleMoments(points, classes, c);
      return [className(c), show(moments ? frechet(moments, mix.moments(c)) : NaN)];
    }));

    return (state, mix) => {
      const { w, v, steps, sampler, seed, n } = state, { theme } = ui;
      const result = simulate(mix, w, v, steps, sampler, seed, n), level = mix.at(20);
      report(result);
      plane.begin(view(mix), theme);
      for (let c = 0; c < mix.classes; c++)
        plane.bands(gridOf(plane.view, GRID, (p, q) => level.tiltedLogProb(p, q, c, w)), GRID, theme.colors[c % 12], 0.14);
      let beyond = 0;
      plane.clipped(() => { beyond = plane.dots(result.points, result.classes, 2.6, 0.7); });
      plane.letters(mix);
      plane.describe(`${n} samples of ${mix.classes} classes at w = ${show(w)}, ${SAMPLER_NAMES[sampler]}, over the density that guidance is derived from.`);
      if (more.open) table(judged(mix, result));

      if (here) student.want({ w: Math.min(Math.max(w, 0), learned), y: names.map((name) => classes.indexOf(name)), seeds: about.seeds });
      const { shown } = student;
      if (shown && shown !== painted) {
        painted = shown;
        tiles.forEach((canvas, i) => {
          paint(small, pixels(shown.paths[i].at(-1).x, 0, shape));
          canvas.getContext("2d").drawImage(small, 0, 0, canvas.width, canvas.height);
        });
      }
      const now = nearest(drawn, w);
      if (loaded && !shown && now !== row) {
        row = now;
        tiles.forEach((canvas, i) => canvas.getContext("2d").drawImage(sheet, i * tile, row * tile, tile, tile, 0, 0, canvas.width, canvas.height));
      }
      const words = `Drawn ${shown ? `here, by a student, at w = ${show(shown.what.w)}` : `at w = ${show(drawn[now])}`}: ${names.join(", ")}.${shown ? " The curve is its teacher’s." : ""}`;
      if (caption.textContent !== words) {
        caption.textContent = words;
        photographs.setAttribute("aria-label", `Photographs d${words.slice(1)}`);
      }
      const [score, cost] = along(curve, w), last = curve.at(-1), scores = curve.map((p) => p[1]), costs = curve.map((p) => p[2]);
      const least = Math.min(...scores), most = Math.max(...scores), gap = most - least;
      chart.begin({ x0: least - 0.2 * gap, x1: most + 0.08 * gap, y0: 0, y1: 1.12 * Math.max(...costs) }, theme);
      chart.curve(scores, costs, theme.colors[0]);
      for (const [weight, x, y] of curve) if (about.named.includes(weight)) {
        chart.mark(x, y, theme.colors[0], 3);
        if (weight < 1) chart.text(`w = ${weight}`, chart.X(x) + 6, chart.Y(y) - 13, { align: "center", halo: true });
        else chart.text(`w = ${weight}`, chart.X(x) - 12, chart.Y(y), { align: "right", halo: true });
      }
      chart.mark(score, cost, theme.colors[1], 7);
      chart.describe(`Inception Score ${show(score)} and Fréchet distance ${show(cost)} of photographs, on the curve over w.`);
      if (beyond > 0.02 * n) return `At w = ${show(w)} ${show((100 * beyond) / n)} % of the points are outside of the picture.`;
      if (student.trouble) return `The student did not answer: ${student.trouble}.`;
      if (here && !shown) return `Loading the student, ${megabytes} MB …`;
      if (shown && w > learned) return `The student has learned w from 0 to ${show(learned)}.`;
      return w > last[0] ? `Photographs were measured up to w = ${last[0]}.` : "";
    };
  },
});
