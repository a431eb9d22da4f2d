// Where an explorer's networks come from: a file beside the page, or the kernel, which answers other questions too.

import { ready } from "./engine.mjs";

export class Source {
  /** networks: {name: {files, sha256, bytes}}. In a page `model` knows the folder of the files; it is live with a kernel. */
  constructor(model, networks) {
    Object.assign(this, { model, networks, live: model.get("live") });
    this.asked = new Map(); // questions to the kernel, by number
    this.heard = (message, buffers) => this.asked.get(message.id)?.(message, buffers);
    if (this.live) model.on("msg:custom", this.heard);
  }

  stop() {
    if (this.live) this.model.off("msg:custom", this.heard);
  }

  /** A network, ready in a worker: {key, kind} as `ready` has it. */
  load(name, where = 0, bring = () => this.bring(name)) {
    return ready(this.networks[name].sha256, bring, where);
  }

  /** The same network in up to `count` workers, its file read once: {key, kind, where}, where those that have it. */
  async spread(name, count) {
    let content = null;
    const bring = () => (content ??= this.bring(name));
    const all = await Promise.allSettled(Array.from({ length: count }, (_, where) => this.load(name, where, bring)));
    const where = [...all.keys()].filter((i) => all[i].status === "fulfilled");
    if (!where.length) throw all[0].reason;
    return { ...all[where[0]].value, where };
  }

  async bring(name) {
    if (this.live) {
      const [view] = await this.ask({ weights: name });
      return { bytes: new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice() };
    }
    const folder = this.model.get("folder");
    if (!folder?.endsWith("/")) throw new Error("its weights are not with this page");
    const texts = [];
    for (const file of this.networks[name].files) texts.push(await fromScript(folder, file));
    return { texts };
  }

  /** A question to the kernel: resolves to the numbers that answer it. */
  ask(question) {
    const id = crypto.getRandomValues(new Uint32Array(1))[0];
    return new Promise((resolve, reject) => {
      this.asked.set(id, ({ message }, buffers) => {
        this.asked.delete(id);
        message ? reject(new Error(message)) : resolve(buffers);
      });
      this.model.send({ id, ...question });
    });
  }

  /** The same, the answer as one array. */
  async numbers(question) {
    const [view] = await this.ask(question);
    return new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
  }
}

/** Weights as a script of their own, or a part of them, which a page from disk may load too. It leaves their text in `__cfgtoyWeights`. */
function fromScript(address, file) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    const fail = (what) => reject(new Error(`the weights (${file}) ${what}`));
    script.src = `${address}${file}`;
    script.onload = () => {
      const all = globalThis.__cfgtoyWeights ?? {}, text = all[file];
      delete all[file];
      script.remove();
      text ? resolve(text) : fail("are damaged: the file holds something else");
    };
    script.onerror = () => fail("are not where this page looks for them");
    document.head.append(script);
  });
}
