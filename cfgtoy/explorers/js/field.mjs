// Guidance field: where the scores point, and what guidance makes of them. Means and spreads can be dragged.

import { className, classOptions, gridOf, Plot, viewOf } from "./plot.mjs";
import { choice, klass, mixture, mixtureOf, number, several } from "./state.mjs";
import { explorer, handle, make, memo, show } from "./ui.mjs";

const LAYERS = [["conditional", "∇ log p(z|c)"], ["unconditional", "∇ log p(z)"], ["difference", "their difference, ∇ log p(c|z)"], ["guided", "guided"]];
const DENSITIES = [["conditional", "p(z|c)"], ["marginal", "p(z)"], ["tilted", "p(z|c) p(c|z)^w"]];
const GRID = 72, ARROWS = 21;

export default explorer({
  name: "field",
  question: "Which way does guidance push?",
  fields: {
    mixture, w: number(-1e6, 1e6, 2), lam: number(-20, 20, 0), y: klass(0, false),
    layers: several(LAYERS.map(([key]) => key), ["guided"]), density: choice(DENSITIES.map(([key]) => key), "conditional"),
  },
  build(ui) {
    const plot = new Plot(ui.stage, { axes: ["z₁", "z₂"] });
    ui.legend("Arrows are σ · score = −ε; they grow with |ε| up to one cell. Drag a round handle to move a class, a square one to widen it.");
    ui.select({ key: "y", label: "class c", options: ({ mixture: m }) => classOptions(mixtureOf(m)) });
    ui.slider({ key: "w", label: "guidance weight w", min: -1, max: 8, step: 0.05 });
    ui.slider({ key: "lam", label: "log-SNR λ (noise → data)", min: -6, max: 8, step: 0.05 });
    ui.checks({ key: "layers", legend: "arrows", options: LAYERS });
    ui.select({ key: "density", label: "bands", options: DENSITIES });
    const table = ui.table("Under the pointer");
    const handles = new Handles(ui, plot);

    let pointer = null;
    ui.listen(plot.canvas, "pointermove", (event) => {
      pointer = plot.unproject(event);
      readout();
    });
    ui.listen(plot.canvas, "pointerdown", (event) => {
      pointer = plot.unproject(event);
      ui.redraw();
    });

    let shown = null; // what is on screen, for the pointer
    const out = new Float64Array(2);
    const readout = () => {
      const { level, y, w, mix } = shown, [px, py] = pointer ?? mix.moments(y)[0].map((m) => m * level.alpha);
      const probs = level.classLogProb(px, py);
      const size = (c, weight) => (level.eps(px, py, c, weight, out), Math.hypot(out[0], out[1]));
      const guided = size(y, w), own = size(y, 0), none = size(-1, 0);
      table([
        [pointer ? "z" : "z (the class mean)", `${show(px)}, ${show(py)}`],
        ...Array.from(probs.subarray(0, 12), (p, c) => [`p(${className(c)}|z)`, show(Math.exp(p))]),
        ["|ε(z, c)|", show(own)], ["|ε(z)|", show(none)], ["|ε̃|, guided", show(guided)],
      ]);
      return guided;
    };

    const view = memo((mix) => viewOf(mix));
    return (state, mix) => {
      const { w, lam, y, layers, density } = state, level = mix.at(lam), { theme } = ui;
      shown = { level, y, w, mix };
      plot.begin(handles.view ?? view(mix), theme);
      const f = { conditional: (a, b) => level.logProb(a, b, y), marginal: (a, b) => level.logProb(a, b),
        tilted: (a, b) => level.tiltedLogProb(a, b, y, w) }[density];
      plot.bands(gridOf(plot.view, GRID, f), GRID, density === "marginal" ? theme.ink : theme.colors[y % 12], 0.11);
      for (let c = 0; c < mix.classes; c++)
        plot.outline(gridOf(plot.view, GRID, (a, b) => level.logProb(a, b, c)), GRID, theme.colors[c % 12], [0.8], c === y ? [] : [4, 4]);

      // score · σ = −ε
      const eps = (c, weight) => (a, b, to) => {
        level.eps(a, b, c, weight, to);
        to[0] = -to[0];
        to[1] = -to[1];
      };
      const both = new Float64Array(2);
      const difference = (a, b, to) => {
        level.eps(a, b, y, 0, both);
        level.eps(a, b, -1, 0, to);
        to[0] -= both[0];
        to[1] -= both[1];
      };
      const m = Math.max(9, Math.min(ARROWS, Math.round(plot.w / 22)));
      const style = layerStyles(theme);
      const each = { conditional: eps(y, 0), unconditional: eps(-1, 0), difference, guided: eps(y, w) };
      for (const [key] of LAYERS) if (layers.includes(key)) plot.arrows(m, each[key], style[key].color, style[key].width);
      for (const [key] of LAYERS) ui.root.querySelector(`.cx-${key}`).style.borderTopColor = style[key].color;
      handles.place(mix, level.alpha, y);
      const size = readout();
      plot.describe(`Field of class ${className(y)} at log-SNR ${show(lam)}, w = ${show(w)}; arrows: ${layers.join(", ") || "none"}.`);
      if (!Number.isFinite(size) || size > 1e4) return `With w = ${show(w)} the guided field is ${show(size)} long here: no sampler survives that.`;
      return level.alpha < 0.15 ? "Almost pure noise: the classes lie on one another. Raise λ to drag them." : "";
    };
  },
});

const layerStyles = (theme) => ({
  conditional: { color: theme.colors[5], width: 1.2 }, unconditional: { color: theme.colors[6], width: 1.2 },
  difference: { color: theme.colors[4], width: 1.5 }, guided: { color: theme.ink, width: 1.7 },
});

/** Two buttons a class over the canvas: one carries its means, one its spread. Pointer, touch and arrow keys. */
class Handles {
  constructor(ui, plot) {
    Object.assign(this, { ui, plot, nodes: [] });
  }

  /** Put the handles of a mixture where noise α leaves its means. */
  place(mix, alpha, chosen) {
    while (this.nodes.length < mix.classes) this.nodes.push(this.create(this.nodes.length));
    this.nodes.splice(mix.classes).forEach((pair) => Object.values(pair).forEach((node) => node.remove()));
    this.alpha = alpha;
    const { plot, ui } = this;
    this.nodes.forEach(({ move, spread }, c) => {
      const [[x, y], cov] = mix.moments(c), sd = this.spreadOf(mix, c);
      const put = (node, a, b) => {
        const px = plot.X(alpha * a), py = plot.Y(alpha * b);
        const inside = px >= plot.left && px <= plot.left + plot.w && py >= plot.top && py <= plot.top + plot.h;
        node.style.transform = `translate(${px}px, ${py}px)`;
        node.style.display = inside && alpha >= 0.15 ? "grid" : "none";
        node.style.borderColor = ui.theme.colors[c % 12];
        return node;
      };
      put(move, x, y).setAttribute("aria-valuetext", `${show(x)}, ${show(y)}`);
      move.setAttribute("aria-valuenow", +x.toFixed(3));
      // The square stands on the way out from the middle of the picture, where it hides no mean.
      const [tx, ty] = Math.hypot(x, y) > 1e-6 ? [x, y] : [1, 1], away = Math.max(1.8 * sd, 28 / (alpha * plot.kx)) / Math.hypot(tx, ty);
      put(spread, x + away * tx, y + away * ty).setAttribute("aria-valuetext", show(sd));
      spread.setAttribute("aria-valuenow", +sd.toFixed(3));
      if (c !== chosen && mix.classes > 4) spread.style.display = "none";
    });
  }

  /** Standard deviation of a class's components, on average over directions. */
  spreadOf(mix, c) {
    const own = mix.components.filter((k) => k.label === c);
    return Math.sqrt(own.reduce((sum, k) => sum + (k.cov[0][0] + k.cov[1][1]) / 2, 0) / own.length);
  }

  create(c) {
    const node = (kind, label) => {
      const place = (event) => this.plot.unproject(event).map((v) => v / this.alpha); // of the pointer, as clean data
      const reach = (event) => {
        const [[mx, my]] = this.mix.moments(c), [x, y] = place(event);
        return Math.max(Math.hypot(x - mx, y - my), 1e-3);
      };
      let grip = 1; // spread for each unit of the pointer's distance from the mean
      const button = handle(this.plot, { kind, label, least: kind ? 0.01 : -1000, most: 1000 }, {
        begin: (event) => {
          this.view = this.plot.view; // the picture must not rescale under the hand
          grip = this.spreadOf(this.mix, c) / reach(event);
        },
        move: (event) => (kind ? this.widen(c, grip * reach(event)) : this.shift(c, place(event))),
        end: () => {
          this.view = null;
          this.ui.set({}, true);
        },
        by: (dx, dy) => {
          const [[x, y]] = this.mix.moments(c);
          if (kind) this.widen(c, this.spreadOf(this.mix, c) + (dx + dy) / 2, true);
          else this.shift(c, [x + dx, y + dy], true);
        },
      });
      if (!kind) button.append(make("span", { textContent: className(c), "aria-hidden": "true" }));
      return button;
    };
    return { move: node("", `Mean of class ${className(c)}: arrow keys move it`),
      spread: node("cx-spread", `Spread of class ${className(c)}: arrow keys change it`) };
  }

  get mix() { return mixtureOf(this.ui.state.mixture); }

  edit(c, change, done) {
    const { means, covs, weights, labels } = this.ui.state.mixture, own = (k) => labels[k] === c;
    this.ui.set({ mixture: { means: means.map((m, k) => (own(k) ? change.mean(m) : m)), covs: covs.map((s, k) => (own(k) ? change.cov(s) : s)), weights, labels } }, done);
  }

  shift(c, [x, y], done) {
    const [[mx, my]] = this.mix.moments(c), cut = (v) => Math.min(Math.max(v, -20), 20);
    this.edit(c, { mean: (m) => [cut(m[0] + x - mx), cut(m[1] + y - my)], cov: (s) => s }, done);
  }

  widen(c, sd, done) {
    const factor = (Math.min(Math.max(sd, 0.02), 10) / this.spreadOf(this.mix, c)) ** 2;
    this.edit(c, { mean: (m) => m, cov: (s) => s.map((row) => row.map((v) => v * factor)) }, done);
  }
}
