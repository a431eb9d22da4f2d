// Judges an exercise's answer in the page, as cfgtoy.exercises.Check does in a kernel: the same tolerances and hints.
const close = (a, e, rtol, atol) => a.every((x, k) => Math.abs(x - e[k]) <= atol + rtol * Math.abs(e[k]));
const brief = (x) => String(Number(x.toPrecision(4)));

// A number as people write it: −3, 2.5e-3, 1/3. Infinity stands for itself as ±1e9, as chapters cut it.
const number = (word) => {
  const parts = word.replace(/[−–]/g, "-").replace(/^(-?)inf(inity)?$/i, "$11e9").split("/");
  const values = parts.map((part) => (part.trim() === "" ? NaN : Number(part)));
  return values.length > 2 ? NaN : values.reduce((a, b) => a / b);
};

const read = (text, { kind }) => {
  if (kind === "text") return text.replace(/^["']|["']$/g, "").toLowerCase();
  if (kind === "truth") return text === "True";
  const words = text.replace(/^[([]|[)\]]$/g, "").split(/[,;]\s*|\s+/).filter(Boolean);
  return words.map(number);
};

const difference = (a, e, scalar) => {
  if (close(a, e.map((x) => -x), 1e-3, 1e-8)) return "the size is right, the sign is not";
  if (scalar) return `${brief(a[0])} is too ${a[0] > e[0] ? "large" : "small"}`;
  const ratio = a.map((x, k) => x / e[k]);
  const mean = ratio.reduce((x, y) => x + y) / ratio.length;
  if (ratio.every(Number.isFinite) && Math.max(...ratio) - Math.min(...ratio) < 1e-3 * Math.abs(mean))
    return `right but for a factor: yours is ${brief(mean)} times as large`;
  const worst = Math.max(...a.map((x, k) => Math.abs(x - e[k])));
  return `it is off by up to ${Number(worst.toPrecision(2))}`;
};

const verdict = (text, check) => {
  if (!text.trim()) return "Not answered yet.";
  const answer = read(text.trim(), check);
  const { kind, scalar, expected, hints, rtol, atol } = check;
  const numbers = kind === "numbers";
  if (numbers && answer.some(Number.isNaN)) return "Not yet: write numbers, such as 2.5, −3, 1e-3 or 1/3.";
  if (numbers && answer.length !== expected.length)
    return `Not yet: got ${answer.length} ${answer.length === 1 ? "number" : "numbers"}, expected ${expected.length}.`
      + (scalar ? " A decimal point is a point." : "");
  const same = (wanted) => (numbers ? close(answer, wanted, rtol, atol) : answer === (kind === "text" ? wanted.toLowerCase() : wanted));
  if (same(expected)) return `Right. ${check.right}`.trim();
  const hint = hints.find(([wrong]) => same(wrong));
  if (hint) return `Not yet: ${hint[1]}`;
  const problem = numbers ? difference(answer, expected, scalar) : `it is not ${text.trim()}`;
  return `Not yet: ${problem}. ${check.hint}`.trim();
};

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-exercise]");
  if (!form) return;
  event.preventDefault();
  const bytes = Uint8Array.from(atob(form.dataset.check), (letter) => letter.charCodeAt(0));
  const check = JSON.parse(new TextDecoder().decode(bytes));
  const said = form.querySelector(".verdict");
  said.textContent = verdict(form.querySelector("input, select").value, check);
  form.dataset.verdict = said.textContent.startsWith("Right") ? "right" : "wrong";
});
