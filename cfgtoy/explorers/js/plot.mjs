// A canvas with axes: crisp on every screen, in the colours of the page.

import { addRings, massLevels } from "./contours.mjs";

// Okabe & Ito's colours (2008) in the order of the book's figures, then darker and lighter kin for classes 9 to 12.
const PALETTE = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c8c", "#b3a100",
  "#004d7a", "#8f3f00", "#00664a", "#8a4a6e"];
const MARGIN = { left: 46, right: 10, top: 10, bottom: 36 };
export const SHARES = [0.95, 0.8, 0.6, 0.4, 0.2]; // of the probability, held by the filled bands

/** What the page looks like: {ink, paper, dark, font, colors}. Read anew when the theme changes. */
export function readTheme(root) {
  const probe = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const rgb = (color) => {
    probe.clearRect(0, 0, 1, 1);
    probe.fillStyle = color;
    probe.fillRect(0, 0, 1, 1);
    return probe.getImageData(0, 0, 1, 1).data;
  };
  const style = getComputedStyle(root), [r, g, b] = rgb(style.backgroundColor);
  const dark = 0.299 * r + 0.587 * g + 0.114 * b < 128;
  const lift = (hex) => { // on black, a third of the way to white
    const [x, y, z] = rgb(hex);
    return `rgb(${[x, y, z].map((v) => Math.round(v + (255 - v) * 0.3))})`;
  };
  return { ink: style.color, paper: style.backgroundColor, dark, font: `12px ${style.fontFamily}`, colors: dark ? PALETTE.map(lift) : PALETTE };
}

export const className = (c) => String.fromCharCode(65 + (c % 26));
/** The choices of a select: each class by its letter. */
export const classOptions = ({ classes }) => Array.from({ length: classes }, (_, c) => [c, `${className(c)} (y = ${c})`]);

/** log f(x, y) on an n × n grid over the view, row by row from the bottom. */
export function gridOf({ x0, x1, y0, y1 }, n, f, out = new Float64Array(n * n)) {
  for (let j = 0, o = 0; j < n; j++)
    for (let i = 0; i < n; i++) out[o++] = f(x0 + ((x1 - x0) * i) / (n - 1), y0 + ((y1 - y0) * j) / (n - 1));
  return out;
}

/** A square view that holds the data and the noise of a mixture. */
export function viewOf(mixture, room = 1.1) {
  let half = 3;
  for (const { mean, variances } of mixture.components)
    half = Math.max(half, Math.max(Math.abs(mean[0]), Math.abs(mean[1])) + 2.6 * Math.sqrt(variances[0]));
  half *= room;
  return { x0: -half, x1: half, y0: -half, y1: half };
}

function ticks(lo, hi, most) {
  const raw = (hi - lo) / most, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const out = [];
  for (let k = Math.ceil(lo / step - 1e-9); k * step <= hi + 1e-9 * step; k++) out.push(+(k * step).toPrecision(8));
  return out;
}

export class Plot {
  /** axes: [name of x, name of y]; ratio: height / width of the frame. */
  constructor(parent, { axes, ratio = 1, title = "" }) {
    this.box = document.createElement("div");
    this.box.className = "cx-plot";
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    this.box.append(this.canvas);
    parent.append(this.box);
    Object.assign(this, { axisNames: axes, ratio, title });
    this.ctx = this.canvas.getContext("2d");
  }

  describe(text) {
    if (this.described !== text) this.canvas.setAttribute("aria-label", (this.described = text));
  }

  /** Clear and take on the view {x0, x1, y0, y1}; the frame follows the size of the page. */
  begin(view, theme) {
    const { right, top, bottom } = MARGIN, head = this.title ? 18 : 0;
    const width = Math.max(Math.round(this.box.clientWidth), 120), dpr = Math.min(window.devicePixelRatio || 1, 3);
    const left = this.room(view, theme, width - MARGIN.left - right);
    const w = width - left - right, h = Math.round(w * this.ratio), height = h + top + bottom + head;
    if (this.canvas.width !== Math.round(width * dpr) || this.canvas.height !== Math.round(height * dpr)) {
      this.canvas.width = Math.round(width * dpr);
      this.canvas.height = Math.round(height * dpr);
      this.canvas.style.height = `${height}px`;
    }
    Object.assign(this, { view, theme, dpr, left, top: top + head, w, h });
    const { ctx } = this;
    ctx.setTransform(dpr, 0, 0, dpr, 0, 0);
    ctx.clearRect(0, 0, width, height);
    ctx.font = theme.font;
    this.kx = w / (view.x1 - view.x0);
    this.ky = -h / (view.y1 - view.y0);
    this.ox = left - view.x0 * this.kx;
    this.oy = this.top + h - view.y0 * this.ky;
    if (this.title) this.text(this.title, left + w / 2, top + 4, { align: "center", weight: 600 });
    this.frame();
  }

  /** The margin on the left: the numbers and, beside them, the name of the axis. */
  room({ y0, y1 }, { font }, w) {
    this.ctx.font = `400 ${font}`;
    const wide = ticks(y0, y1, Math.max(2, (w * this.ratio) / 45)).map((y) => this.ctx.measureText(minus(y)).width);
    return Math.max(MARGIN.left, Math.ceil(Math.max(...wide, 0)) + 25);
  }

  X(x) { return this.ox + x * this.kx; }
  Y(y) { return this.oy + y * this.ky; }
  /** Data coordinates of a pointer event. */
  unproject(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left - this.ox) / this.kx, (event.clientY - box.top - this.oy) / this.ky];
  }

  frame() {
    const { ctx, left, top, w, h, view, theme } = this;
    ctx.strokeStyle = ctx.fillStyle = theme.ink;
    ctx.lineWidth = 1;
    ctx.globalAlpha = 0.1;
    const xs = ticks(view.x0, view.x1, Math.max(2, w / 60)), ys = ticks(view.y0, view.y1, Math.max(2, h / 45));
    ctx.beginPath();
    for (const x of xs) ctx.moveTo(this.X(x), top), ctx.lineTo(this.X(x), top + h);
    for (const y of ys) ctx.moveTo(left, this.Y(y)), ctx.lineTo(left + w, this.Y(y));
    ctx.stroke();
    ctx.globalAlpha = 0.45;
    ctx.strokeRect(left + 0.5, top + 0.5, w - 1, h - 1);
    ctx.globalAlpha = 1;
    for (const x of xs) this.text(minus(x), this.X(x), top + h + 11, { align: "center" });
    for (const y of ys) this.text(minus(y), left - 6, this.Y(y), { align: "right" });
    this.text(this.axisNames[0], left + w / 2, top + h + 27, { align: "center" });
    ctx.save();
    ctx.translate(9, top + h / 2);
    ctx.rotate(-Math.PI / 2);
    this.text(this.axisNames[1], 0, 0, { align: "center" });
    ctx.restore();
  }

  text(string, x, y, { align = "left", color = this.theme.ink, halo = false, weight = 400 } = {}) {
    const { ctx } = this;
    ctx.font = `${weight} ${this.theme.font}`;
    ctx.textAlign = align;
    ctx.textBaseline = "middle";
    if (halo) {
      ctx.strokeStyle = this.theme.paper;
      ctx.lineWidth = 4;
      ctx.lineJoin = "round";
      ctx.strokeText(string, x, y);
    }
    ctx.fillStyle = color;
    ctx.fillText(string, x, y);
  }

  /** Draw inside the frame only. */
  clipped(draw) {
    const { ctx, left, top, w, h } = this;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, w, h);
    ctx.clip();
    draw(ctx);
    ctx.restore();
  }

  /** Path of the rings of a grid from `gridOf` at one threshold. */
  rings(values, n, threshold) {
    const { left, top, w, h } = this;
    return addRings(new Path2D(), values, n, threshold, left, w / (n - 1), top + h, -h / (n - 1));
  }

  /** Filled bands that hold 20 … 95 % of the probability of a grid of log densities. */
  bands(values, n, color, strength = 0.13) {
    this.clipped((ctx) => {
      ctx.fillStyle = color;
      ctx.globalAlpha = strength;
      for (const t of massLevels(values, SHARES)) if (Number.isFinite(t)) ctx.fill(this.rings(values, n, t), "evenodd");
    });
  }

  /** A dashed line around the regions that hold `shares` of the probability. */
  outline(values, n, color, shares = [0.9], dash = [5, 4]) {
    this.clipped((ctx) => {
      ctx.strokeStyle = color;
      ctx.lineWidth = 1.6;
      ctx.setLineDash(dash);
      for (const t of massLevels(values, shares)) if (Number.isFinite(t)) ctx.stroke(this.rings(values, n, t));
    });
  }

  /** Points (x0, y0, x1, y1, …), coloured by class. Returns how many lie beyond the frame, or nowhere at all. */
  dots(points, classes, size = 2.4, alpha = 0.6) {
    const { ctx, left, top, w, h, theme } = this;
    let last = -1, beyond = 0;
    ctx.globalAlpha = alpha;
    for (let i = 0; i < classes.length; i++) {
      const x = this.X(points[2 * i]), y = this.Y(points[2 * i + 1]);
      if (!(x >= left && x <= left + w && y >= top && y <= top + h)) { // NaN lands here too
        beyond++;
        continue;
      }
      if (classes[i] !== last) ctx.fillStyle = theme.colors[(last = classes[i]) % theme.colors.length];
      ctx.fillRect(x - size / 2, y - size / 2, size, size);
    }
    ctx.globalAlpha = 1;
    return beyond;
  }

  /** A polyline through data coordinates; gaps where a value is not finite. */
  curve(xs, ys, color, { width = 2, dash = [], alpha = 1 } = {}) {
    this.clipped((ctx) => {
      ctx.strokeStyle = color;
      ctx.lineWidth = width;
      ctx.globalAlpha = alpha;
      ctx.setLineDash(dash);
      ctx.lineJoin = "round";
      ctx.beginPath();
      let pen = false;
      for (let i = 0; i < xs.length; i++) {
        const ok = Number.isFinite(xs[i] + ys[i]);
        if (ok) pen ? ctx.lineTo(this.X(xs[i]), this.Y(ys[i])) : ctx.moveTo(this.X(xs[i]), this.Y(ys[i]));
        pen = ok;
      }
      ctx.stroke();
    });
  }

  /** A ring on a curve: "you are here". */
  mark(x, y, color, radius = 6) {
    if (!Number.isFinite(x + y)) return;
    const { ctx, left, top, w, h } = this;
    const px = Math.min(Math.max(this.X(x), left), left + w), py = Math.min(Math.max(this.Y(y), top), top + h);
    ctx.beginPath();
    ctx.arc(px, py, radius, 0, 2 * Math.PI);
    ctx.fillStyle = color;
    ctx.strokeStyle = this.theme.paper;
    ctx.lineWidth = 2;
    ctx.fill();
    ctx.stroke();
  }

  /** Arrows f(x, y, out) on a grid of m × m cells. Lengths saturate at a cell: half of it at |out| = 1. */
  arrows(m, f, color, width = 1.4) {
    const { left, top, w, h } = this, cell = w / m, out = new Float64Array(2);
    this.clipped((ctx) => {
      ctx.strokeStyle = ctx.fillStyle = color;
      ctx.lineWidth = width;
      ctx.beginPath();
      const heads = new Path2D();
      for (let j = 0; j < m; j++) for (let i = 0; i < m; i++) {
        const px = left + (i + 0.5) * cell, py = top + ((j + 0.5) * h) / m;
        f((px - this.ox) / this.kx, (py - this.oy) / this.ky, out);
        const size = Math.hypot(out[0], out[1]);
        if (!(size > 1e-9) || size === Infinity) continue;
        const length = (0.95 * cell * size) / (1 + size), ux = out[0] / size, uy = -out[1] / size;
        addArrow(ctx, heads, px, py, ux, uy, length, Math.min(0.45 * length, 3 + 1.6 * width));
      }
      ctx.stroke();
      ctx.fill(heads);
    });
  }

  /** One arrow from (x, y), as long as (dx, dy) in data coordinates. */
  arrow(x, y, [dx, dy], color) {
    const size = Math.hypot(dx, dy), length = size * this.kx, heads = new Path2D();
    if (!(size > 1e-9) || size === Infinity) return;
    this.clipped((ctx) => {
      ctx.strokeStyle = ctx.fillStyle = color;
      ctx.lineWidth = 2.4;
      ctx.beginPath();
      addArrow(ctx, heads, this.X(x), this.Y(y), dx / size, -dy / size, length, Math.min(9, 0.6 * length));
      ctx.stroke();
      ctx.fill(heads);
    });
  }

  /** Dashed ellipses at two standard deviations of the components of class c. */
  ellipses(mixture, c, color) {
    this.clipped((ctx) => {
      ctx.strokeStyle = color;
      ctx.lineWidth = 1.6;
      ctx.setLineDash([5, 4]);
      for (const { label, mean, axis, variances } of mixture.components) {
        if (label !== c) continue;
        ctx.beginPath();
        ctx.ellipse(this.X(mean[0]), this.Y(mean[1]), 2 * Math.sqrt(variances[0]) * this.kx, 2 * Math.sqrt(variances[1]) * -this.ky,
          -Math.atan2(axis[1], axis[0]), 0, 2 * Math.PI);
        ctx.stroke();
      }
    });
  }

  /** The letter of each class at its mean, scaled by α. */
  letters(mixture, alpha = 1) {
    for (let c = 0; c < mixture.classes; c++) {
      const [[x, y]] = mixture.moments(c), px = this.X(alpha * x), py = this.Y(alpha * y);
      if (px > this.left && px < this.left + this.w && py > this.top && py < this.top + this.h)
        this.text(className(c), px, py, { align: "center", halo: true, weight: 700 });
    }
  }
}

/** An arrow of `length` along the unit vector (ux, uy), in pixels, as two paths. */
function addArrow(shafts, heads, px, py, ux, uy, length, head) {
  const ex = px + ux * length, ey = py + uy * length;
  shafts.moveTo(px, py);
  shafts.lineTo(ex - ux * head * 0.6, ey - uy * head * 0.6);
  heads.moveTo(ex, ey);
  heads.lineTo(ex - ux * head - uy * head * 0.5, ey - uy * head + ux * head * 0.5);
  heads.lineTo(ex - ux * head + uy * head * 0.5, ey - uy * head - ux * head * 0.5);
}

/** A number with a true minus sign. */
export const minus = (x) => String(x).replace("-", "−");
