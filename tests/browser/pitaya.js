// A Pitaya client over TCP, as small as this test needs it: JSON, no dictionary, no compression.
import { once } from 'node:events';
import net from 'node:net';

const PACKET = { handshake: 1, ack: 2, heartbeat: 3, data: 4, kick: 5 };
const MESSAGE = { request: 0, notify: 1, response: 2, push: 3 };

export class TcpClient {
  /** What was pushed and not waited for yet: `{ route, body }`. */
  pushes = [];
  #socket;
  #input = Buffer.alloc(0);
  #pending = new Map();
  #waiting = [];
  #ready = withResolvers();
  #lastId = 0;

  static async connect(port) {
    const client = new TcpClient();
    client.#socket = net.connect(port, '127.0.0.1');
    client.#socket.on('data', (bytes) => client.#receive(bytes));
    client.#socket.on('close', () => client.#end());
    await once(client.#socket, 'connect');
    const sys = { platform: 'test', libVersion: '', clientBuildNumber: '1', clientVersion: '1' };
    client.#send(PACKET.handshake, Buffer.from(JSON.stringify({ sys })));
    await client.#ready.promise;
    return client;
  }

  request(route, body = {}) {
    const id = ++this.#lastId;
    if (id > 127) throw new Error('this client writes ids in one byte');
    const answer = new Promise((resolve, reject) => this.#pending.set(id, { resolve, reject }));
    this.#send(PACKET.data, encodeMessage([MESSAGE.request << 1, id], route, body));
    return answer;
  }

  notify(route, body = {}) {
    this.#send(PACKET.data, encodeMessage([MESSAGE.notify << 1], route, body));
  }

  /** The next push that fits, which may have arrived already. */
  push(route, fits = () => true) {
    const wanted = (push) => push.route === route && fits(push.body);
    const at = this.pushes.findIndex(wanted);
    if (at >= 0) return Promise.resolve(this.pushes.splice(at, 1)[0].body);
    return new Promise((resolve, reject) => this.#waiting.push({ wanted, resolve, reject }));
  }

  /** Reads nothing more until `resume`. */
  pause() {
    this.#socket.pause();
  }

  resume() {
    this.#socket.resume();
  }

  close() {
    this.#socket.destroy();
  }

  #end() {
    this.#ready.reject(new Error('closed before the handshake'));
    for (const { reject } of this.#waiting.splice(0)) reject(new Error('closed before the push'));
  }

  #send(type, body = Buffer.alloc(0)) {
    const head = Buffer.alloc(4);
    head.writeUInt32BE(type * 2 ** 24 + body.length);
    this.#socket.write(Buffer.concat([head, body]));
  }

  #receive(bytes) {
    this.#input = Buffer.concat([this.#input, bytes]);
    while (this.#input.length >= 4) {
      const end = 4 + this.#input.readUIntBE(1, 3);
      if (this.#input.length < end) return;
      const [type, body] = [this.#input[0], this.#input.subarray(4, end)];
      this.#input = this.#input.subarray(end);
      this.#handle(type, body);
    }
  }

  #handle(type, body) {
    if (type === PACKET.handshake) {
      this.#send(PACKET.ack);
      this.#ready.resolve(JSON.parse(body));
    } else if (type === PACKET.heartbeat) {
      this.#send(PACKET.heartbeat);
    } else if (type === PACKET.data) {
      this.#dispatch(body);
    }
  }

  #dispatch(message) {
    const flag = message[0];
    if ((flag >> 1) === MESSAGE.push) {
      const end = 2 + message[1];
      return this.#deliver({ route: message.toString('utf8', 2, end), body: JSON.parse(message.subarray(end)) });
    }
    const { resolve, reject } = this.#pending.get(message[1]);
    const body = JSON.parse(message.subarray(2));
    this.#pending.delete(message[1]);
    if (flag & 0x20) reject(Object.assign(new Error(body.msg), body));
    else resolve(body);
  }

  #deliver(push) {
    const at = this.#waiting.findIndex(({ wanted }) => wanted(push));
    if (at < 0) return this.pushes.push(push);
    this.#waiting.splice(at, 1)[0].resolve(push.body);
  }
}

function encodeMessage(head, route, body) {
  return Buffer.concat([Buffer.from([...head, route.length]), Buffer.from(route + JSON.stringify(body))]);
}

function withResolvers() {
  const resolvers = {};
  resolvers.promise = new Promise((resolve, reject) => Object.assign(resolvers, { resolve, reject }));
  return resolvers;
}
