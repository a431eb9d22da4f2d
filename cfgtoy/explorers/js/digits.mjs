// Digits: the trained U-Net itself, in the page. Ten digits, one a class, from one noise.

import { Answers } from "./nets/answers.mjs";
import { fromBase64 } from "./nets/weights.mjs";
import { paint, picture, pixels, save } from "./nets/pictures.mjs";
import { Plot } from "./plot.mjs";
import { choice, klass, number } from "./state.mjs";
import { explorer, make, show } from "./ui.mjs";

const RULES = { "classifier-free": "classifier-free", classifier: "the noisy classifier’s" };
const MOST = 10; // pictures of a path

export default explorer({
  name: "digits",
  question: "Ten digits start from one noise. What does guidance make of them?",
  fields: {
    w: number(-1e6, 1e6, 1), steps: number(2, 64, 20, { integer: true }), sampler: choice(["dpm++2m", "ddim"], "dpm++2m"),
    seed: number(0, 2 ** 31 - 1, 0, { integer: true }), rule: choice([...Object.keys(RULES), "both"], "classifier-free"),
    pick: klass(null, true), backend: choice(["page", "kernel"], "page"),
  },
  build(ui) {
    const about = ui.model.get("about"), { shape, classes } = about, each = shape.reduce((a, b) => a * b);
    const prepared = Float32Array.from(fromBase64(about.prepared), (byte) => byte / 127.5 - 1), start = ui.state;
    if (ui.live) ui.root.dataset.network = about.network; // in a page, the container says so

    const sheets = Object.fromEntries(Object.keys(RULES).map((rule) => [rule, sheet(ui, rule, shape, classes)]));
    const path = make("div", { className: "cx-path" }), plot = new Plot(path, { axes: ["log-SNR λ", "push, r.m.s."], ratio: 0.4 });
    const strips = make("div", { className: "cx-strips" });
    path.prepend(strips);
    ui.stage.append(path);
    const legend = ui.legend("Choose a digit to see its path.");

    ui.slider({ key: "w", label: "guidance weight w", min: -1, max: 8, step: 0.05 });
    ui.slider({ key: "steps", label: "levels T", min: 2, max: 64, step: 1 });
    ui.select({ key: "rule", label: "guidance", options: [...Object.entries(RULES), ["both", "both"]] });
    ui.select({ key: "sampler", label: "sampler", options: [["dpm++2m", "DPM-Solver++(2M)"], ["ddim", "DDIM"]] });
    if (ui.live) ui.select({ key: "backend", label: "drawn by", options: [["page", "the page"], ["kernel", "the kernel"]] });
    ui.buttons([["New noise", () => ui.set({ seed: (ui.state.seed + 1) % 2 ** 31 }, true)],
      ["Save PNG", () => save(rulesOf(ui.state).map((rule) => sheets[rule].canvases), "digits")]]);
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
      const { w, steps, sampler, seed, backend, pick } = state, rules = rulesOf(state);
      const wanted = rules.map((rule) => ({ denoiser: about.network, classifier: rule === "classifier" ? about.classifier : null,
        rule, w, steps, sampler, seed }));
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
        const values = path?.at(-1).x ?? (shown || start.rule !== rule ? null : prepared);
        canvases.forEach((canvas, i) => {
          if (values) paint(canvas, pixels(values, i * each, shape));
          buttons[i].setAttribute("aria-pressed", String(pick === i));
        });
      }
      ui.stage.setAttribute("aria-busy", String(seen && !answers.trouble && (answers.busy || !shown)));

      path.hidden = pick === null || pick >= classes.length || !shown?.whole;
      legend.textContent = path.hidden ? "Choose a digit to see its path." : `Pictures: what the network takes the ${classes[pick]} for on its way. Curve: what guidance adds to ε̂ there${rules.length > 1 ? ", solid the classifier-free rule, dashed the classifier’s" : ""}.`;
      if (!path.hidden) drawPath(ui, { shown, pick, shape, each, strips, plot, classes });
      table(shown ? [["looks of the U-Net at an image", String(looks(shown.rows))], ["seconds", show(shown.seconds)], ["by", shown.by]] : []);
      if (answers.trouble) return `The network did not answer: ${answers.trouble}.${shown ? "" : " These pictures were drawn beforehand."}`;
      if (!shown && seen) return `Loading the network, ${show(about.networks[about.network].bytes / 1e6)} MB …`;
      return "";
    };
  },
});

const rulesOf = ({ rule }) => (rule === "both" ? Object.keys(RULES) : [rule]);
/** Of the U-Net at one image of each row: two a level under classifier-free guidance. */
const looks = (rows) => rows.reduce((sum, { w, steps, rule }) => sum + steps * (w !== 0 && rule === "classifier-free" ? 2 : 1), 0);

/** A row of pictures, each a button. */
function sheet(ui, rule, shape, classes) {
  const caption = make("p", { className: "cx-caption", textContent: `guidance: ${RULES[rule]}` });
  const canvases = classes.map(() => picture(shape));
  const buttons = classes.map((name, i) => {
    const button = make("button", { type: "button", className: "cx-picture", "aria-label": `${name}: show its path`, "aria-pressed": "false" },
      canvases[i], make("span", { textContent: name, "aria-hidden": "true" }));
    button.addEventListener("click", () => ui.set({ pick: ui.state.pick === i ? null : i }, true));
    return button;
  });
  const box = make("div", { className: "cx-sheet", role: "group", "aria-label": `Digits, guidance: ${RULES[rule]}` }, caption,
    make("div", { className: "cx-pictures" }, ...buttons));
  ui.stage.append(box);
  return { box, buttons, canvases, caption };
}

/** What the network took the chosen digit for at each level, and how hard guidance pushed. */
function drawPath(ui, { shown: { rows, paths }, pick, shape, each, strips, plot, classes }) {
  const levels = paths[0].map(({ lam }) => lam), wanted = Math.min(MOST, levels.length);
  const at = Array.from({ length: wanted }, (_, i) => Math.round((i * (levels.length - 1)) / (wanted - 1)));
  if (strips.childElementCount !== rows.length || strips.firstElementChild.childElementCount !== wanted)
    strips.replaceChildren(...rows.map(() => make("div", { className: "cx-strip", role: "img" },
      ...at.map(() => make("div", {}, picture(shape), make("span", { "aria-hidden": "true" }))))));
  rows.forEach(({ rule }, row) => {
    const strip = strips.children[row];
    strip.setAttribute("aria-label", `Estimates of the digit ${classes[pick]} from noise to data, guidance: ${RULES[rule]}`);
    at.forEach((step, i) => {
      paint(strip.children[i].firstChild, pixels(paths[row][step].x, pick * each, shape));
      strip.children[i].lastChild.textContent = i % 3 && i + 1 < wanted ? "" : `λ = ${show(Math.round(levels[step]))}`;
    });
  });
  const pushes = paths.map((path) => path.map(({ push }) => push[pick]));
  const top = Math.max(...pushes.flat().filter(Number.isFinite), 1e-3);
  plot.begin({ x0: levels[0], x1: levels.at(-1), y0: 0, y1: 1.1 * top }, ui.theme);
  pushes.forEach((push, i) => plot.curve(levels, push, ui.theme.colors[i], { dash: i ? [5, 4] : [] }));
  plot.describe(`Size of the push on the digit ${classes[pick]} against log-SNR λ: ${rows.map(({ rule }, i) =>
    `${RULES[rule]}, at most ${show(Math.max(...pushes[i]))}`).join("; ")}.`);
}
