// Folds the answer to a question until the reader has guessed, or does not want to.
const answerOf = (form) => document.getElementById(`${form.dataset.guess}-answer`);

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
      reveal(form, `You guessed: ${guess}.`);
      if (!answer) said.textContent += " Now try it.";
    });
  });
  follow();
});
window.addEventListener("hashchange", follow);
