// The page's side of the networks: weights that come when they are wanted, workers for all explorers, and runs in them.

import source from "./worker.mjs?worker";

const workers = []; // each {worker, loads: SHA-256 of weights → {promise, resolve, reject}, runs: id → {step, end}}
let count = 0;
let card; // a promise: whether the first worker has a graphics card to use

/** How many workers this device has room for: one a core, up to four. */
export const room = () => Math.min(Math.max(navigator.hardwareConcurrency || 1, 1), 4);

/**
 * Whether networks may go to a graphics card, all in the first worker. `__cfgtoyWebGPU` in the page decides instead: true takes
 * software that plays a card as well, false takes none.
 */
export async function graphics() {
  const forced = globalThis.__cfgtoyWebGPU;
  if (!navigator.gpu || forced === false) return false;
  if (!card) {
    const { worker, looked } = start(0);
    card = looked;
    worker.postMessage({ look: Boolean(forced) });
  }
  return card;
}

function start(where) {
  return (workers[where] ??= begin(where));
}

function begin(where) {
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(address), loads = new Map(), runs = new Map();
  let found;
  const looked = new Promise((go) => { found = go; });
  worker.onmessage = ({ data }) => {
    if ("card" in data) {
      found(data.card);
      card = Promise.resolve(data.card);
    } else if ("loaded" in data) loads.get(data.loaded).resolve(data.kind);
    else if ("failed" in data) loads.get(data.failed).reject(new Error(data.message));
    else {
      const run = runs.get(data.id);
      if (!run) return; // cancelled
      if ("step" in data) return run.step(data);
      runs.delete(data.id);
      run.end(data.message ?? null);
    }
  };
  worker.onerror = (event) => {
    event.preventDefault();
    const message = "the browser stopped the network’s worker";
    delete workers[where];
    found(false);
    for (const { reject } of loads.values()) reject(new Error(message));
    for (const { end } of runs.values()) end(message);
  };
  return { worker, loads, runs, looked };
}

/**
 * Have a network ready in a worker, the first where nothing is said. bring(): a promise of its weight file, {texts}, parts in
 * base64, or {bytes}. webgpu: a promise of card.mjs as a script, or null. Resolves to {key, kind}, kind "webgpu", "wasm" or "js"; rejects with an Error whose message is a clause of a
 * sentence. What failed can be tried again.
 */
export async function ready(sha256, bring, where = 0, webgpu = null) {
  const { loads, worker } = start(where);
  if (!loads.has(sha256)) {
    const load = {};
    load.promise = new Promise((resolve, reject) => Object.assign(load, { resolve, reject }));
    load.promise.catch(() => loads.delete(sha256));
    loads.set(sha256, load);
    bring().then(async ({ texts = [], ...content }) => {
      for (const [i, text] of texts.entries()) {
        if (i) await new Promise((go) => setTimeout(go)); // copying a large part takes a task of the page's own
        worker.postMessage({ part: sha256, text });
      }
      worker.postMessage({ load: sha256, webgpu: await webgpu, ...content });
    }).catch(load.reject);
  }
  return { key: sha256, kind: await loads.get(sha256).promise };
}

/**
 * Draw samples: see worker.mjs for `job`. step({step, picture, lam, x, push, by}) is called at each level. Resolves at the end,
 * or as soon as `signal` ends it; rejects with an Error whose message is a clause of a sentence.
 */
export function run(job, signal, step, where = 0) {
  const id = ++count, { worker, runs } = start(where);
  return new Promise((resolve, reject) => {
    if (signal.aborted) return resolve();
    runs.set(id, { step, end: (message) => (message ? reject(new Error(message)) : resolve()) });
    worker.postMessage({ run: id, ...job });
    signal.addEventListener("abort", () => {
      if (runs.delete(id)) worker.postMessage({ cancel: id });
      resolve();
    });
  });
}
