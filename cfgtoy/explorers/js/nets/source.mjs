// Where an explorer's networks come from: a file beside the page, or the kernel, which answers other questions too.

import { graphics, ready } from "./engine.mjs";

export class Source {
  /** networks: {name: {files, sha256, bytes, webgpu}}. In a page `model` knows the folder of the files; it is live with a kernel. */
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
  async load(name, where = 0, bring = () => this.bring(name)) {
    const webgpu = where === 0 && (await graphics()) ? (this.card ??= this.code(name).catch(() => null)) : null; // without it, the processor
    return ready(this.networks[name].sha256, bring, where, webgpu);
  }

  /** The same network in up to `count` workers, its file read once: {key, where}, where those that have it; one, on a card. */
  async spread(name, count) {
    let content = null;
    const bring = () => (content ??= this.bring(name));
    if ((await graphics()) && (await this.load(name, 0, bring)).kind === "webgpu" && (await graphics())) count = 1;
    const all = await Promise.allSettled(Array.from({ length: count }, (_, where) => this.load(name, where, bring)));
    const where = [...all.keys()].filter((i) => all[i].status === "fulfilled");
    if (!where.length) throw all[0].reason;
    return { key: all[where[0]].value.key, where };
  }

  async bring(name) {
    if (this.live) {
      const [view] = await this.ask({ weights: name });
      return { bytes: new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice() };
    }
    const texts = [];
    for (const file of this.networks[name].files) texts.push(await this.fromFolder(file));
    return { texts };
  }

  /** The script of card.mjs. */
  async code(name) {
    if (!this.live) return this.fromFolder(this.networks[name].webgpu);
    const [view] = await this.ask({ webgpu: true });
    return new TextDecoder().decode(view);
  }

  fromFolder(file) {
    const folder = this.model.get("folder");
    if (!folder?.endsWith("/")) throw new Error("its weights are not with this page");
    return fromScript(folder, file);
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
