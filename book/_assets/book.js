// A block that scrolls sideways, of code or a formula, takes the keyboard's focus: its end can be read without a mouse.
const fit = (block) => {
  if (block.scrollWidth > block.clientWidth) block.tabIndex = 0;
  else block.removeAttribute("tabindex");
};
const observer = new ResizeObserver((entries) => entries.forEach(({ target }) => fit(target)));
const observe = (kind) => document.querySelectorAll(kind).forEach((block) => observer.observe(block));

document.addEventListener("DOMContentLoaded", () => observe("pre"));
window.addEventListener("load", () => {
  window.MathJax?.startup?.promise?.then(() => observe('mjx-container[display="true"]'));
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
