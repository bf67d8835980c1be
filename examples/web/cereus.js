// The npm package cereus-client: built from client/web by client/web/build.

// src/errors.ts
var ServerError = class extends Error {
  name = "ServerError";
  code;
  /** The server's text. */
  msg;
  metadata;
  route;
  /** The error as it came. */
  body;
  constructor(route, body, { code, msg, metadata }) {
    super(msg || code);
    this.code = code;
    this.msg = msg;
    this.metadata = metadata;
    this.route = route;
    this.body = body;
  }
};
var ClientError = class extends Error {
  name = "ClientError";
  code;
  /** How the connection ended, if that is why. */
  ending;
  constructor(code, message, ending) {
    super(message);
    this.code = code;
    this.ending = ending;
  }
};
var errorOf = (ending) => new ClientError(ending.code, ending.message, ending);

// src/call.ts
var Call = class {
  route;
  answer;
  /** When it was sent. */
  since = performance.now();
  /** What whoever keeps it has to do when it ends. */
  forget = () => {
  };
  #signal;
  #abort = () => this.reject(this.#signal?.reason);
  #timer;
  #resolve;
  #reject;
  constructor(route, timeout, signal) {
    this.route = route;
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    if (timeout < 2 ** 31) {
      const late = new ClientError("timeout", `no answer to ${route} within ${timeout} ms`);
      this.#timer = setTimeout(() => this.reject(late), timeout);
    }
    this.#signal = signal;
    signal?.addEventListener("abort", this.#abort);
  }
  resolve(value) {
    this.#end();
    this.#resolve(value);
  }
  reject(error) {
    this.#end();
    this.#reject(error);
  }
  #end() {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#abort);
    this.forget();
  }
};

// src/codec.ts
var utf8 = new TextEncoder();
var text = new TextDecoder();
var encodeText = (value) => utf8.encode(value);
var decodeText = (bytes) => text.decode(bytes);
var json = {
  encode: (_, value = {}) => encodeText(JSON.stringify(value)),
  decode: (_, bytes) => bytes.length ? JSON.parse(decodeText(bytes)) : void 0
};
var raw = {
  encode(route, value = new Uint8Array()) {
    if (value instanceof Uint8Array) return value;
    throw new TypeError(`the body for ${route} is no Uint8Array`);
  },
  decode: (_, bytes) => bytes
};
function decodeError(bytes, serializer) {
  try {
    const read2 = serializer.startsWith("proto") ? readProtobuf(bytes) : JSON.parse(decodeText(bytes));
    const { code = "", msg = "", metadata } = read2;
    return { code: String(code), msg: String(msg), metadata: Object(metadata) };
  } catch {
    return { code: "", msg: "the server answered with an error that cannot be read", metadata: {} };
  }
}
function readProtobuf(bytes) {
  const fields = readStrings(bytes);
  const metadata = {};
  for (const entry of fields[3] ?? []) {
    const { 1: key, 2: value } = readStrings(entry);
    Object.defineProperty(metadata, last(key), { value: last(value), enumerable: true, configurable: true });
  }
  return { code: last(fields[1]), msg: last(fields[2]), metadata };
}
var last = (values = []) => decodeText(values.at(-1) ?? new Uint8Array());
function readStrings(bytes) {
  const fields = {};
  let at = 0;
  const varint = () => {
    for (let value = 0, unit = 1; unit <= 2 ** 28; unit *= 128) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 127) * unit;
      if (byte < 128) return value;
    }
    throw new RangeError("a number is too long");
  };
  while (at < bytes.length) {
    const tag = varint();
    if ((tag & 7) !== 2) throw new TypeError("neither a string nor a message");
    const length = varint();
    (fields[tag >> 3] ??= []).push(bytes.subarray(at, at += length));
  }
  return fields;
}

// src/wire.ts
var endCodes = ["lost", "closed", "kicked", "refused", "timeout", "silent", "protocol"];
var Wire = class {
  #exports;
  #bridge;
  constructor(instance) {
    this.#exports = instance.exports;
    this.#bridge = this.#exports.create();
  }
  /** Returns whether the settings make sense. */
  open(handshake, settings, now) {
    this.#write(encodeText(JSON.stringify(handshake)));
    const { compress, connectTimeout, maxRequests, maxQueuedBytes, maxMessageBytes } = settings;
    const limits = [Number(compress), connectTimeout, maxRequests, maxQueuedBytes, maxMessageBytes];
    return this.#exports.open(this.#bridge, now, ...limits) !== 0;
  }
  input(bytes, now) {
    this.#write(bytes);
    this.#exports.input(this.#bridge, now);
  }
  eof(now) {
    this.#exports.eof(this.#bridge, now);
  }
  timeout(now) {
    this.#exports.timeout(this.#bridge, now);
  }
  close(now) {
    this.#exports.close(this.#bridge, now);
  }
  /** Returns the id; a negative number is a refusal. */
  request(route, body) {
    this.#write(route, body);
    return this.#exports.request(this.#bridge, route.length);
  }
  /** Returns 0; a negative number is a refusal. */
  notify(route, body) {
    this.#write(route, body);
    return this.#exports.notify(this.#bridge, route.length);
  }
  cancel(id) {
    this.#exports.cancel(this.#bridge, id);
  }
  /** The next packet to send. */
  nextPacket() {
    return this.#exports.transmit(this.#bridge) ? this.#read(0 /* Packet */) : void 0;
  }
  nextEvent() {
    const kind = this.#exports.event(this.#bridge);
    if (kind === 0 /* None */) return void 0;
    const number = this.#exports.number(this.#bridge);
    return { kind, number, text: decodeText(this.#read(1 /* Text */)), body: this.#read(2 /* Body */) };
  }
  /** When `timeout` is due; infinity for never. */
  deadline() {
    return this.#exports.deadline(this.#bridge);
  }
  #write(...parts) {
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    let at = this.#exports.argument(this.#bridge, length);
    const memory = new Uint8Array(this.#exports.memory.buffer);
    for (const part of parts) {
      memory.set(part, at);
      at += part.length;
    }
  }
  /** A copy: the next call may move what is there. */
  #read(which) {
    const length = this.#exports.part_len(this.#bridge, which);
    const at = this.#exports.part(this.#bridge, which);
    return new Uint8Array(this.#exports.memory.buffer).slice(at, at + length);
  }
};

// src/connection.ts
var MAX_IN_SOCKET = 64 << 10;
var LOOK_AGAIN = 20;
var MAX_READ = 64 << 10;
var MAX_DELAY = 2 ** 31 - 1;
var OPEN = 1;
var Connection = class {
  #wire;
  #listener;
  #socket;
  #timer;
  #due = Infinity;
  #kick;
  #wasOpen = false;
  #ended = false;
  constructor(url, instance, settings, listener) {
    this.#wire = new Wire(instance);
    this.#listener = listener;
    const { user, platform, clientVersion, clientBuildNumber, libVersion } = settings;
    const handshake = { sys: { platform, libVersion, clientVersion, clientBuildNumber }, user };
    if (this.#wire.open(handshake, settings, performance.now())) this.#connect(url, settings.WebSocket);
    else this.#fail("invalid", "a limit is zero or too large");
  }
  #connect(url, Socket = globalThis.WebSocket) {
    let socket;
    try {
      socket = this.#socket = new Socket(url);
    } catch (error) {
      return this.#fail("invalid", String(error));
    }
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.#wasOpen = true;
      this.#drive();
    };
    socket.onmessage = ({ data }) => {
      if (data instanceof ArrayBuffer) this.#receive(new Uint8Array(data));
      else this.#fail("protocol", "the server sent text where only bytes may be");
    };
    socket.onclose = socket.onerror = () => {
      this.#wire.eof(performance.now());
      this.#drive();
    };
    this.#arm();
  }
  /** Sends a request and returns its id. */
  request(route, body) {
    return this.#sent(this.#wire.request(encodeText(route), body));
  }
  notify(route, body) {
    this.#sent(this.#wire.notify(encodeText(route), body));
  }
  cancel(id) {
    this.#wire.cancel(id);
  }
  /** Ends it; what was sent before still goes out. */
  close() {
    this.#wire.close(performance.now());
    this.#flush(Infinity);
    this.#drive();
  }
  #sent(result) {
    if (result < 0) throw refusal(-result);
    this.#flush(MAX_IN_SOCKET);
    this.#arm();
    return result;
  }
  #receive(bytes) {
    for (let at = 0; at < bytes.length && !this.#ended; at += MAX_READ) {
      this.#wire.input(bytes.subarray(at, at + MAX_READ), performance.now());
      this.#drive();
    }
  }
  /** Brings everything up to date. Timers of hidden pages come late, messages do not: either does what is due. */
  #drive() {
    const now = performance.now();
    if (now >= this.#wire.deadline()) this.#wire.timeout(now);
    for (let event; !this.#ended && (event = this.#wire.nextEvent()); ) this.#handle(event);
    if (this.#ended) return;
    this.#flush(MAX_IN_SOCKET);
    this.#arm();
  }
  #handle({ kind, number, text: text2, body }) {
    switch (kind) {
      case 1 /* Connected */:
        return this.#listener.opened(text2);
      case 2 /* Response */:
      case 3 /* Error */:
        return this.#listener.answered(number, body, kind === 3 /* Error */);
      case 4 /* Push */:
        return this.#listener.pushed(text2, body);
      case 5 /* Kicked */:
        this.#kick = reasonOf(body);
        return;
      default: {
        const code = endCodes[number] ?? "lost";
        return this.#fail(code, code === "lost" && !this.#wasOpen ? "the server cannot be reached" : text2);
      }
    }
  }
  #fail(code, message) {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    if (this.#socket) {
      this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
      this.#socket.close();
    }
    const kick = this.#kick;
    this.#listener.ended(kick === void 0 ? { code, message } : { code, message: `kicked: ${kick}`, kick });
  }
  #flush(max) {
    const socket = this.#socket;
    if (socket?.readyState !== OPEN) return;
    for (let packet; socket.bufferedAmount < max && (packet = this.#wire.nextPacket()); ) socket.send(packet);
  }
  #arm() {
    const isStalled = this.#socket?.readyState === OPEN && this.#socket.bufferedAmount >= MAX_IN_SOCKET;
    const now = performance.now();
    const due = Math.min(this.#wire.deadline(), isStalled ? now + LOOK_AGAIN : Infinity);
    if (due === this.#due || this.#ended) return;
    clearTimeout(this.#timer);
    this.#due = due;
    if (due === Infinity) return;
    this.#timer = setTimeout(() => {
      this.#due = Infinity;
      this.#drive();
    }, Math.min(Math.max(0, Math.ceil(due - now)), MAX_DELAY));
  }
};
function refusal(number) {
  switch (number) {
    case 2 /* TooManyRequests */:
      return new ClientError("full", "too many requests wait for an answer: see `maxRequests`");
    case 3 /* QueueFull */:
      return new ClientError("full", "too many bytes wait to be sent: see `maxQueuedBytes`");
    case 4 /* TooLong */:
      return new ClientError("too-long", "the route or the message is too long");
    default:
      return new ClientError("away", "there is no connection");
  }
}
function reasonOf(body) {
  try {
    const { reason } = JSON.parse(decodeText(body));
    return reason === void 0 ? void 0 : String(reason);
  } catch {
    return void 0;
  }
}

// src/module.ts
var usual;
function load(source, timeout) {
  if (source !== void 0) return compile(source, timeout);
  usual ??= compile(new URL("./cereus.wasm", import.meta.url), timeout).catch((error) => {
    usual = void 0;
    throw error;
  });
  return usual;
}
async function compile(source, timeout) {
  if (source instanceof WebAssembly.Module) return source;
  if (typeof source !== "string" && !(source instanceof URL)) return WebAssembly.compile(source);
  return WebAssembly.compile(await read(new URL(source, globalThis.location?.href), timeout));
}
async function read(url, timeout) {
  const { process } = globalThis;
  const files = url.protocol === "file:" ? process?.getBuiltinModule?.("node:fs/promises") : void 0;
  if (files) return files.readFile(url);
  const response = await fetch(url, { signal: AbortSignal.timeout(Math.min(timeout, 2 ** 31 - 1)) });
  if (!response.ok) throw new Error(`${url.href} is not there: ${response.status}`);
  return response.arrayBuffer();
}

// src/options.ts
var defaults = {
  user: {},
  platform: "web",
  clientVersion: "",
  clientBuildNumber: "",
  libVersion: "",
  connectTimeout: 1e4,
  timeout: 3e4,
  whileAway: "fail",
  compress: false,
  maxRequests: 128,
  maxQueuedBytes: 1 << 20,
  maxMessageBytes: (1 << 24) - 1,
  onError: (error) => console.error(error)
};
function delayOf({ min = 500, max = 15e3, jitter = 0.5 }, failures) {
  return Math.min(max, min * 2 ** failures) * (1 - jitter * Math.random());
}

// src/outbox.ts
var OVERHEAD = 100;
var Outbox = class {
  #maxRequests;
  #maxBytes;
  #messages = /* @__PURE__ */ new Set();
  #requests = 0;
  #bytes = 0;
  constructor(maxRequests, maxBytes) {
    this.#maxRequests = maxRequests;
    this.#maxBytes = maxBytes;
  }
  put(message) {
    if (message.call && this.#requests >= this.#maxRequests) {
      throw new ClientError("full", "too many requests wait for a connection: see `maxRequests`");
    }
    if (this.#bytes >= this.#maxBytes) {
      throw new ClientError("full", "too many bytes wait for a connection: see `maxQueuedBytes`");
    }
    this.#messages.add(message);
    this.#count(message, 1);
  }
  delete(message) {
    if (this.#messages.delete(message)) this.#count(message, -1);
  }
  take() {
    const all = [...this.#messages];
    this.#messages.clear();
    this.#requests = this.#bytes = 0;
    return all;
  }
  #count({ body, call }, sign) {
    this.#requests += call ? sign : 0;
    this.#bytes += sign * (body.length + OVERHEAD);
  }
};

// src/pushes.ts
var Pushes = class {
  #limit;
  #stop;
  #waiting = [];
  #readers = [];
  #dropped = 0;
  #ended = false;
  /** @internal */
  constructor(limit, stop) {
    this.#limit = limit;
    this.#stop = stop;
  }
  /** How many pushes were dropped because as many as allowed waited already: the oldest go first. */
  get dropped() {
    return this.#dropped;
  }
  next() {
    if (this.#waiting.length) return Promise.resolve({ done: false, value: this.#waiting.shift() });
    if (this.#ended) return Promise.resolve({ done: true, value: void 0 });
    return new Promise((resolve) => this.#readers.push(resolve));
  }
  /** Gets no more pushes. `for await` calls it when the loop is left. */
  return() {
    this.#waiting.length = 0;
    this.end();
    return Promise.resolve({ done: true, value: void 0 });
  }
  [Symbol.asyncIterator]() {
    return this;
  }
  /** @internal */
  put(value) {
    const reader = this.#readers.shift();
    if (reader) return reader({ done: false, value });
    this.#waiting.push(value);
    if (this.#waiting.length <= this.#limit) return;
    this.#waiting.shift();
    this.#dropped++;
  }
  /** @internal What waits can still be read. */
  end() {
    if (this.#ended) return;
    this.#ended = true;
    this.#stop(this);
    for (const reader of this.#readers.splice(0)) reader({ done: true, value: void 0 });
  }
};

// src/client.ts
var FINAL = /* @__PURE__ */ new Set(["refused", "kicked", "invalid", "closed"]);
var MAX_ROUND_TRIPS = 8;
var Client = class {
  #url;
  #options;
  #statusListeners = /* @__PURE__ */ new Set();
  #handlers = /* @__PURE__ */ new Map();
  #iterators = /* @__PURE__ */ new Set();
  /** By the ids of the connection that there is. */
  #inFlight = /* @__PURE__ */ new Map();
  #outbox;
  #status = { state: "connecting" };
  #connection;
  /** The attempt that counts: what others still tell is nobody's business. */
  #attempt = 0;
  /** How many attempts in a row came to nothing. */
  #failures = 0;
  #delay = 0;
  #openSince = 0;
  #retry;
  #serializer = "json";
  #roundTrips = [];
  constructor(url, options = {}) {
    this.#url = String(url);
    this.#options = { ...defaults, ...options };
    this.#outbox = new Outbox(this.#options.maxRequests, this.#options.maxQueuedBytes);
    options.signal?.addEventListener("abort", () => this.close(), { once: true });
    if (options.signal?.aborted) this.close();
    else void this.#connect();
  }
  get state() {
    return this.#status.state;
  }
  get status() {
    return this.#status;
  }
  /** The name of the server's serializer, such as `json` or `protobuf`. */
  get serializer() {
    return this.#serializer;
  }
  /** The shortest of the last eight round trips of requests, their handlers included, in milliseconds. */
  get roundTrip() {
    return this.#roundTrips.length ? Math.min(...this.#roundTrips) : void 0;
  }
  /** Calls `listener` whenever the status changes, until the function that is returned is called. */
  onStatus(listener) {
    const own = (status) => listener(status);
    this.#statusListeners.add(own);
    return () => void this.#statusListeners.delete(own);
  }
  /** Calls `handler` with each push of a route, until the function that is returned is called. */
  on(route, handler) {
    const own = (body, from) => handler(body, from);
    const handlers = this.#handlers.get(route) ?? /* @__PURE__ */ new Set();
    this.#handlers.set(route, handlers.add(own));
    return () => {
      handlers.delete(own);
      if (!handlers.size && this.#handlers.get(route) === handlers) this.#handlers.delete(route);
    };
  }
  /**
   * The pushes of a route from now on. At most `limit` of them wait to be read, the oldest are dropped; default: 64.
   * They end when the client is closed, but not when it is away.
   */
  pushes(route, { limit = 64 } = {}) {
    const off = this.on(route, (body) => pushes.put(body));
    const pushes = new Pushes(limit, (ended) => {
      off();
      this.#iterators.delete(ended);
    });
    this.#iterators.add(pushes);
    if (this.state === "closed") pushes.end();
    return pushes;
  }
  /** Resolves to the answer; rejects with a `ServerError`, a `ClientError`, or what the signal or the codec says. */
  async request(route, body, { timeout, signal } = {}) {
    signal?.throwIfAborted();
    const bytes = this.#codec.encode(route, body);
    const call = new Call(route, timeout ?? this.#options.timeout, signal);
    try {
      this.#send({ route, body: bytes, call });
    } catch (error) {
      call.reject(error);
    }
    return call.answer;
  }
  /** Sends a message that has no answer. Throws a `ClientError` when it cannot, or what the codec says. */
  notify(route, body) {
    this.#send({ route, body: this.#codec.encode(route, body) });
  }
  /** Connects now: instead of the connection that there is, without waiting any longer, or after the end. */
  reconnect() {
    this.#failures = 0;
    this.#drop({ code: "closed", message: "the client connects anew" });
    void this.#connect();
  }
  /** Ends the connection, or the attempts to make one. What was sent before still goes out. */
  close() {
    if (this.state !== "closed") this.#close({ code: "closed", message: "closed by this side" });
  }
  get #codec() {
    return this.#options.codec ?? json;
  }
  #send(message) {
    const status = this.#status;
    if (status.state === "open" && this.#connection) return this.#transmit(this.#connection, message);
    if (status.state === "closed") throw errorOf(status.reason);
    if (this.#options.whileAway !== "queue") throw new ClientError("away", "there is no connection");
    this.#outbox.put(message);
    if (message.call) message.call.forget = () => this.#outbox.delete(message);
  }
  #transmit(connection, { route, body, call }) {
    if (!call) return connection.notify(route, body);
    const id = connection.request(route, body);
    this.#inFlight.set(id, call);
    call.since = performance.now();
    call.forget = () => {
      this.#inFlight.delete(id);
      connection.cancel(id);
    };
  }
  async #connect() {
    const attempt = ++this.#attempt;
    const isCurrent = () => attempt === this.#attempt;
    this.#setStatus({ state: "connecting" });
    let instance;
    try {
      const module = await load(this.#options.module, this.#options.connectTimeout);
      instance = await WebAssembly.instantiate(module);
    } catch (error) {
      if (isCurrent()) this.#ended({ code: "lost", message: `the WebAssembly module cannot be loaded: ${error}` });
      return;
    }
    if (!isCurrent()) return;
    const connection = new Connection(this.#url, instance, this.#options, {
      opened: (...what) => void (isCurrent() && this.#opened(...what)),
      answered: (...what) => void (isCurrent() && this.#answered(...what)),
      pushed: (...what) => void (isCurrent() && this.#pushed(...what)),
      ended: (...what) => void (isCurrent() && this.#ended(...what))
    });
    if (isCurrent()) this.#connection = connection;
  }
  #opened(serializer) {
    const connection = this.#connection;
    this.#serializer = serializer;
    this.#openSince = performance.now();
    this.#roundTrips = [];
    this.#setStatus({ state: "open" });
    if (connection !== this.#connection) return;
    for (const message of this.#outbox.take()) {
      try {
        this.#transmit(connection, message);
      } catch (error) {
        if (message.call) message.call.reject(error);
        else this.#options.onError(error);
      }
    }
  }
  #answered(id, body, isError) {
    const call = this.#inFlight.get(id);
    if (!call) return;
    this.#roundTrips = [performance.now() - call.since, ...this.#roundTrips].slice(0, MAX_ROUND_TRIPS);
    if (isError) return call.reject(new ServerError(call.route, body, decodeError(body, this.#serializer)));
    try {
      call.resolve(this.#codec.decode(call.route, body));
    } catch (error) {
      call.reject(error);
    }
  }
  #pushed(route, bytes) {
    const handlers = this.#handlers.get(route);
    if (!handlers) return;
    this.#guard(() => {
      const body = this.#codec.decode(route, bytes);
      for (const handler of [...handlers]) this.#guard(() => handler(body, route));
    });
  }
  #ended(reason) {
    const lasted = this.state === "open" ? performance.now() - this.#openSince : -1;
    this.#failures = lasted >= this.#delay ? 0 : this.#failures + 1;
    this.#drop(reason);
    const policy = this.#options.reconnect ?? {};
    if (FINAL.has(reason.code) || !policy || this.#failures >= (policy.attempts ?? Infinity)) return this.#close(reason);
    this.#delay = delayOf(policy, this.#failures);
    this.#retry = setTimeout(this.#again, this.#delay);
    globalThis.addEventListener?.("online", this.#again);
    this.#setStatus({ state: "away", reason, retryIn: this.#delay });
  }
  #again = () => {
    this.#rest();
    void this.#connect();
  };
  #rest() {
    clearTimeout(this.#retry);
    globalThis.removeEventListener?.("online", this.#again);
  }
  #close(reason) {
    this.#drop(reason);
    for (const { call } of this.#outbox.take()) call?.reject(errorOf(reason));
    this.#setStatus({ state: "closed", reason });
    for (const pushes of [...this.#iterators]) pushes.end();
  }
  /** Lets go of the connection, and of what was in flight over it. */
  #drop(reason) {
    this.#attempt++;
    this.#rest();
    this.#connection?.close();
    this.#connection = void 0;
    for (const call of [...this.#inFlight.values()]) call.reject(errorOf(reason));
  }
  #setStatus(status) {
    this.#status = status;
    for (const listener of [...this.#statusListeners]) {
      if (this.#status === status) this.#guard(() => listener(status));
    }
  }
  #guard(callback) {
    try {
      callback();
    } catch (error) {
      this.#options.onError(error);
    }
  }
};
function connect(url, options = {}) {
  const client = new Client(url, options);
  return new Promise((resolve, reject) => {
    const look = (status) => {
      if (status.state === "connecting") return;
      off();
      if (status.state === "open") return resolve(client);
      client.close();
      reject(options.signal?.aborted ? options.signal.reason : errorOf(status.reason));
    };
    const off = client.onStatus(look);
    look(client.status);
  });
}
export {
  Client,
  ClientError,
  ServerError,
  connect,
  json,
  raw
};
