// What runs beside the page, so that the page never waits: networks and their samples, by messages.
//
// {look: forced}                                    → {card}: whether there is a graphics card to use, any at all if forced;
//                                                     {card: false} once more when it fails
// {part: sha256, text}                              → nothing yet: the next part of a weight file, in base64
// {load: sha256, bytes or none after parts, webgpu} → {loaded: sha256, kind} or {failed: sha256, message}; webgpu: the script
//                                                     of card.mjs, where the network may go to the card
// {run: id, denoiser: sha256, classifier: sha256, rule, w, compare, y, z, grid, sampler, apart, aside}
//                                                   → {id, step, picture, lam, x, push, by} at each level and {id, done: true}, or
//                                                     {id, message}; all pictures at once, or, `apart`, one after another:
//                                                     first each at the first level, then each at the second, …
//                                                     `aside`: slowly, beside the other runs, which need not wait for it
// {cancel: id}                                      → nothing more of it

import { states } from "../samplers.mjs";
import { guided, network } from "./guided.mjs";
import { fromBase64, sha256 } from "./weights.mjs";

/** Answer the messages that come to `self`. */
export default function serve(self) {
  const networks = new Map(), parts = new Map(), cancelled = new Set(), waiting = [];
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => waiting.shift()();
  const breathe = () => new Promise((go) => { // let messages in
    waiting.push(go);
    port2.postMessage(null);
  });
  let last = Promise.resolve(); // one run at a time, but for those aside
  let device = null, forced = false; // of a graphics card

  self.onmessage = ({ data }) => {
    if ("look" in data) look(data.look);
    else if ("part" in data) parts.set(data.part, [...(parts.get(data.part) ?? []), data.text]);
    else if ("load" in data) load(data);
    else if ("cancel" in data) cancelled.add(data.cancel);
    else if (data.aside) run(data);
    else last = last.then(() => run(data));
  };

  async function look(any) { // software that plays a card is slower than what we have
    forced = any;
    try {
      const adapter = await self.navigator.gpu?.requestAdapter({ powerPreference: "high-performance" });
      if (adapter && (forced || !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter))) device = await adapter.requestDevice();
      device?.lost.then(lost);
    } catch {} // none, then
    self.postMessage({ card: device !== null });
  }

  function lost() {
    device = null;
    self.postMessage({ card: false });
  }

  async function load({ load: key, bytes, webgpu }) {
    const texts = parts.get(key);
    parts.delete(key);
    try {
      bytes ??= joined(texts);
      if (sha256(bytes) !== key) throw new Error("its weights are damaged, their SHA-256 is not the one that was noted");
      let made = network(bytes);
      if (device && webgpu && !made.net.memory.backwards) // a gradient needs the way back, which a card does not go
        made = await onCard(made, bytes, webgpu).catch(() => made);
      networks.set(key, made);
      self.postMessage({ loaded: key, kind: made.net.memory.kind });
    } catch (error) {
      self.postMessage({ failed: key, message: words(error) });
    }
  }

  async function onCard(made, bytes, script) {
    if (!self.cfgtoyQuicker) self.importScripts(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
    return self.cfgtoyQuicker(made, bytes, { network, device, forced, lost });
  }

  async function run({ run: id, denoiser, classifier, grid, sampler, y, z, apart = false, aside, ...how }) {
    try {
      const nets = { denoiser: networks.get(denoiser), classifier: networks.get(classifier) }, size = z.length / y.length;
      const begin = (y, z) => {
        const predict = guided({ ...nets, ...how, y });
        return states(async (...at) => {
          await breathe();
          return cancelled.has(id) ? Promise.reject(cancelled) : predict(...at);
        }, z, grid, sampler);
      };
      const parts = apart ? y.map((one, i) => begin([one], z.slice(i * size, (i + 1) * size))) : [begin(y, z)];
      for (let step = 0; step < grid.length; step++)
        for (const [picture, part] of parts.entries()) {
          const { lam, x, push } = (await part.next()).value;
          self.postMessage({ id, step, picture, lam, x, push, by: nets.denoiser.net.memory.kind });
        }
      self.postMessage({ id, done: true });
    } catch (error) {
      if (error !== cancelled) self.postMessage({ id, message: words(error) });
    }
    cancelled.delete(id);
  }
}

/** The bytes of a file from its parts, which are forgotten on the way: a large one is there twice for a part at a time only. */
function joined(texts) {
  if (texts.length === 1) return fromBase64(texts[0]);
  const bytes = new Uint8Array(texts.reduce((sum, text) => sum + (text.length / 4) * 3 - (text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0), 0));
  for (let at = 0; texts.length; ) {
    const part = fromBase64(texts.shift());
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function words(error) {
  if (error instanceof RangeError) return "this device has not enough memory for the network";
  return error.message;
}
