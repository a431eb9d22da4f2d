// Digits: the trained U-Net itself, in the page. Ten digits, one a class, from one noise.

import { Answers } from "./nets/answers.mjs";
import { fromBase64 } from "./nets/weights.mjs";
import { paint, picture, pixels, save } from "./nets/pictures.mjs";
import { Plot } from "./plot.mjs";
import { choice, klass, number, seed } from "./state.mjs";
import { explorer, make, show } from "./ui.mjs";

const RULES = { "classifier-free": "classifier-free", classifier: "the noisy classifier’s" };
const ROWS = { ...Object.fromEntries(Object.entries(RULES).map(([rule, name]) => [rule, `guidance: ${name}`])), student: "the student, which learned guidance" };
const SHORT = { "classifier-free": "the classifier-free rule", classifier: "the classifier’s", student: "the student" };
const DASHES = [[[], "solid"], [[5, 4], "dashed"], [[2, 3], "dotted"]];
const MOST = 10; // pictures of a path

export default explorer({
  name: "digits",
  question: "Ten digits start from one noise. What does guidance make of them?",
  fields: {
    w: number(-1e6, 1e6, 1), steps: number(2, 64, 20, { integer: true }), sampler: choice(["dpm++2m", "ddim"], "dpm++2m"),
    seed, rule: choice([...Object.keys(RULES), "both"], "classifier-free"),
    network: choice(["teacher", "student", "both"], "teacher"), pick: klass(null, true), backend: choice(["page", "kernel"], "page"),
  },
  build(ui) {
    const about = ui.model.get("about"), { shape, classes } = about, each = shape.reduce((a, b) => a * b);
    const prepared = Float32Array.from(fromBase64(about.prepared), (byte) => byte / 127.5 - 1), start = ui.state;
    if (ui.live) ui.root.dataset.network = about.network; // in a page, the container says so

    const sheets = Object.fromEntries(Object.keys(ROWS).map((rule) => [rule, sheet(ui, rule, shape, classes)]));
    const path = make("div", { className: "cx-path" }), plot = new Plot(path, { axes: ["log-SNR λ", "push, r.m.s."], ratio: 0.4 });
    const strips = make("div", { className: "cx-strips" });
    path.prepend(strips);
    ui.stage.append(path);
    const legend = ui.legend("Choose a digit to see its path.");

    ui.slider({ key: "w", label: "guidance weight w", min: -1, max: 8, step: 0.05 });
    const taught = ({ network }) => network !== "student"; // a student has its own levels, sampler and guidance
    ui.select({ key: "network", label: "network", options: [["teacher", "teacher"], ["student", `student, ${about.student.grid.length} levels`], ["both", "side by side"]] });
    ui.slider({ key: "steps", label: "levels T", min: 2, max: 64, step: 1, when: taught });
    ui.select({ key: "rule", label: "guidance", options: [...Object.entries(RULES), ["both", "both"]], when: taught });
    ui.select({ key: "sampler", label: "sampler", options: [["dpm++2m", "DPM-Solver++(2M)"], ["ddim", "DDIM"]], when: taught });
    if (ui.live) ui.select({ key: "backend", label: "drawn by", options: [["page", "the page"], ["kernel", "the kernel"]] });
    ui.buttons([ui.newNoise(),
      ["Save PNG", () => save(rowsOf(ui.state).map((rule) => sheets[rule].canvases), "digits")]]);
    const table = ui.table("This run");

    const answers = new Answers(ui.model, about, () => ui.redraw());
    ui.ends.push(() => answers.stop());
    let seen = false;
    const eye = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      eye.disconnect();
      seen = true;
      ui.redraw();
    }, { rootMargin: "100px" });
    eye.observe(ui.root);
    ui.ends.push(() => eye.disconnect());
    let reported = null;
    ui.onsave = () => {
      if (!ui.live || !answers.shown?.whole) return;
      ui.model.set("_images", new DataView(answers.shown.paths[0].at(-1).x.slice().buffer));
    };

    return (state) => {
      const { w, steps, sampler, seed, backend, pick } = state, rules = rowsOf(state), { name, grid, w_max: most } = about.student;
      const wanted = rules.map((rule) => (rule === "student"
        ? { denoiser: name, classifier: null, rule, w: Math.min(Math.max(w, 0), most), steps: grid.length, grid, sampler: "ddim", seed, compare: pick !== null }
        : { denoiser: about.network, classifier: rule === "classifier" ? about.classifier : null, rule, w, steps, sampler, seed }));
      if (seen) answers.want(wanted, backend === "kernel");
      const { shown } = answers;
      if (ui.live && shown?.whole && shown !== reported) {
        reported = shown;
        ui.saveSoon();
      }
      ui.stage.classList.toggle("cx-two", rules.length > 1);
      for (const [rule, { box, buttons, canvases, caption }] of Object.entries(sheets)) {
        box.hidden = !rules.includes(rule);
        caption.hidden = rules.length === 1;
        const path = shown?.paths[shown.rows.findIndex((row) => row.rule === rule)];
        const values = path?.at(-1).x ?? (shown || rowsOf(start)[0] !== rule ? null : prepared);
        canvases.forEach((canvas, i) => {
          if (values) paint(canvas, pixels(values, i * each, shape));
          buttons[i].setAttribute("aria-pressed", String(pick === i));
        });
      }
      ui.stage.setAttribute("aria-busy", String(seen && !answers.trouble && (answers.busy || !shown)));

      path.hidden = pick === null || pick >= classes.length || !shown?.whole;
      legend.textContent = path.hidden ? "Choose a digit to see its path." : `Pictures: what the network takes the ${classes[pick]} for on its way. Curve: what guidance adds to ε̂ there${rules.map((rule, i) => (rules.length > 1 ? `${i ? "; " : ": "}${DASHES[i][1]} ${SHORT[rule]}` : "")).join("")}.`;
      if (!path.hidden) drawPath(ui, { shown, pick, shape, each, strips, plot, classes });
      table(shown ? [["looks of the U-Net at an image", String(looks(shown.rows))], ["seconds", show(shown.seconds)], ["by", shown.by]] : []);
      if (answers.trouble) return `The network did not answer: ${answers.trouble}.${shown ? "" : " These pictures were drawn beforehand."}`;
      if (rules.includes("student") && (w < 0 || w > most)) return `The student has learned w from 0 to ${show(most)}; it is asked for ${show(w < 0 ? 0 : most)}.`;
      if (!shown && seen) return `Loading the network, ${show(about.networks[about.network].bytes / 1e6)} MB …`;
      return "";
    };
  },
});

/** The rows of pictures: a rule each, or the student. */
const rowsOf = ({ rule, network }) => [...(network === "student" ? [] : rule === "both" ? Object.keys(RULES) : [rule]), ...(network === "teacher" ? [] : ["student"])];
/** Of the U-Net at one image of each row: two a level under classifier-free guidance, and where a student's push is asked for. */
const looks = (rows) => rows.reduce((sum, { w, steps, rule, compare }) => sum + steps * (w !== 0 && (rule === "classifier-free" || compare) ? 2 : 1), 0);

/** A row of pictures, each a button. */
function sheet(ui, rule, shape, classes) {
  const caption = make("p", { className: "cx-caption", textContent: ROWS[rule] });
  const canvases = classes.map(() => picture(shape));
  const buttons = classes.map((name, i) => {
    const button = make("button", { type: "button", className: "cx-picture", "aria-label": `${name}: show its path`, "aria-pressed": "false" },
      canvases[i], make("span", { textContent: name, "aria-hidden": "true" }));
    button.addEventListener("click", () => ui.set({ pick: ui.state.pick === i ? null : i }, true));
    return button;
  });
  const box = make("div", { className: "cx-sheet", role: "group", "aria-label": `Digits, ${ROWS[rule]}` }, caption,
    make("div", { className: "cx-pictures" }, ...buttons));
  ui.stage.append(box);
  return { box, buttons, canvases, caption };
}

/** What the network took the chosen digit for at each level, and how hard guidance pushed. */
function drawPath(ui, { shown: { rows, paths }, pick, shape, each, strips, plot, classes }) {
  const at = paths.map(({ length }) => { // the levels that are shown
    const few = Math.min(MOST, length);
    return Array.from({ length: few }, (_, i) => Math.round((i * (length - 1)) / (few - 1)));
  });
  if (strips.childElementCount !== rows.length || at.some((steps, row) => strips.children[row].childElementCount !== steps.length))
    strips.replaceChildren(...at.map((steps) => make("div", { className: "cx-strip", role: "img" },
      ...steps.map(() => make("div", {}, picture(shape), make("span", { "aria-hidden": "true" }))))));
  rows.forEach(({ rule }, row) => {
    const strip = strips.children[row], few = at[row].length;
    strip.setAttribute("aria-label", `Estimates of the digit ${classes[pick]} from noise to data, ${ROWS[rule]}`);
    at[row].forEach((step, i) => {
      const { lam, x } = paths[row][step];
      paint(strip.children[i].firstChild, pixels(x, pick * each, shape));
      strip.children[i].lastChild.textContent = few > 4 && i % 3 && i + 1 < few ? "" : `λ = ${show(Math.round(lam))}`;
    });
  });
  const pushes = paths.map((path) => path.map(({ push }) => push[pick])), levels = paths.map((path) => path.map(({ lam }) => lam));
  const top = Math.max(...pushes.flat().filter(Number.isFinite), 1e-3), all = levels.flat();
  plot.begin({ x0: Math.min(...all), x1: Math.max(...all), y0: 0, y1: 1.1 * top }, ui.theme);
  pushes.forEach((push, i) => plot.curve(levels[i], push, ui.theme.colors[i], { dash: DASHES[i][0] }));
  plot.describe(`Size of the push on the digit ${classes[pick]} against log-SNR λ: ${rows.map(({ rule }, i) =>
    `${SHORT[rule]}, at most ${show(Math.max(...pushes[i]))}`).join("; ")}.`);
}
