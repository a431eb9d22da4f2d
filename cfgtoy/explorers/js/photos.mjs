// Photographs: a small student itself, in the page. Ten classes from two noises, or one class from twenty, under one w.
// Its teacher comes when the reader asks for it, and draws half as many: the first noise of each class, or ten noises of one.

import { BY } from "./nets/answers.mjs";
import { Student } from "./nets/student.mjs";
import { Teacher } from "./nets/teacher.mjs";
import { fromBase64 } from "./nets/weights.mjs";
import { paint, picture, pixels, save } from "./nets/pictures.mjs";
import { Plot } from "./plot.mjs";
import { choice, klass, number } from "./state.mjs";
import { explorer, make, memo, show } from "./ui.mjs";

const COUNT = 20, ACROSS = 5; // pictures, and how many in a row
const MOST = 7; // of the teacher's levels, that a path shows

/**
 * Picture i of a sheet: its class, its noise and who draws it. All ten: five classes a row, the second noise below the first,
 * or, with the teacher, its pictures below the student's.
 */
function place(i, y, seed, network = "student") {
  const row = Math.floor(i / ACROSS), alone = network === "student", half = ACROSS * (row >> 1) + (i % ACROSS);
  const noise = y !== null ? (alone ? i : half) : alone ? row % 2 : 0;
  return { y: y ?? half, seed: COUNT * seed + noise, noise, by: alone || row % 2 === 0 ? "student" : "teacher" };
}

export default explorer({
  name: "photos",
  question: "Photographs under one w. What does guidance make of them?",
  fields: {
    w: number(0, 1e3, 1), network: choice(["student", "teacher", "both"], "student"), sampler: choice(["dpm++2m", "ddim"], "dpm++2m"),
    seed: number(0, 1e8 - 1, 0, { integer: true }), y: klass(null, true), pick: klass(null, true),
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
    const path = make("div", { className: "cx-path" }), strips = make("div");
    const levels = about.teacher.grid, few = Array.from({ length: MOST }, (_, i) => Math.round((i * (levels.length - 1)) / (MOST - 1)));
    const caption = (textContent) => make("p", { className: "cx-caption", textContent });
    const filmstrip = (grid) => make("div", { className: "cx-strip", role: "img" },
      ...grid.map((lam, i) => make("div", {}, picture(shape), make("span", { "aria-hidden": "true", textContent: grid.length > 4 && i % 3 ? "" : `λ = ${show(Math.round(lam * 10) / 10)}` }))));
    const strip = filmstrip(about.grid), whose = caption("the student"), taught = filmstrip(few.map((s) => levels[s])), whoseElse = caption("the teacher");
    strips.append(whose, strip, whoseElse, taught);
    path.append(strips);
    const plot = new Plot(path, { axes: ["log-SNR λ", "change of x̂ by w"], ratio: 0.4 });
    ui.stage.classList.add("cx-photos");
    ui.stage.append(sheet);
    const legend = ui.legend("");
    ui.stage.append(path);

    let asked = false, failed = ""; // whether the teacher is wanted, and why it did not come
    ui.slider({ key: "w", label: "guidance weight w", min: 0, max: most, step: 0.05 });
    ui.select({ key: "y", label: "class", options: ({ network }) => {
      const half = asked && network !== "student";
      return [[null, `all ten, ${half ? "one noise" : "two noises"}`], ...classes.map((name, i) => [i, `${name}, ${half ? "ten" : "twenty"} noises`])];
    } });
    ui.select({ key: "network", label: "network", options: [["student", `student, ${about.grid.length} levels`], ["teacher", `teacher, ${levels.length} levels`], ["both", "side by side"]] });
    ui.select({ key: "sampler", label: "the teacher’s sampler", options: [["dpm++2m", "DPM-Solver++(2M)"], ["ddim", "DDIM"]], when: ({ network }) => network !== "student" });
    if (ui.live) ui.select({ key: "backend", label: "drawn by", options: [["page", "the page"], ["kernel", "the kernel"]] });
    const [megabytes, more] = [about, about.teacher].map(({ networks, network }) => show(networks[network].bytes / 1e6));
    let here = ui.live; // whether the network is wanted: in a page, once the reader asks for what was not drawn beforehand
    const [, , load, fetch] = ui.buttons([ui.newNoise(1e8),
      ["Save PNG", () => save(Array.from({ length: COUNT / ACROSS }, (_, row) =>
        pictures.slice(ACROSS * row, ACROSS * (row + 1))).filter(([{ button }]) => !button.hidden).map((row) => row.map(({ canvas }) => canvas)), "photos", 4)],
      [`Draw these here (${megabytes} MB)`, () => {
        here = true;
        ui.redraw();
      }],
      [`Bring the teacher (${more} MB, about ${about.teacher.seconds} s an image)`, () => {
        teacher.again();
        [here, asked, failed] = [true, true, ""];
        ui.set({ network: ui.state.network === "student" ? "both" : ui.state.network }, true);
      }]]);
    const table = ui.table("This sheet");

    const student = new Student(ui.model, about, () => ui.redraw());
    const teacher = new Teacher(ui.model, about.teacher, () => ui.redraw());
    ui.ends.push(() => student.stop(), () => teacher.stop());
    let whole = null; // the pictures of the last sheet that was drawn to its end
    const report = memo((...sheet) => {
      whole = sheet;
      ui.saveSoon();
    });
    ui.onsave = () => {
      if (!whole) return;
      const all = new Float32Array(whole.length * size);
      whole.forEach((x, i) => all.set(x, i * size));
      ui.model.set("_images", new DataView(all.buffer));
    };
    const last = pictures.map((_, i) => ({ x: prepared.subarray(i * size, (i + 1) * size), of: JSON.stringify(place(i, ui.state.y, ui.state.seed)) }));

    function wish({ w, y, seed }) {
      const all = Array.from({ length: COUNT }, (_, i) => place(i, y, seed));
      return { w: Math.min(w, most), y: all.map((one) => one.y), seeds: all.map((one) => one.seed) };
    }

    return (state) => {
      const y = state.y === null || state.y >= classes.length ? null : state.y, what = wish({ ...state, y }), { w, sampler } = state;
      if (asked && teacher.trouble) [asked, failed] = [false, teacher.trouble];
      const network = asked ? state.network : "student", slots = pictures.map((_, i) => place(i, y, state.seed, network));
      const pick = state.pick !== null && state.pick < COUNT ? state.pick : null;
      here ||= pick !== null || JSON.stringify(what) !== start;
      if (here) student.want(what, state.backend === "kernel");
      load.hidden = here;
      fetch.hidden = asked;
      const { shown, busy, trouble } = student, same = shown?.whole && JSON.stringify(shown.what) === JSON.stringify(what);
      // The teacher begins when the student is through, and draws ten, or the one whose path is shown.
      const lesson = !asked ? [] : slots.filter(({ by }, i) => by === "teacher" || (network === "student" && i === pick));
      const asks = { w, sampler, y: lesson.map((one) => one.y), seeds: lesson.map(({ seed }) => seed) };
      const known = lesson.every((one) => teacher.path(w, sampler, one.y, one.seed)?.length === levels.length);
      if (asked && !known && (same || trouble)) teacher.want(asks, state.backend === "kernel");
      else if (!known || !lesson.length) teacher.rest();
      pictures.forEach(({ button, canvas, name }, i) => {
        const is = slots[i], of = JSON.stringify(is), drawn = is.by === "teacher" ? teacher.shown : shown;
        const now = drawn?.paths[drawn.what.y.findIndex((one, k) => one === is.y && drawn.what.seeds[k] === is.seed)]?.at(-1);
        if (now) last[i] = { x: now.x, of }; // else, of what was shown before
        button.hidden = network === "teacher" && is.by === "student";
        paint(canvas, pixels(last[i].x, 0, shape));
        button.classList.toggle("cx-stale", last[i].of !== of);
        button.setAttribute("aria-pressed", String(pick === i));
        button.setAttribute("aria-label", `${classes[is.y]}, noise ${is.noise + 1}${is.by === "teacher" ? ", by the teacher" : ""}: show its path`);
        name.textContent = network === "both" && (is.by === "teacher" || y !== null) ? is.by : y === null ? classes[is.y] : "";
      });
      if (ui.live && (network === "teacher" || same) && (network === "student" || known))
        report(...last.filter((_, i) => !pictures[i].button.hidden).map(({ x }) => x));
      sheet.setAttribute("aria-label", (y === null ? `Ten classes from ${network === "student" ? "two noises" : "one noise"}` : `${classes[y]} from ${network === "student" ? "twenty" : "ten"} noises`)
        + { student: "", teacher: ", by the teacher", both: ", by the student and, below, by its teacher" }[network]);
      const waits = lesson.length && !known && !trouble; // for the student first
      ui.stage.setAttribute("aria-busy", String(Boolean(here && ((!trouble && (busy || !shown)) || teacher.busy || waits))));

      const chosen = pick !== null && same, chalk = chosen && asked ? teacher.path(w, sampler, slots[pick].y, slots[pick].seed) : null;
      path.hidden = !chosen;
      legend.textContent = !chosen ? "Choose a picture to see its path."
        : `Pictures: what the student${chalk ? ", and below it its teacher," : ""} takes it for at ${chalk ? "its levels" : "each of its levels"}. Curve: how much w changes that (r.m.s., pixels from −1 to 1), against its own answer at w = 0${chalk ? "; solid the student’s, dashed the teacher’s" : ""}.`;
      if (chosen) {
        const { y: c, seed } = slots[pick], title = classes[c], k = what.y.findIndex((one, j) => one === c && what.seeds[j] === seed);
        strip.setAttribute("aria-label", `Estimates of the picture of class ${title} from noise to data`);
        strips.className = chalk ? "cx-strips" : "";
        for (const node of [whose, taught, whoseElse]) node.hidden = !chalk;
        taught.setAttribute("aria-label", `The same by the teacher: class ${title}`);
        few.forEach((s, j) => paint(taught.children[j].firstChild, chalk?.[s] ? pixels(chalk[s].x, 0, shape) : new ImageData(shape[2], shape[1])));
        shown.paths[k].forEach(({ x }, s) => paint(strip.children[s].firstChild, pixels(x, 0, shape)));
        const push = about.grid.map((lam, s) => (student.push(k)?.[s] ?? NaN) * Math.exp(-lam / 2));
        const pushed = (chalk ?? []).map(({ lam, push }) => push * Math.exp(-lam / 2)), grids = chalk ? [...about.grid, ...levels] : about.grid;
        plot.begin({ x0: Math.min(...grids), x1: Math.max(...grids), y0: 0, y1: 1.1 * Math.max(...[...push, ...pushed].filter(Number.isFinite), 1e-3) }, ui.theme);
        plot.curve(about.grid, push, ui.theme.colors[0]);
        if (chalk) plot.curve(levels.slice(0, pushed.length), pushed, ui.theme.colors[1], { dash: [5, 4] });
        plot.describe(`How much w changes the student’s x̂ on the way of this picture of class ${title}: ${push.map((p, s) => `${show(p)} at λ = ${show(about.grid[s])}`).join(", ")}.${chalk ? ` The teacher’s, dashed: at most ${show(Math.max(...pushed))}.` : ""}`);
      }
      table(shown ? [["looks at each picture", String(about.grid.length)], ["seconds to a first sketch", show(shown.first)],
        ["seconds to all twenty", shown.whole ? show(shown.seconds) : "…"], ["by", shown.by],
        ...(asked && teacher.shown ? [["the teacher’s looks at each", String(levels.length * (teacher.shown.what.w === 0 ? 1 : 2))], ["seconds to its first sketch", show(teacher.shown.first)],
          [`seconds to its ${teacher.shown.what.y.length > 1 ? teacher.shown.what.y.length : "one"}`, teacher.shown.whole ? show(teacher.shown.seconds) : "…"]] : [])] : []);
      if (trouble) return `The student did not answer: ${trouble}.${shown ? "" : " These pictures were drawn beforehand."}`;
      if (failed) return `The teacher did not come: ${failed}. The student stays.`;
      if (asked && lesson.length && !teacher.shown) return `Loading the teacher, ${more} MB …`;
      if (!asked && state.network !== "student") return `The teacher is not in the page yet, so the student draws: the button brings it, ${more} MB.`;
      if (state.w > most && network !== "teacher") return `The student has learned w from 0 to ${show(most)}; it is asked for ${show(most)}.`;
      if (shown?.by === BY.js) return "This browser has no WebAssembly: the student runs in plain JavaScript, many times slower.";
      if (here && !shown) return `Loading the student, ${megabytes} MB …`;
      return here ? "" : `Drawn beforehand. Move w, and the student (${megabytes} MB) comes into the page and draws.`;
    };
  },
});
