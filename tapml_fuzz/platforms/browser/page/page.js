// Runs operators that TVM compiled to WebAssembly and WGSL, by tvmjs, as `tvm_webgpu_browser.py` asks.
//
// A message either way is the length of a JSON header (u32, little-endian), the header, and raw bytes. Requests:
//   {op: "load", build, functions} + wasm        -> {} | {rejected} | {fault, lost}
//   {op: "run", build, storages, calls, outputs} + the storages' bytes -> {} + the outputs' bytes | {fault, lost}
//   {op: "drop", build}                          -> {}
// `fault` is anything that went wrong on the way: a result that comes with one is never sent.

"use strict";

const SCOPES = ["validation", "out-of-memory", "internal"];
const operators = new Map(); // by build
const said = []; // on the console, since the request began

// tvmjs and the wasm runtime report on the console what they do not throw.
for (const level of ["error", "warn"]) {
  console[level] = (...parts) => said.push(parts.map(text).join(" "));
}

function text(thing) {
  if (thing === null || typeof thing !== "object") return String(thing);
  if (thing.error) return text(thing.error); // an event
  const kind = thing.constructor ? thing.constructor.name : "object";
  const message = thing.message ?? thing.reason ?? thing.status ?? "";
  return `${thing.name ?? kind}: ${message}`;
}

/** A loaded operator: the wasm instance, its functions and the device that it alone uses. */
class Operator {
  constructor(device) {
    this.device = device;
    this.faults = [];
    this.lost = null;
    this.modules = [];
    device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      this.faults.push(text(event.error));
    });
    device.lost.then((info) => {
      this.lost = info;
      this.faults.push(`device lost: ${info.reason} ${info.message}`);
    });
    const create = device.createShaderModule.bind(device);
    device.createShaderModule = (descriptor) => {
      const module = create(descriptor);
      this.modules.push(module);
      return module;
    };
  }

  /** Instantiate, and compile every shader, as an application does when it loads a model. */
  async load(wasm, functions) {
    this.instance = await tvmjs.instantiate(wasm, tvmjs.createPolyfillWASI(), () => {});
    this.instance.initWebGPU(this.device);
    this.instance.beginScope();
    const library = this.instance.systemLib();
    await this.instance.asyncLoadWebGPUPipelines(library);
    this.functions = {};
    for (const name of functions) {
      this.functions[name] = this.instance.detachFromCurrentScope(library.getFunction(name));
    }
    this.instance.endScope();
  }

  /** What WGSL's compiler says against the shaders. */
  async complaints() {
    const infos = await Promise.all(this.modules.map((module) => module.getCompilationInfo()));
    this.modules.length = 0;
    const errors = infos.flatMap((info) => info.messages).filter((message) => message.type === "error");
    return errors.map((message) => `${message.lineNum}:${message.linePos}: ${message.message}`);
  }

  async run({ storages, calls, outputs }, payload) {
    const { instance } = this;
    const gpu = instance.webgpu(0);
    instance.beginScope();
    const tensors = new Map();
    let offset = 0;
    for (const [storage, dtype, shape, size] of storages) {
      const tensor = instance.empty(shape, dtype, gpu);
      if (size > 0) tensor.copyFromRawBytes(payload.subarray(offset, offset + size));
      tensors.set(storage, tensor);
      offset += size;
    }
    const seen = (storage, shape) => tensors.get(storage).view(shape);
    for (const [name, values] of calls) {
      const values_of = ([kind, value, shape]) =>
        kind === "tensor" ? seen(value, shape) : instance.scalar(value, kind === "int" ? "int64" : "float64");
      this.functions[name](...values.map(values_of));
    }
    const copies = outputs.map(([storage, dtype, shape]) => {
      const copy = instance.empty(shape, dtype, instance.cpu());
      return copy.copyFrom(seen(storage, shape));
    });
    await gpu.sync();
    const results = copies.map((copy) => copy.toRawBytes().slice());
    instance.endScope();
    return results;
  }

  /** What tvmjs's own `dispose` does, save that it calls into wasm, which cannot be called again after a trap. */
  async dispose() {
    if (this.instance) this.instance.deviceLostIsError = false;
    this.device.destroy();
    await this.device.lost;
    said.length = 0; // not the next request's
  }
}

/** What came of `work` on `operator`, with everything that the GPU, tvmjs or wasm found wrong meanwhile. */
async function watched(operator, work) {
  const faults = [];
  let results = [];
  for (const scope of SCOPES) operator.device.pushErrorScope(scope);
  try {
    results = await work();
  } catch (error) {
    const trapped = error instanceof WebAssembly.RuntimeError || error?.name === "ExitStatus";
    faults.push(trapped ? `wasm trap: ${text(error)}` : text(error));
  }
  try {
    const captured = await Promise.all(SCOPES.map(() => operator.device.popErrorScope()));
    faults.unshift(...captured.filter((error) => error !== null).map(text));
    await operator.device.queue.onSubmittedWorkDone();
  } catch (error) {
    faults.push(text(error));
  }
  faults.push(...said.splice(0), ...operator.faults.splice(0));
  return { faults, results };
}

/** A device as tvmjs asks for it. */
async function newDevice() {
  const found = await tvmjs.detectGPUDevice();
  if (found === undefined) throw new Error("this browser has no WebGPU");
  return found;
}

async function load({ build, functions }, payload) {
  const { device } = await newDevice();
  said.length = 0;
  const operator = new Operator(device);
  const { faults } = await watched(operator, () => operator.load(payload, functions));
  const complaints = operator.lost ? [] : await operator.complaints();
  if (complaints.length > 0 || faults.length > 0) {
    await operator.dispose();
    const lost = operator.lost !== null;
    return [complaints.length > 0 ? { rejected: complaints.join("; ") } : { fault: faults.join("; "), lost }, []];
  }
  operators.set(build, operator);
  return [{}, []];
}

async function run(header, payload) {
  const operator = operators.get(header.build);
  said.length = 0;
  const { faults, results } = await watched(operator, () => operator.run(header, payload));
  if (faults.length === 0) return [{}, results];
  operators.delete(header.build);
  // tvmjs destroys the device when it cannot make a buffer: that costs the operator; a device lost, the browser.
  const lost = operator.lost !== null && operator.lost.reason !== "destroyed";
  await operator.dispose();
  return [{ fault: faults.join("; "), lost }, []];
}

async function drop({ build }) {
  await operators.get(build)?.dispose();
  operators.delete(build);
  return [{}, []];
}

function encoded(header, parts) {
  const head = new TextEncoder().encode(JSON.stringify(header));
  const message = new Uint8Array(4 + head.length + parts.reduce((sum, part) => sum + part.length, 0));
  new DataView(message.buffer).setUint32(0, head.length, true);
  let offset = 4;
  for (const part of [head, ...parts]) {
    message.set(part, offset);
    offset += part.length;
  }
  return message;
}

function decoded(buffer) {
  const end = 4 + new DataView(buffer).getUint32(0, true);
  return [JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, end - 4))), new Uint8Array(buffer, end)];
}

async function hello() {
  const { adapterInfo, device } = await newDevice();
  const brands = await navigator.userAgentData.getHighEntropyValues(["fullVersionList"]);
  const chromium = brands.fullVersionList.find((brand) => brand.brand === "Chromium");
  const limit = device.limits.maxStorageBufferBindingSize;
  device.destroy();
  return { browser: chromium.version, adapter: `${adapterInfo.vendor} ${adapterInfo.architecture}`, limit };
}

const handlers = { load, run, drop };
const socket = new WebSocket(new URL("socket", location.href.replace(/^http/, "ws")));
socket.binaryType = "arraybuffer";
const answer = async (work) => {
  try {
    socket.send(encoded(...(await work())));
  } catch (error) {
    socket.send(encoded({ fault: text(error), lost: true }, []));
  }
};
socket.onopen = () => answer(async () => [await hello(), []]);
socket.onmessage = ({ data }) =>
  answer(() => {
    const [header, payload] = decoded(data);
    return handlers[header.op](header, payload);
  });
