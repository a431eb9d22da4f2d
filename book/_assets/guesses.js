// Folds the answer to a question until the reader has guessed, or does not want to.
const answerOf = (form) => document.getElementById(`${form.dataset.guess}-answer`);

// The first number in what a reader wrote, −3 and 1/2 among them; NaN where there is none.
const numberIn = (text) => {
  const found = /[-−–]?\d+(?:[.,]\d+)?(?:\s*\/\s*\d+)?|[½¼¾]/.exec(text);
  if (!found) return NaN;
  const word = found[0].replace("½", "1/2").replace("¼", "1/4").replace("¾", "3/4");
  const [a, b = "1"] = word.replace(/[−–]/, "-").replace(",", ".").split("/");
  return Number(a) / Number(b);
};

// Where a number lies between the ends of a slider, 0 … 1; of a slider over prepared pictures, between their values.
const shareOf = (range, labels, x) => {
  const inside = (share) => Math.min(Math.max(share, 0), 1);
  if (!labels) return inside((x - Number(range.min)) / (Number(range.max) - Number(range.min)));
  const values = labels.map(numberIn);
  if (values.some(Number.isNaN) || values.length < 2) return NaN;
  if (x <= values[0]) return 0;
  const next = values.findIndex((value) => value >= x);
  if (next < 0) return 1;
  return (next - 1 + (x - values[next - 1]) / (values[next] - values[next - 1])) / (values.length - 1);
};

// The slider that a question asks about: the only one, or the first whose name has a word or a sign of the question.
const sliderOf = (form) => {
  const after = (node) => form.compareDocumentPosition(node) & Node.DOCUMENT_POSITION_FOLLOWING;
  const widget = [...document.querySelectorAll(".cfgtoy-widget")].find(after);
  const ranges = widget ? [...widget.querySelectorAll("input[type=range]:not([id$=-progress])")].filter((range) => range.checkVisibility()) : [];
  const question = form.previousElementSibling?.textContent ?? "";
  const words = new Set(question.match(/[\p{L}]+/gu));
  const fits = (range) => (range.labels[0]?.textContent.match(/[\p{L}]+/gu) ?? []).some((word) => (word.length === 1 || word.length > 3) && words.has(word));
  const range = ranges.length === 1 ? ranges[0] : ranges.find(fits);
  const state = widget && document.getElementById(`${widget.id}-state`);
  return range ? { range, labels: state ? JSON.parse(state.textContent).labels : null } : null;
};

// A mark on the slider where the reader's guess lies.
const mark = (form, guess) => {
  const x = numberIn(guess), found = sliderOf(form);
  const share = found && Number.isFinite(x) ? shareOf(found.range, found.labels, x) : NaN;
  if (!Number.isFinite(share)) return;
  const { range } = found, sign = document.createElement("span");
  sign.className = "guess-mark";
  sign.setAttribute("aria-hidden", "true"); // the sentence under the field says it
  sign.textContent = "▲ your guess";
  range.parentElement.classList.add("guess-marked");
  range.after(sign);
  const place = () => {
    const thumb = 16, at = range.offsetLeft + thumb / 2 + share * (range.offsetWidth - thumb);
    sign.style.left = `${at}px`;
    sign.style.top = `${range.offsetTop + range.offsetHeight - 6}px`;
    sign.classList.toggle("guess-mark-left", share > 0.6);
  };
  new ResizeObserver(place).observe(range.parentElement);
  place();
};

const reveal = (form, said) => {
  const answer = answerOf(form);
  form.querySelector(".said").textContent = said + (answer ? " The answer is below the picture." : "");
  form.querySelectorAll("button[type=button]").forEach((button) => button.remove());
  if (answer) answer.hidden = false;
};

// A link to something inside of a folded answer opens it.
const follow = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const answer = target && target.closest(".guess-answer[hidden]");
  if (!answer) return;
  answer.hidden = false;
  target.scrollIntoView();
};

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("form[data-guess]").forEach((form) => {
    const answer = answerOf(form);
    if (answer) answer.hidden = true;
    const skip = form.querySelector("button[type=button]");
    skip.addEventListener("click", () => reveal(form, ""));
    if (!answer) skip.remove();
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const guess = form.querySelector("input").value.trim();
      const said = form.querySelector(".said");
      if (!guess) {
        said.textContent = "Write your guess first.";
        return;
      }
      form.querySelector("button[type=submit]").disabled = true;
      form.querySelector("input").readOnly = true;
      mark(form, guess);
      reveal(form, `You guessed: ${guess}.`);
      if (!answer) said.textContent += " Now try it.";
    });
  });
  follow();
});
window.addEventListener("hashchange", follow);
