// What an explorer's settings may be. Whatever comes in (a reader's typing, a link, Python) goes through here: out comes
// something that can be drawn, and a note that says what was changed to make it so.

import { Mixture } from "./mixture.mjs";

const LIMIT = 1e3, SMALLEST = 1e-4; // of means and variances; of variances

// A kind of field has fallback; read(value, note, name) → the value to use; write(value) → text for a link; and
// parse(text) → something to read.

export const number = (lo, hi, fallback, { integer = false } = {}) => ({
  fallback,
  read(value, note, name, otherwise = fallback) {
    const x = value === null || (typeof value === "string" && value.trim() === "") ? NaN : Number(value);
    if (!Number.isFinite(x)) return note(`“${name}” takes a number; it stays at ${otherwise}.`), otherwise;
    const y = Math.min(Math.max(integer ? Math.round(x) : x, lo), hi);
    if (y !== x) note(`“${name}” is ${y} now: it takes ${integer ? "whole " : ""}numbers from ${lo} to ${hi}.`);
    return y;
  },
  write: (x) => String(+x.toPrecision(6)),
  parse: (text) => text,
});

/** Of random numbers. */
export const seed = number(0, 2 ** 31 - 1, 0, { integer: true });

export const choice = (names, fallback) => ({
  fallback,
  read: (value, note, name) => (names.includes(value) ? value : (note(`“${name}” does not know “${value}”; it is ${fallback} now.`), fallback)),
  write: (x) => x,
  parse: (text) => text,
});

export const several = (names, fallback) => ({
  fallback,
  read: (value) => names.filter((name) => Array.isArray(value) && value.includes(name)),
  write: (x) => x.join(",") || "none",
  parse: (text) => text.split(","),
});

/** A class, or null for all of them where `all` is set. Checked against the mixture by whoever draws. */
export const klass = (fallback, all) => ({
  fallback,
  read: (value) => (Number.isInteger(Number(value)) && value !== null && value >= 0 ? Number(value) : all ? null : 0),
  write: (x) => (x === null ? "all" : String(x)),
  parse: (text) => (text === "all" ? null : Number(text)),
});

/** null, or [lo, hi] of log-SNR. */
export const interval = {
  fallback: null,
  read(value, note) {
    if (!Array.isArray(value)) return null;
    const [lo, hi] = value.map(Number);
    if (!(Number.isFinite(lo) && Number.isFinite(hi) && lo <= hi)) return note("The interval must rise; it is off now."), null;
    return [lo, hi];
  },
  write: (x) => (x ? x.join(",") : "off"),
  parse: (text) => (text === "off" ? null : text.split(",")),
};

const round = (x) => +x.toPrecision(5);

export const mixture = {
  fallback: null,
  read: (value, note) => cleanMixture(value, note),
  write: ({ means, covs, weights, labels }) => means.map((m, k) =>
    [...m, covs[k][0][0], covs[k][0][1], covs[k][1][1], weights[k], labels[k]].map(round).join(",")).join("_"),
  parse(text) {
    const rows = text.split("_").map((row) => row.split(",").map(Number));
    return { means: rows.map((r) => [r[0], r[1]]), covs: rows.map((r) => [[r[2], r[3]], [r[3], r[4]]]),
      weights: rows.map((r) => r[5]), labels: rows.map((r) => r[6]) };
  },
};

/** A mixture that can be drawn, whatever `raw` holds: numbers finite, covariances positive definite, no class empty. */
export function cleanMixture(raw, note = () => {}) {
  const finite = (x, otherwise, limit = LIMIT) => {
    if (!Number.isFinite(x)) return note("A number of the mixture was not finite; it was replaced."), otherwise;
    if (Math.abs(x) > limit) note(`A number of the mixture was beyond ${limit}; it was cut.`);
    return Math.min(Math.max(x, -limit), limit);
  };
  const means = (Array.isArray(raw?.means) && raw.means.length ? raw.means : [[0, 0]]).slice(0, 64)
    .map((m) => [finite(Number(m?.[0]), 0), finite(Number(m?.[1]), 0)]);
  if (raw?.means?.length > 64) note("Of the mixture’s components, the first 64 are shown.");
  const covs = means.map((_, k) => {
    const c = raw?.covs?.[k];
    const a = finite(Number(c?.[0]?.[0]), 1), d = finite(Number(c?.[1]?.[1]), 1), b = finite(Number(c?.[0]?.[1]), 0);
    const mid = (a + d) / 2, gap = Math.hypot((a - d) / 2, b), angle = 0.5 * Math.atan2(2 * b, a - d);
    const small = Math.max(mid - gap, SMALLEST), big = Math.max(mid + gap, SMALLEST);
    if (mid - gap >= SMALLEST * 0.999) return [[a, b], [b, d]];
    note("A spread was zero or no covariance at all; it is 0.01 now.");
    const [x, y] = [Math.cos(angle), Math.sin(angle)];
    return [[big * x * x + small * y * y, (big - small) * x * y], [(big - small) * x * y, big * y * y + small * x * x]];
  });
  const weights = means.map((_, k) => {
    const p = Number(raw?.weights?.[k] ?? 1);
    return p > 0 && Number.isFinite(p) ? p : (note("A weight was not positive; it is 1 now."), 1);
  });
  const wanted = means.map((_, k) => Number(raw?.labels?.[k] ?? k));
  const known = [...new Set(wanted)].sort((a, b) => a - b);
  const labels = wanted.map((label) => known.indexOf(label));
  if (known.some((label, c) => label !== c)) note("The classes were numbered anew, from 0 without gaps.");
  return { means, covs, weights, labels, usual: !!raw?.usual };
}

/** The Mixture of a clean description; the same object for the same description. */
const made = new WeakMap();
export function mixtureOf(description) {
  if (!made.has(description)) made.set(description, new Mixture(description));
  return made.get(description);
}

/** Settings → "name?w=2&lam=0", and back. Only what differs from `initial` is written. */
export function toHash(name, fields, state, initial) {
  const parts = Object.keys(fields).flatMap((key) => {
    const text = fields[key].write(state[key]);
    return text === fields[key].write(initial[key]) ? [] : [`${key}=${encodeURIComponent(text).replaceAll("%2C", ",")}`];
  });
  return `${name}?${parts.join("&")}`;
}

export function fromHash(name, fields, hash) {
  if (!hash.startsWith(`#${name}?`)) return null;
  const out = {};
  for (const part of hash.slice(name.length + 2).split("&")) {
    const [key, text = ""] = part.split("=");
    if (Object.hasOwn(fields, key)) {
      try {
        out[key] = fields[key].parse(decodeURIComponent(text));
      } catch {
        out[key] = text;
      }
    }
  }
  return out;
}
