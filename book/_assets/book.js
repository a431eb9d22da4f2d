// A block that scrolls sideways, of code or a formula, takes the keyboard's focus: its end can be read without a mouse.
const fit = (block) => {
  if (block.scrollWidth > block.clientWidth) block.tabIndex = 0;
  else block.removeAttribute("tabindex");
};
const observer = new ResizeObserver((entries) => entries.forEach(({ target }) => fit(target)));
const observe = (kind) => document.querySelectorAll(kind).forEach((block) => observer.observe(block));

document.addEventListener("DOMContentLoaded", () => observe("pre"));
// A formula wider than its column is set smaller, down to three quarters; what is wider still scrolls in its own box.
const SMALLEST = 0.75;
const fitFormula = (box) => {
  box.style.fontSize = box.dataset.size ??= box.style.fontSize;
  const share = box.clientWidth / box.scrollWidth;
  if (box.clientWidth && share < 1) box.style.fontSize = `calc(${box.dataset.size || "100%"} * ${Math.max(0.985 * share, SMALLEST)})`;
  fit(box);
};
const inLine = (box) => {
  box.classList.remove("too-wide");
  const room = box.parentElement.closest("p, li, td, dd, figcaption, div")?.clientWidth;
  box.classList.toggle("too-wide", room > 0 && box.getBoundingClientRect().width > room);
  fit(box);
};
const fitFormulas = () => {
  document.querySelectorAll('mjx-container[display="true"]').forEach(fitFormula);
  document.querySelectorAll('article mjx-container:not([display="true"])').forEach(inLine);
};

window.addEventListener("load", () => {
  window.MathJax?.startup?.promise?.then(() => {
    const article = document.querySelector("article");
    let width = article.clientWidth;
    fitFormulas();
    // The column's width and not the window's: after that one is new, a sidebar still slides in or out.
    new ResizeObserver(() => {
      if (article.clientWidth !== width) requestAnimationFrame(fitFormulas);
      width = article.clientWidth;
    }).observe(article);
    document.addEventListener("click", () => requestAnimationFrame(fitFormulas)); // a fold may have opened
  });
});

// A table of the class "sortable": a click on a heading sorts by that column, a second one the other way round.
const sortable = (table) => {
  table.querySelectorAll("thead th").forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const rising = head.ariaSort !== "ascending";
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      head.ariaSort = rising ? "ascending" : "descending";
      const text = (row) => row.cells[column].textContent;
      const order = (a, b) => text(a).localeCompare(text(b), "en", { numeric: true });
      const rows = [...table.tBodies[0].rows].sort((a, b) => (rising ? order(a, b) : order(b, a)));
      table.tBodies[0].append(...rows);
    });
  });
};
document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("table.sortable").forEach(sortable));
