// The page's stand-in for a widget's model: the same get, set and on, over a plain object, with no kernel.

export function createModel(state) {
  const values = { ...state };
  const listeners = new Map();
  const fire = (event) => {
    for (const listener of [...(listeners.get(event) ?? [])]) listener();
  };
  const set = (name, value) => {
    if (Object.is(values[name], value)) return;
    values[name] = value;
    fire(`change:${name}`);
    fire("change");
  };
  const on = (events, listener) => {
    for (const event of events.split(/\s+/)) {
      if (!listeners.has(event)) listeners.set(event, new Set());
      listeners.get(event).add(listener);
    }
  };
  const off = (events, listener) => {
    if (events == null) return listeners.clear();
    for (const event of events.split(/\s+/)) {
      if (listener == null) listeners.delete(event);
      else listeners.get(event)?.delete(listener);
    }
  };
  return { get: (name) => values[name], set, on, off, save_changes() {}, send() {} };
}

// Replace the still image in the container by the running widget. `still` hands the image's address on, `folder` that of
// the networks' weights.
export async function mount(id, key) {
  const container = document.getElementById(id);
  const state = JSON.parse(document.getElementById(`${id}-state`).textContent);
  const image = container.querySelector("img");
  const model = createModel({ ...state, still: image?.getAttribute("src") ?? null, folder: container.dataset.weights ?? null });
  const widget = globalThis.__cfgtoy[key].default;
  const el = document.createElement("div");
  await widget.initialize?.({ model });
  await widget.render({ model, el });
  container.replaceChildren(el);
  container.dataset.ready = "true";
}
