// A small assembler: WebAssembly's text format, as far as kernels.mjs needs it, to the bytes a browser compiles.
//
// Understood: functions with parameters and locals, one imported memory, folded instructions (an operator before its
// operands), `loop`, `if` with `then`, and the operators named below.
// Source: WebAssembly Core Specification 2.0, chapters 5 (binary format) and 6 (text format).

const TYPES = { i32: 0x7f, v128: 0x7b };
const BLOCKS = { loop: 0x03, if: 0x04 };
const LOCALS = { "local.get": 0x20, "local.set": 0x21 };
const BRANCHES = { br_if: 0x0d };
const VECTOR = 0xfd; // the prefix of all operators on vectors
const OPERATORS = {
  "i32.eqz": [0x45], "i32.lt_u": [0x49], "i32.add": [0x6a], "i32.sub": [0x6b], "i32.shl": [0x74],
  "f32x4.add": [VECTOR, 0xe4], "f32x4.mul": [VECTOR, 0xe6],
};
const MEMORY = { "v128.load": [VECTOR, 0x00], "v128.load32_splat": [VECTOR, 0x09], "v128.store": [VECTOR, 0x0b] };

/** The bytes of a module that imports `env.memory` and exports every function of `text` under its name. */
export function assemble(text) {
  const functions = parse(text).map(compile);
  const signatures = functions.map(({ type }) => type);
  const section = (id, items) => [id, ...sized([...unsigned(items.length), ...items.flat()])];
  const memory = [...name("env"), ...name("memory"), 0x02, 0x00, 0x00];
  return Uint8Array.from([
    0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00,
    ...section(1, signatures),
    ...section(2, [memory]),
    ...section(3, functions.map((_, i) => unsigned(i))),
    ...section(7, functions.map((f, i) => [...name(f.name), 0x00, ...unsigned(i)])),
    ...section(10, functions.map(({ body }) => sized(body))),
  ]);
}

/** Text to lists of lists: "(a (b 1))" → [["a", ["b", "1"]]]. */
function parse(text) {
  const top = [], open = [top];
  for (const [token] of text.replace(/;;.*/g, "").matchAll(/[()]|[^\s()]+/g)) {
    if (token === "(") open.push([]);
    else if (token === ")") {
      const done = open.pop();
      open.at(-1).push(done);
    } else open.at(-1).push(token);
  }
  if (open.length !== 1) throw new Error("assemble: a bracket is not closed");
  return top;
}

/** One `(func $name (param $a i32) … (local $b v128) … instruction …)`. */
function compile([, title, ...parts]) {
  const names = new Map(), labels = [], params = [], locals = [], code = [];
  for (const part of parts) {
    if (part[0] === "param" || part[0] === "local") {
      names.set(part[1], names.size);
      (part[0] === "param" ? params : locals).push(TYPES[part[2]]);
    } else emit(part);
  }
  return {
    name: title.slice(1),
    type: [0x60, ...unsigned(params.length), ...params, 0],
    body: [...unsigned(locals.length), ...locals.flatMap((type) => [1, type]), ...code, 0x0b],
  };

  function emit([operator, ...rest]) {
    const word = () => (typeof rest[0] === "string" ? rest.shift() : null); // a name, a number or an offset
    if (operator in BLOCKS) {
      labels.push(word());
      if (operator === "if") emit(rest.shift());
      code.push(BLOCKS[operator], 0x40);
      (operator === "if" ? rest[0].slice(1) : rest).forEach(emit); // of an `if`: what is in its `then`
      code.push(0x0b);
      labels.pop();
    } else if (operator in LOCALS) {
      const local = word();
      if (!names.has(local)) throw new Error(`assemble: ${title} has no local ${local}`);
      rest.forEach(emit);
      code.push(LOCALS[operator], ...unsigned(names.get(local)));
    } else if (operator in BRANCHES) {
      const label = word();
      rest.forEach(emit);
      code.push(BRANCHES[operator], ...unsigned(labels.length - 1 - labels.lastIndexOf(label)));
    } else if (operator in MEMORY) {
      const offset = word()?.slice("offset=".length) ?? 0;
      rest.forEach(emit);
      code.push(...MEMORY[operator], 2, ...unsigned(Number(offset))); // 2: aligned to 2² bytes
    } else if (operator in OPERATORS) {
      const [first, ...more] = OPERATORS[operator];
      rest.forEach(emit);
      code.push(first, ...more.flatMap(unsigned));
    } else if (operator === "i32.const") code.push(0x41, ...unsigned(Number(word()))); // below 64 the sign makes no difference
    else throw new Error(`assemble: ${operator} is no operator known here`);
  }
}

const sized = (bytes) => [...unsigned(bytes.length), ...bytes];
const name = (text) => sized([...new TextEncoder().encode(text)]);

/** LEB128, seven bits a byte. */
function unsigned(n) {
  const out = [];
  for (; n > 127; n >>>= 7) out.push((n & 127) | 128);
  return [...out, n];
}
