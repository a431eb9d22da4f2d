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
