// Photographs: a small student itself, in the page. Ten classes from two noises, or one class from twenty, under one w.

import { BY } from "./nets/answers.mjs";
import { Student } from "./nets/student.mjs";
import { fromBase64 } from "./nets/weights.mjs";
import { paint, picture, pixels, save } from "./nets/pictures.mjs";
import { Plot } from "./plot.mjs";
import { choice, klass, number } from "./state.mjs";
import { explorer, make, show } from "./ui.mjs";

const COUNT = 20, ACROSS = 5; // pictures, and how many in a row

/** Picture i of a sheet: its class and its noise. All ten: five classes a row, the second noise below the first. */
function place(i, y, seed) {
  const row = Math.floor(i / ACROSS), noise = y === null ? row % 2 : i;
  return { y: y ?? ACROSS * (row >> 1) + (i % ACROSS), seed: COUNT * seed + noise, noise };
}

export default explorer({
  name: "photos",
  question: "Ten classes, two noises, one w. What does guidance make of them?",
  fields: {
    w: number(0, 1e3, 1), seed: number(0, 1e8 - 1, 0, { integer: true }), y: klass(null, true), pick: klass(null, true),
    backend: choice(["page", "kernel"], "page"),
  },
  build(ui) {
    const about = ui.model.get("about"), { shape, classes, w_max: most } = about, size = shape.reduce((a, b) => a * b);
    const prepared = Float32Array.from(fromBase64(about.prepared), (byte) => byte / 127.5 - 1), start = JSON.stringify(wish(ui.state));
    if (ui.live) ui.root.dataset.network = about.network; // in a page, the container says so

    const pictures = Array.from({ length: COUNT }, (_, i) => {
      const canvas = picture(shape), name = make("span", { "aria-hidden": "true" });
      const button = make("button", { type: "button", className: "cx-picture" }, canvas, name);
      button.addEventListener("click", () => ui.set({ pick: ui.state.pick === i ? null : i }, true));
      return { button, canvas, name };
    });
    const sheet = make("div", { className: "cx-pictures", role: "group", "aria-label": "Pictures" }, ...pictures.map(({ button }) => button));
    const path = make("div", { className: "cx-path" }), strip = make("div", { className: "cx-strip", role: "img" },
      ...about.grid.map((lam) => make("div", {}, picture(shape), make("span", { "aria-hidden": "true", textContent: `λ = ${show(Math.round(lam * 10) / 10)}` }))));
    path.append(strip);
    const plot = new Plot(path, { axes: ["log-SNR λ", "change of x̂ by w"], ratio: 0.4 });
    ui.stage.classList.add("cx-photos");
    ui.stage.append(sheet);
    const legend = ui.legend("");
    ui.stage.append(path);

    ui.slider({ key: "w", label: "guidance weight w", min: 0, max: most, step: 0.05 });
    ui.select({ key: "y", label: "class", options: [[null, "all ten, two noises"], ...classes.map((name, i) => [i, `${name}, twenty noises`])] });
    if (ui.live) ui.select({ key: "backend", label: "drawn by", options: [["page", "the page"], ["kernel", "the kernel"]] });
    const megabytes = show(about.networks[about.network].bytes / 1e6);
    let here = ui.live; // whether the network is wanted: in a page, once the reader asks for what was not drawn beforehand
    const [, , load] = ui.buttons([["New noise", () => ui.set({ seed: (ui.state.seed + 1) % 1e8 }, true)],
      ["Save PNG", () => save(Array.from({ length: COUNT / ACROSS }, (_, row) =>
        pictures.slice(ACROSS * row, ACROSS * (row + 1)).map(({ canvas }) => canvas)), "photos", 4)],
      [`Draw these here (${megabytes} MB)`, () => {
        here = true;
        ui.redraw();
      }]]);
    const table = ui.table("This sheet");

    const student = new Student(ui.model, about, () => ui.redraw());
    ui.ends.push(() => student.stop());
    let reported = null;
    ui.onsave = () => {
      if (!ui.live || !student.shown?.whole) return;
      const all = new Float32Array(COUNT * size);
      student.shown.paths.forEach((states, i) => all.set(states.at(-1).x, i * size));
      ui.model.set("_images", new DataView(all.buffer));
    };
    const last = pictures.map((_, i) => ({ x: prepared.subarray(i * size, (i + 1) * size), of: JSON.stringify(place(i, ui.state.y, ui.state.seed)) }));

    function wish({ w, y, seed }) {
      const all = Array.from({ length: COUNT }, (_, i) => place(i, y, seed));
      return { w: Math.min(w, most), y: all.map((one) => one.y), seeds: all.map((one) => one.seed) };
    }

    return (state) => {
      const y = state.y === null || state.y >= classes.length ? null : state.y, what = wish({ ...state, y }), pick = state.pick < COUNT ? state.pick : null;
      here ||= pick !== null || JSON.stringify(what) !== start;
      if (here) student.want(what, state.backend === "kernel");
      load.hidden = here;
      const { shown, busy, trouble } = student;
      if (ui.live && shown?.whole && shown !== reported) {
        reported = shown;
        ui.saveSoon();
      }
      pictures.forEach(({ button, canvas, name }, i) => {
        const is = place(i, y, state.seed), of = JSON.stringify(is), now = shown?.paths[i].at(-1);
        if (now) {
          const { y, seeds } = shown.what; // what these are pictures of may have changed since
          last[i] = { x: now.x, of: y[i] === is.y && seeds[i] === is.seed ? of : "another" };
        }
        paint(canvas, pixels(last[i].x, 0, shape));
        button.classList.toggle("cx-stale", last[i].of !== of);
        button.setAttribute("aria-pressed", String(pick === i));
        button.setAttribute("aria-label", `${classes[is.y]}, noise ${is.noise + 1}: show its path`);
        name.textContent = y === null ? classes[is.y] : "";
      });
      sheet.setAttribute("aria-label", y === null ? "Ten classes from two noises" : `${classes[y]} from twenty noises`);
      ui.stage.setAttribute("aria-busy", String(here && !trouble && (busy || !shown)));

      const chosen = pick !== null && shown?.whole && JSON.stringify(shown.what) === JSON.stringify(what);
      path.hidden = !chosen;
      legend.textContent = chosen ? "Pictures: what the student takes it for at each of its levels. Curve: how much w changes that (r.m.s., pixels from −1 to 1), against its own answer at w = 0."
        : "Choose a picture to see its path.";
      if (chosen) {
        const title = classes[what.y[pick]];
        strip.setAttribute("aria-label", `Estimates of the picture of class ${title} from noise to data`);
        shown.paths[pick].forEach(({ x }, s) => paint(strip.children[s].firstChild, pixels(x, 0, shape)));
        const push = about.grid.map((lam, s) => (student.push(pick)?.[s] ?? NaN) * Math.exp(-lam / 2)), top = Math.max(...push.filter(Number.isFinite), 1e-3);
        plot.begin({ x0: about.grid[0], x1: about.grid.at(-1), y0: 0, y1: 1.1 * top }, ui.theme);
        plot.curve(about.grid, push, ui.theme.colors[0]);
        plot.describe(`How much w changes the student’s x̂ on the way of this picture of class ${title}: ${push.map((p, s) => `${show(p)} at λ = ${show(about.grid[s])}`).join(", ")}.`);
      }
      table(shown ? [["looks at each picture", String(about.grid.length)], ["seconds to a first sketch", show(shown.first)],
        ["seconds to all twenty", shown.whole ? show(shown.seconds) : "…"], ["by", shown.by]] : []);
      if (trouble) return `The student did not answer: ${trouble}.${shown ? "" : " These pictures were drawn beforehand."}`;
      if (state.w > most) return `The student has learned w from 0 to ${show(most)}; it is asked for ${show(most)}.`;
      if (shown?.by === BY.js) return "This browser has no WebAssembly: the student runs in plain JavaScript, many times slower.";
      if (here && !shown) return `Loading the student, ${megabytes} MB …`;
      return here ? "" : `Drawn beforehand. Move w, and the student (${megabytes} MB) comes into the page and draws.`;
    };
  },
});
