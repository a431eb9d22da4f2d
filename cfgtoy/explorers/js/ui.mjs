// The frame around every explorer: its question, its labelled controls, its readouts, and the loop from a setting to a
// picture. An explorer is {name, question, fields, build(ui) → draw(state, mixture)}; one without a field `mixture` gets none.

import { readTheme } from "./plot.mjs";
import { fromHash, mixtureOf, toHash } from "./state.mjs";

let count = 0; // for ids
const names = new Map(); // explorers of one name on this page: field, field-2, …

/** make("p", {className: "x", textContent: "y", "aria-label": "z"}, child, …) */
export function make(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (key in node && key !== "list") node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

/** A handle on a plot: dragged (begin, move, end), or moved by arrow keys: by(dx, dy). */
export function handle(plot, { kind = "", label, least, most }, { begin, move, end, by }) {
  const node = make("div", { className: `cx-handle ${kind}`, tabIndex: 0, role: "slider", "aria-label": label,
    "aria-valuemin": least, "aria-valuemax": most, "data-lm-suppress-shortcuts": "true" });
  node.addEventListener("pointerdown", (event) => {
    node.setPointerCapture(event.pointerId);
    begin(event);
    event.preventDefault();
    node.focus();
  });
  node.addEventListener("pointermove", (event) => { if (node.hasPointerCapture(event.pointerId)) move(event); });
  for (const name of ["pointerup", "pointercancel"]) node.addEventListener(name, end);
  node.addEventListener("keydown", (event) => {
    const step = event.shiftKey ? 0.5 : 0.1;
    const way = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key];
    if (!way) return;
    event.preventDefault();
    event.stopPropagation();
    by(...way);
  });
  plot.box.append(node);
  return node;
}

/** A number as a reader wants it: three figures, "—" for what is none. */
export function show(x) {
  if (!Number.isFinite(x)) return "—";
  const size = Math.abs(x);
  if (size < 1e-9) return "0";
  if (size >= 1e5 || size < 5e-3) return x.toExponential(1).replace("-", "−").replace("e-", "e−");
  return (Number.isInteger(x) ? String(x) : x.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2)).replace("-", "−");
}

export function explorer({ name, question, fields, build }) {
  return { render: ({ model, el }) => new Explorer(name, question, fields, model, el).start(build) };
}

class Explorer {
  constructor(name, question, fields, model, el) {
    const seen = (names.get(name) ?? 0) + 1;
    if (!model.get("live")) names.set(name, seen);
    this.name = seen > 1 ? `${name}-${seen}` : name;
    Object.assign(this, { kind: name, fields, model, live: model.get("live"), controls: [], ends: [], notes: [], last: {} });
    this.id = `cx-${name}-${++count}`;
    this.stage = make("div", { className: "cx-stage" });
    this.panel = make("div", { className: "cx-panel" });
    this.message = make("p", { className: "cx-message", role: "status" });
    this.foot = make("div", { className: "cx-foot" });
    this.root = make("div", { className: "cfgtoy cx", role: "group", "aria-labelledby": `${this.id}-q`, id: this.id },
      make("p", { className: "cx-question", id: `${this.id}-q`, textContent: model.get("question") || question }),
      make("div", { className: "cx-body" }, this.stage, this.panel), this.foot);
    el.append(this.root);
  }

  start(build) {
    const { model, fields, root } = this;
    this.state = this.initial = this.read();
    const draw = build(this);
    if (!this.live) this.adopt(location.hash);
    this.draw = draw;
    this.buttons([["Reset", () => this.set(this.initial, true)],
      this.live ? ["Copy as Python", () => this.copy(this.asPython())] : ["Copy link", () => this.copy(this.link())]], this.more ?? this.foot);
    this.foot.append(this.message);

    for (const key of Object.keys(fields)) this.listen(model, `change:${key}`, () => this.busy || this.refresh());
    if (!this.live) this.listen(window, "hashchange", (event) => this.adopt(new URL(event.newURL).hash));
    const retheme = () => this.look && this.lookNow() !== this.look && this.redraw();
    const watch = new MutationObserver(() => {
      retheme();
      setTimeout(retheme, 400); // a theme's style sheet may come after its name
    });
    watch.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "class", "style"] });
    watch.observe(document.body, { attributes: true, attributeFilter: ["data-theme", "class", "data-jp-theme-light", "data-jp-theme-name"] });
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    this.listen(scheme, "change", retheme);
    const size = new ResizeObserver(() => this.redraw()); // fires whenever the page shows the explorer, first of all too
    for (const box of [root, this.stage]) size.observe(box);
    this.ends.push(() => watch.disconnect(), () => size.disconnect(), () => this.stop());
    this.refresh();
    return () => this.ends.forEach((end) => end());
  }

  listen(target, event, listener) {
    if (target.addEventListener) {
      target.addEventListener(event, listener);
      this.ends.push(() => target.removeEventListener(event, listener));
    } else {
      target.on(event, listener);
      this.ends.push(() => target.off(event, listener));
    }
  }

  // -- settings -------------------------------------------------------------------------------------------------------

  /** The settings as they can be drawn. A description of a mixture keeps its identity while it stays the same. */
  read() {
    const state = {};
    this.notes = [];
    for (const [key, field] of Object.entries(this.fields)) {
      const raw = this.model.get(key);
      if (this.last[key]?.raw !== raw) {
        const notes = [];
        this.last[key] = { raw, value: field.read(raw ?? field.fallback, (note) => notes.push(note), this.labels?.[key] ?? key), notes };
      }
      state[key] = this.last[key].value;
      this.notes.push(...this.last[key].notes);
    }
    return state;
  }

  /** Change settings, made sound first. While a drag goes on (`done` false) Python hears of it every now and then. */
  set(patch, done = false) {
    this.busy = true;
    this.said = [];
    for (const [key, value] of Object.entries(patch))
      this.model.set(key, this.fields[key].read(value, (note) => this.said.push(note), this.labels?.[key] ?? key, this.state?.[key]));
    this.busy = false;
    if (this.draw) this.refresh();
    if (done) this.save();
    else this.saveSoon();
  }

  /** Change settings for the eye alone: nothing is kept, in the address or in Python. */
  preview(patch) {
    this.busy = true;
    for (const [key, value] of Object.entries(patch)) this.model.set(key, value);
    this.busy = false;
    if (this.draw) this.refresh();
  }

  saveSoon() {
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.save(), 200);
  }

  save() {
    clearTimeout(this.saving);
    this.onsave?.();
    this.model.save_changes();
    try {
      if (!this.live) history.replaceState(history.state, "", `#${toHash(this.name, this.fields, this.read(), this.initial)}`);
    } catch {
      // a page in a sandbox has no address to keep the setting in; "copy link" still gives one
    }
  }

  adopt(hash) {
    const patch = fromHash(this.name, this.fields, hash);
    if (!patch) return;
    this.set(patch);
    setTimeout(() => this.root.scrollIntoView({ block: "center" }), 60);
  }

  link() {
    return `${location.href.split("#")[0]}#${toHash(this.name, this.fields, this.read(), this.initial)}`;
  }

  asPython() {
    const python = (x) => (x === null ? "None" : Array.isArray(x) ? `[${x.map(python).join(", ")}]` : JSON.stringify(x));
    const state = this.read(), parts = [];
    for (const key of Object.keys(this.fields)) {
      if (key !== "mixture") parts.push(`${key}=${python(state[key])}`);
      else if (!state.mixture.usual) {
        const given = ["means", "covs", "weights", "labels"].map((name) => `torch.tensor(${python(state.mixture[name])})`);
        parts.unshift(`mixture=GaussianMixture(${given.join(", ")})`);
      }
    }
    if (this.model.get("twins")) parts.push("twins=True"); // for good: no control changes it
    return `${this.kind[0].toUpperCase()}${this.kind.slice(1)}Explorer(${parts.join(", ")})`;
  }

  async copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      this.say("Copied.");
    } catch { // no clipboard here (a file, an old browser): leave the text where it can be copied by hand
      const box = make("input", { value: text, readOnly: true, "aria-label": "Copy this text", className: "cx-copy", "data-lm-suppress-shortcuts": "true" });
      this.foot.querySelector(".cx-copy")?.remove();
      this.foot.append(box);
      box.select();
      this.say("Select and copy the text below.");
    }
  }

  say(text) {
    if (this.message.textContent !== text) this.message.textContent = text;
  }

  lookNow() {
    const { color, backgroundColor } = getComputedStyle(this.root);
    return `${color} on ${backgroundColor}`;
  }

  // -- from a setting to a picture ---------------------------------------------------------------------------------------

  mixture() {
    return this.fields.mixture ? mixtureOf(this.state.mixture) : null;
  }

  refresh() {
    this.state = this.read();
    const C = this.mixture()?.classes;
    if (this.state.y >= C) {
      this.notes.push(`There is no class y = ${this.state.y}; the last of ${C} is shown.`);
      this.state.y = C - 1;
    }
    for (const sync of this.controls) sync(this.state);
    this.redraw();
  }

  /** Draw at once, so that a slider answers in its own frame; but once a frame at most. */
  redraw() {
    if (!this.root.clientWidth) return; // not on the page: the size observer calls again once it is
    if (this.drawn) {
      this.again = true;
      return;
    }
    this.drawn = true;
    this.frame = requestAnimationFrame(() => {
      this.drawn = false;
      if (this.again) this.redraw();
    });
    this.again = false;
    const look = this.lookNow();
    if (look !== this.look) Object.assign(this, { look, theme: readTheme(this.root) });
    const words = this.draw(this.state, this.mixture());
    this.say([...new Set([...(this.said ?? []), ...this.notes, words])].filter(Boolean).join(" "));
  }

  /** Call tick(0 … 1) over `ms` milliseconds. A reader who asked for less motion sees the end at once. */
  play(ms, tick, after) {
    this.stop();
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return tick(1), after();
    const from = performance.now();
    const step = (now) => {
      const share = Math.min(Math.max((now - from) / ms, 0), 1);
      tick(share);
      if (share < 1) this.playing = requestAnimationFrame(step);
      else this.stop();
    };
    this.afterPlay = after;
    this.playing = requestAnimationFrame(step);
  }

  stop() {
    cancelAnimationFrame(this.playing);
    this.playing = 0;
    this.afterPlay?.();
    this.afterPlay = null;
  }

  // -- controls ----------------------------------------------------------------------------------------------------------

  /**
   * A slider and a box for the exact number. get/set: how the setting maps to the slider, where it is no plain key;
   * when: the states in which it matters, and is shown.
   */
  slider({ key, label, min, max, step, get = (s) => s[key], set = (x) => ({ [key]: x }), parent = this.place(key), when = null }) {
    (this.labels ??= {})[key] = label;
    const id = `${this.id}-${key}`;
    const range = make("input", { type: "range", id, min, max, step, "data-lm-suppress-shortcuts": "true" });
    const exact = make("input", { type: "number", step: "any", "aria-label": `${label}, exact value`, "data-lm-suppress-shortcuts": "true" });
    const row = make("div", { className: "cx-slider" }, make("label", { htmlFor: id, textContent: label }), range, exact);
    range.addEventListener("input", () => this.set(set(Number(range.value))));
    range.addEventListener("change", () => this.save());
    exact.addEventListener("change", () => this.set(set(exact.value === "" ? NaN : Number(exact.value)), true));
    this.controls.push((state) => {
      const value = get(state), text = show(value);
      if (Number(range.value) !== value) range.value = value;
      range.setAttribute("aria-valuetext", text);
      const written = String(+value.toPrecision(4));
      if (exact.value !== written) exact.value = written;
    });
    parent.append(row);
    const gap = document.createComment("");
    if (when) this.controls.push((state) => (when(state) ? gap.replaceWith(row) : row.replaceWith(gap)));
  }

  /** A drop-down. options: [[value, words]…], or a function of the state for those that depend on it; when: as above. */
  select({ key, label, options, parent = this.place(key), when = null }) {
    (this.labels ??= {})[key] = label;
    const id = `${this.id}-${key}`, box = make("select", { id, "data-lm-suppress-shortcuts": "true" });
    let shown = "", values = [];
    box.addEventListener("change", () => this.set({ [key]: values[box.selectedIndex] }, true));
    this.controls.push((state) => {
      const now = typeof options === "function" ? options(state) : options, text = JSON.stringify(now);
      if (text !== shown) {
        box.replaceChildren(...now.map(([, words]) => make("option", { textContent: words })));
        values = now.map(([value]) => value);
        shown = text;
      }
      box.selectedIndex = values.indexOf(state[key]);
    });
    const row = make("div", { className: "cx-select" }, make("label", { htmlFor: id, textContent: label }), box);
    parent.append(row);
    if (when) this.controls.push((state) => { row.hidden = !when(state); });
  }

  /** Check boxes for a list of names. */
  checks({ key, legend, options, parent = this.place(key) }) {
    const boxes = options.map(([value, words]) => {
      const box = make("input", { type: "checkbox", "data-lm-suppress-shortcuts": "true" });
      box.addEventListener("change", () => {
        const rest = this.state[key].filter((name) => name !== value);
        this.set({ [key]: box.checked ? [...rest, value] : rest }, true);
      });
      this.controls.push((state) => { box.checked = state[key].includes(value); });
      const swatch = make("span", { className: `cx-swatch cx-${value}`, "aria-hidden": "true" });
      return make("label", {}, box, swatch, words);
    });
    parent.append(make("fieldset", { className: "cx-checks" }, make("legend", { textContent: legend }), ...boxes));
  }

  /** The place for what a reader needs later, folded; what is drawn there is drawn when it opens. */
  fold() {
    this.more = make("details", { className: "cx-more" }, make("summary", { textContent: "More" }));
    this.more.addEventListener("toggle", () => this.refresh());
    this.root.append(this.more);
    return this.more;
  }

  /** Where a control goes: beside the picture, or under "More" if `controls` is a list that leaves it out. */
  place(key) {
    const wanted = this.model.get("controls") ?? [];
    return !wanted.length || wanted.includes(key) ? this.panel : (this.more ?? this.fold());
  }

  buttons(list, parent = this.place("buttons")) {
    const made = list.map(([text, action]) => {
      const button = make("button", { type: "button", textContent: text });
      button.addEventListener("click", action);
      return button;
    });
    parent.append(make("div", { className: "cx-buttons" }, ...made));
    return made;
  }

  /** A button for `buttons`: the next of `count` seeds. */
  newNoise(count = 2 ** 31) {
    return ["New noise", () => this.set({ seed: (this.state.seed + 1) % count }, true)];
  }

  /** A table of figures. Returns fill([[cell, …], …]): rows under the header, the first cell a name. */
  table(caption, header = null, parent = this.place("table")) {
    const body = make("tbody"), cells = new Map();
    parent.append(make("table", { className: "cx-table" }, make("caption", { textContent: caption }),
      header && make("thead", {}, make("tr", {}, ...header.map((h) => make("th", { scope: "col", textContent: h })))), body));
    return (rows) => {
      const shape = rows.map((row) => row.length).join();
      if (cells.get("shape") !== shape) {
        cells.set("shape", shape);
        cells.set("nodes", rows.map((row) => row.map((_, i) => make(i ? "td" : "th", i ? {} : { scope: "row" }))));
        body.replaceChildren(...cells.get("nodes").map((row) => make("tr", {}, ...row)));
      }
      rows.forEach((row, r) => row.forEach((text, i) => {
        const node = cells.get("nodes")[r][i];
        if (node.textContent !== text) node.textContent = text;
      }));
    };
  }

  /** A line of words: what the marks mean. */
  legend(text, parent = this.stage) {
    const line = make("p", { className: "cx-legend", textContent: text });
    parent.append(line);
    return line;
  }
}

/** Remember the last result of `work` for as long as the same `keys` come in. */
export function memo(work) {
  let last = [], result;
  return (...keys) => {
    if (keys.length !== last.length || keys.some((key, i) => !Object.is(key, last[i]))) {
      result = work(...keys);
      last = keys;
    }
    return result;
  };
}
