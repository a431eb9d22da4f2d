// The page's side of the networks: weights that come when they are wanted, one worker for all explorers, and runs in it.

import source from "./worker.mjs?worker";

let worker = null, count = 0;
const loads = new Map(); // SHA-256 of weights → {promise, resolve, reject}
const runs = new Map(); // id → {step, end}

function start() {
  if (worker) return worker;
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  worker = new Worker(address);
  worker.onmessage = ({ data }) => {
    if ("loaded" in data) loads.get(data.loaded).resolve(data.kind);
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
    for (const { reject } of loads.values()) reject(new Error(message));
    for (const { end } of runs.values()) end(message);
    loads.clear();
    runs.clear();
    worker = null;
  };
  return worker;
}

/**
 * Have a network ready in the worker. bring(): a promise of its weight file, {text} in base64 or {bytes}. Resolves to
 * {key, kind}, kind "wasm" or "js"; rejects with an Error whose message is a clause of a sentence. What failed can be tried
 * again.
 */
export function ready(sha256, bring) {
  if (!loads.has(sha256)) {
    const load = {};
    load.promise = new Promise((resolve, reject) => Object.assign(load, { resolve, reject }));
    load.promise.catch(() => loads.delete(sha256));
    loads.set(sha256, load);
    bring().then((content) => start().postMessage({ load: sha256, ...content })).catch(load.reject);
  }
  return loads.get(sha256).promise.then((kind) => ({ key: sha256, kind }));
}

/**
 * Draw samples: see worker.mjs for `job`. step({step, lam, x, push}) is called at each level, end(message or null) once.
 * Returns a function that cancels the run; after that neither is called.
 */
export function run(job, { step, end }) {
  const id = ++count;
  runs.set(id, { step, end });
  start().postMessage({ run: id, ...job });
  return () => {
    if (runs.delete(id)) worker?.postMessage({ cancel: id });
  };
}

/** Weights as a script of their own, which a page from disk may load too. It leaves their text in `__cfgtoyWeights`. */
export function fromScript(address, file) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    const fail = (what) => reject(new Error(`the weights (${file}) ${what}`));
    script.src = `${address}${file}`;
    script.onload = () => {
      const all = globalThis.__cfgtoyWeights ?? {}, text = all[file];
      delete all[file];
      script.remove();
      text ? resolve({ text }) : fail("are damaged: the file holds something else");
    };
    script.onerror = () => fail("are not where this page looks for them");
    document.head.append(script);
  });
}
