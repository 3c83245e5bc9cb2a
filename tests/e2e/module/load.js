// Loads the filter and then a contract, in a host that plays only what loading asks for; prints how long each took.
const { readFileSync } = require("node:fs");
const [, filter, contract, variable, secret] = process.argv;

const configuration = readFileSync(contract);
let exports;
const view = () => new DataView(exports.memory.buffer);
const bytes = (at, count) => new Uint8Array(exports.memory.buffer, at, count);
const said = [];

const plays = {
  proxy_get_buffer_bytes(_buffer, _start, _count, data, size) {
    const at = exports.proxy_on_memory_allocate(configuration.length);
    bytes(at, configuration.length).set(configuration);
    view().setUint32(data, at, true);
    view().setUint32(size, configuration.length, true);
    return 0;
  },
  proxy_log: (_level, at, count) => (said.push(Buffer.from(bytes(at, count)).toString()), 0),
  proxy_set_tick_period_milliseconds: () => 0,
  random_get: (at, count) => (bytes(at, count).fill(7), 0),
  environ_sizes_get(count, size) {
    view().setUint32(count, 1, true);
    view().setUint32(size, variable.length + secret.length + 2, true);
    return 0;
  },
  environ_get(pointers, text) {
    view().setUint32(pointers, text, true);
    bytes(text, variable.length + secret.length + 2).set(Buffer.from(`${variable}=${secret}\0`));
    return 0;
  },
};

const begun = performance.now();
const module_ = new WebAssembly.Module(readFileSync(filter));
const imports = {};
for (const { module: room, name } of WebAssembly.Module.imports(module_)) {
  (imports[room] ??= {})[name] = plays[name] ?? (() => { throw new Error(`this host does not play ${name}`); });
}
exports = new WebAssembly.Instance(module_, imports).exports;
exports._initialize();
exports.proxy_on_context_create(1, 0);
exports.proxy_on_vm_start(1, 0);
const started = performance.now();
const taken = exports.proxy_on_configure(1, configuration.length);
const loaded = performance.now();
if (!taken) throw new Error(said.join("\n"));
const memory = exports.memory.buffer.byteLength;
console.log(JSON.stringify({ start_ms: started - begun, configure_ms: loaded - started, memory_bytes: memory }));
