// A slider over pictures that Python drew beforehand; with a kernel, also over values in between.

let count = 0;

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function render({ model, el }) {
  const id = `cfgtoy-frames-${(count += 1)}-${Math.random().toString(36).slice(2, 7)}`;
  const labels = model.get("labels");
  const alts = model.get("alts");
  const choices = model.get("choices");
  const stride = model.get("stride");
  const step = model.get("live") ? 1 : stride; // in between only where a kernel can draw
  const drawn = { ...model.get("frames") }; // "choice,position": base64, or null for the still image
  const key = (choice, position) => `${choice},${position}`;

  const slider = element("input", {
    type: "range", id, min: 0, max: (labels.length - 1) / step, step: 1,
    "data-lm-suppress-shortcuts": "true", // or JupyterLab takes the arrow keys
  });
  slider.value = model.get("position") / step;
  const output = element("output", { for: id });
  const name = element("label", { for: id });
  name.textContent = model.get("label");
  const controls = element("div", { class: "cfgtoy-controls" },
    element("div", { class: "cfgtoy-slider" }, name, slider, output));
  const radios = choices.map((choice, index) => {
    const radio = element("input", {
      type: "radio", name: `${id}-choice`, value: index, "data-lm-suppress-shortcuts": "true",
    });
    radio.checked = index === model.get("choice");
    return radio;
  });
  if (choices.length > 1) {
    const legend = element("legend");
    legend.textContent = model.get("choice_label");
    controls.append(element("fieldset", { class: "cfgtoy-choices" }, legend,
      ...radios.map((radio, index) => element("label", {}, radio, choices[index]))));
  }
  const picture = element("img", { width: model.get("width") });
  const figure = element("figure", { class: "cfgtoy cfgtoy-frames" }, controls, picture);
  if (model.get("caption")) {
    const caption = element("figcaption");
    caption.textContent = model.get("caption");
    figure.append(caption);
  }

  function draw() {
    const [choice, position] = [model.get("choice"), model.get("position")];
    const ready = key(choice, position) in drawn;
    const nearest = ready ? position : Math.round(position / stride) * stride;
    const frame = drawn[key(choice, nearest)];
    picture.src = frame == null ? model.get("still") : `data:image/png;base64,${frame}`;
    picture.alt = alts[choice][nearest];
    output.textContent = labels[position];
    slider.setAttribute("aria-valuetext", labels[position]);
    figure.setAttribute("aria-busy", String(!ready));
  }

  let timer;
  function moved() {
    const checked = radios.findIndex((radio) => radio.checked);
    model.set("position", Number(slider.value) * step);
    model.set("choice", Math.max(checked, 0));
    draw();
    clearTimeout(timer);
    timer = setTimeout(() => model.save_changes(), 60); // one request for a whole drag
  }
  function followed() {
    slider.value = model.get("position") / step;
    radios.forEach((radio, index) => { radio.checked = index === model.get("choice"); });
    draw();
  }
  function received() {
    Object.assign(drawn, model.get("received"));
    draw();
  }

  slider.addEventListener("input", moved);
  radios.forEach((radio) => radio.addEventListener("change", moved));
  model.on("change:position", followed);
  model.on("change:choice", followed);
  model.on("change:received", received);
  draw();
  el.append(figure);
  return () => {
    clearTimeout(timer);
    model.off("change:position", followed);
    model.off("change:choice", followed);
    model.off("change:received", received);
  };
}

export default { render };
