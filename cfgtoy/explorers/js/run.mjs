// What the sampling explorers share: a population of particles with its random numbers, and one run of it.

import { weightRule } from "./guidance.mjs";
import { assign } from "./mixture.mjs";
import { fillNormal } from "./random.mjs";
import { sample } from "./samplers.mjs";
import { grid, uniform } from "./schedules.mjs";
import { memo } from "./ui.mjs";

const SPAN = 64; // steps for which noise is kept; then it is read again, a few particles further on

/** A function run(settings) that keeps its random numbers: the same seed meets every w, so that samples move smoothly. */
export function runner() {
  const starts = memo((n, seed) => fillNormal(new Float64Array(2 * n), seed));
  const noises = memo((n, steps, seed) => fillNormal(new Float32Array(2 * n * Math.min(steps, SPAN) + (steps > SPAN ? 2026 : 0)), seed + 7919));
  const grids = memo((steps, half) => grid(uniform(-half, half), steps));
  const people = memo(assign);
  return ({ mixture, w, v = 0.3, steps, sampler, seed, n, y = null, interval = null, path, tweak, half = 20 }) => {
    const classes = people(mixture, n, y), levels = grids(steps, half);
    const noise = sampler === "ancestral" ? noises(n, steps, seed) : new Float32Array(2);
    const points = sample(mixture, { classes, start: starts(n, seed), grid: levels, sampler, noise, v, weight: weightRule(w, interval), path, tweak });
    return { points, classes, grid: levels };
  };
}

/** A function report(result) that hands the particles to Python, where there is one, once the reader's hand is still. */
export function reporter(ui) {
  let shown = null;
  ui.onsave = () => {
    if (!ui.live || !shown) return;
    const rows = new Float32Array(3 * shown.classes.length); // x, y, class
    shown.classes.forEach((c, i) => rows.set([shown.points[2 * i], shown.points[2 * i + 1], c], 3 * i));
    ui.model.set("_particles", new DataView(rows.buffer));
  };
  return (result) => {
    if (ui.live && shown !== result) ui.saveSoon();
    shown = result;
  };
}
