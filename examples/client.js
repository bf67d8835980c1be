// The client of the pages: a packet is a type, a length of three bytes and a body; a data packet's body is a message.

const PACKET = { handshake: 1, ack: 2, heartbeat: 3, data: 4, kick: 5 };
const MESSAGE = { request: 0, notify: 1, response: 2, push: 3 };
const encodeText = (text) => new TextEncoder().encode(text);
const decodeJson = (bytes) => (bytes.length ? JSON.parse(new TextDecoder().decode(bytes)) : undefined);

function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const encodePacket = (type, body = []) =>
  concat([type, body.length >> 16, body.length >> 8, body.length], body);

function* decodePackets(bytes) {
  for (let at = 0; at + 4 <= bytes.length; ) {
    const length = (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
    yield { type: bytes[at], body: bytes.subarray(at + 4, at + 4 + length) };
    at += 4 + length;
  }
}

/** Flag, id (requests only; seven bits a byte, the lowest first), route with its length, body. */
function encodeMessage(type, id, route, body) {
  const head = [type << 1];
  if (type === MESSAGE.request) {
    for (; id > 127; id = Math.floor(id / 128)) head.push((id % 128) + 128);
    head.push(id);
  }
  const name = encodeText(route);
  return concat(head, [name.length], name, encodeText(JSON.stringify(body)));
}

/** The server sends responses, which have an id, and pushes, which have a route or its code in the dictionary. */
function decodeMessage(bytes, dictionary) {
  const flag = bytes[0];
  const message = { type: (flag >> 1) & 7, isError: (flag & 0x20) !== 0 };
  let at = 1;
  if (message.type === MESSAGE.response) {
    message.id = 0;
    for (let unit = 1, more = true; more; unit *= 128) {
      message.id += (bytes[at] & 127) * unit;
      more = bytes[at++] > 127;
    }
  } else if (flag & 1) {
    message.route = dictionary.get((bytes[at] << 8) | bytes[at + 1]);
    at += 2;
  } else {
    const end = at + 1 + bytes[at];
    message.route = new TextDecoder().decode(bytes.subarray(at + 1, end));
    at = end;
  }
  return { ...message, body: decodeJson(bytes.subarray(at)) };
}

/** What a request was refused with: `code`, `message`, `metadata`. */
export class RequestError extends Error {
  constructor({ code, msg, metadata = {} }) {
    super(msg || code);
    Object.assign(this, { code, metadata });
  }
}

/** A connection that is made anew when it is lost, later and later, unless the server threw this client out. */
export class Client {
  onState = () => {};
  state = 'offline';
  #url;
  #socket = null;
  #handlers = new Map();
  #pending = new Map();
  #dictionary = new Map();
  #lastId = 0;
  #attempts = 0;
  #interval = 0;
  #retry = 0;
  #heartbeat = 0;
  #silence = 0;

  constructor(url) {
    this.#url = url;
  }

  on(route, handler) {
    this.#handlers.set(route, handler);
  }

  connect() {
    this.#drop();
    this.#setState('connecting');
    const socket = (this.#socket = new WebSocket(this.#url));
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      const handshake = { sys: { type: 'js-websocket', version: '1.0' }, user: {} };
      this.#send(PACKET.handshake, encodeText(JSON.stringify(handshake)));
    };
    socket.onmessage = ({ data }) => {
      for (const { type, body } of decodePackets(new Uint8Array(data))) {
        if (socket === this.#socket) this.#receive(type, body);
      }
    };
    socket.onclose = () => this.#lose();
    this.#listen(10_000);
  }

  /** Resolves to the reply, or rejects with a `RequestError`, at the latest when the connection ends. */
  request(route, body = {}) {
    return new Promise((resolve, reject) => {
      const id = ++this.#lastId;
      if (!this.#send(PACKET.data, encodeMessage(MESSAGE.request, id, route, body))) {
        return reject(new RequestError({ code: 'offline', msg: 'There is no connection.' }));
      }
      this.#pending.set(id, { resolve, reject });
    });
  }

  notify(route, body = {}) {
    this.#send(PACKET.data, encodeMessage(MESSAGE.notify, 0, route, body));
  }

  #receive(type, body) {
    if (this.#interval) this.#listen(2 * this.#interval + 5000);
    if (type === PACKET.handshake) this.#open(decodeJson(body));
    else if (type === PACKET.heartbeat) this.#beat();
    else if (type === PACKET.data) this.#dispatch(decodeMessage(body, this.#dictionary));
    else if (type === PACKET.kick) this.#end('kicked', decodeJson(body)?.reason);
  }

  #open({ code, sys }) {
    if (code !== 200) return this.#end('kicked', 'this client is not welcome');
    this.#interval = sys.heartbeat * 1000;
    this.#dictionary = new Map(Object.entries(sys.dict ?? {}).map(([route, number]) => [number, route]));
    this.#send(PACKET.ack);
    this.#attempts = 0;
    this.#setState('connected');
  }

  /** The server sends heartbeats by itself; each is answered after one interval. */
  #beat() {
    clearTimeout(this.#heartbeat);
    this.#heartbeat = setTimeout(() => this.#send(PACKET.heartbeat), this.#interval);
  }

  #dispatch({ type, id, isError, route, body }) {
    if (type === MESSAGE.push) return this.#handlers.get(route)?.(body);
    const { resolve, reject } = this.#pending.get(id) ?? {};
    this.#pending.delete(id);
    if (isError) reject?.(new RequestError(body));
    else resolve?.(body);
  }

  #send(type, body) {
    const open = this.#socket?.readyState === WebSocket.OPEN;
    if (open) this.#socket.send(encodePacket(type, body));
    return open;
  }

  /** Gives the connection up when nothing is heard for so long. */
  #listen(milliseconds) {
    clearTimeout(this.#silence);
    this.#silence = setTimeout(() => this.#lose(), milliseconds);
  }

  #lose() {
    const delay = Math.min(500 * 2 ** this.#attempts++, 10_000) * (0.75 + Math.random() / 2);
    this.#end('offline', `next attempt in ${Math.max(1, Math.round(delay / 1000))} s`);
    this.#retry = setTimeout(() => this.connect(), delay);
  }

  #end(state, detail) {
    this.#drop();
    this.#setState(state, detail);
  }

  #drop() {
    for (const timer of [this.#retry, this.#heartbeat, this.#silence]) clearTimeout(timer);
    const socket = this.#socket;
    this.#socket = null;
    this.#interval = 0;
    if (socket) {
      socket.onclose = null;
      socket.close();
    }
    for (const { reject } of this.#pending.values()) {
      reject(new RequestError({ code: 'offline', msg: 'The connection was lost.' }));
    }
    this.#pending.clear();
  }

  #setState(state, detail) {
    this.state = state;
    this.onState(state, detail);
  }
}
