// A code block that scrolls sideways takes the keyboard's focus, so that its end can be read without a mouse.
const fit = (block) => {
  if (block.scrollWidth > block.clientWidth + 1) block.tabIndex = 0;
  else block.removeAttribute("tabindex");
};

document.addEventListener("DOMContentLoaded", () => {
  const observer = new ResizeObserver((entries) => entries.forEach(({ target }) => fit(target)));
  document.querySelectorAll("pre").forEach((block) => observer.observe(block));
});
