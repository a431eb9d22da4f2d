// Images on the page: small canvases, their pixels enlarged by the style sheet, and a sheet of them to save.

import { make } from "../ui.mjs";

/** Pixels of one image, channels × height × width numbers in [−1, 1] at `from`, as the browser takes them. */
export function pixels(values, from, [channels, height, width]) {
  const image = new ImageData(width, height), each = height * width;
  for (let p = 0; p < each; p++) {
    for (let k = 0; k < 3; k++) image.data[4 * p + k] = 127.5 * (1 + values[from + (channels > 1 ? k : 0) * each + p]);
    image.data[4 * p + 3] = 255;
  }
  return image;
}

export function picture([, height, width]) {
  return make("canvas", { width, height, className: "cx-pixels", "aria-hidden": "true" });
}

export const paint = (canvas, image) => canvas.getContext("2d").putImageData(image, 0, 0);

/** Rows of canvases side by side in one PNG, which the browser saves. */
export function save(rows, name, scale = 16) {
  const { width, height } = rows[0][0], sheet = make("canvas", { width: scale * width * rows[0].length, height: scale * height * rows.length });
  const ctx = sheet.getContext("2d");
  ctx.imageSmoothingEnabled = false;
  rows.forEach((row, y) => row.forEach((canvas, x) =>
    ctx.drawImage(canvas, scale * width * x, scale * height * y, scale * width, scale * height)));
  make("a", { href: sheet.toDataURL("image/png"), download: `${name}.png` }).click();
}
