// The npm packages pomelo-jsclient-websocket and pomelo-protocol, which pages of pomelo games load, against a Cereus server.
// Unlike pomelo-client-websocket this client sends the codes of routes and reads the reason of a kick.
import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, describe, test } from 'node:test';
import WebSocket from 'ws';
import { DICTIONARY, HEARTBEAT, PACKET, startServer } from './server.js';

const { resolve } = createRequire(import.meta.url);
const [protocol, pomelo] = ['pomelo-protocol/lib/protocol.js', 'pomelo-jsclient-websocket'].map(
  // As scripts of a page, of which each client has its own.
  (file) => new Function('window', 'module', 'WebSocket', 'console', readFileSync(resolve(file), 'utf8')),
);
const silent = { log() {}, error() {} };

/** A page, and the packets that it sent and received: `packet` waits for one. */
function openPage() {
  const sent = [];
  const received = [];
  const wire = new EventEmitter();
  const keep = (list, data) => {
    const bytes = Buffer.from(data);
    list.push({ type: bytes[0], body: bytes.subarray(4) });
    wire.emit('packet');
  };
  const page = { isMute: false, socket: undefined };
  class Socket extends WebSocket {
    constructor(url) {
      super(url);
      page.socket = this;
      this.on('message', (data) => keep(received, data));
    }

    send(data) {
      if (page.isMute) return;
      keep(sent, data);
      super.send(data);
    }
  }
  const window = { EventEmitter };
  protocol.call(window, window, {}, Socket, silent);
  pomelo.call(window, window, {}, Socket, silent);
  const client = window.pomelo;
  const packets = (type) => received.filter((packet) => packet.type === type);
  return Object.assign(page, {
    client,
    sent,
    packets,
    async packet(type, count = 1) {
      while (packets(type).length < count) await once(wire, 'packet');
      return packets(type)[count - 1];
    },
    request: (route, body) => new Promise((resolve) => client.request(route, body, resolve)),
    // Unlike `once` of Node this does not mind an event `error`.
    event: (name) => new Promise((resolve) => client.once(name, (...values) => resolve(values))),
    /** The bytes of the message that was sent last. */
    lastSent: () => sent.findLast(({ type }) => type === PACKET.data).body,
  });
}

for (const compression of ['auto', 'off']) {
  describe(`compression ${compression}`, { concurrency: false }, () => {
    let server;
    const pages = [];
    const connect = async (more = {}) => {
      const page = openPage();
      page.params = { host: '127.0.0.1', port: server.port, user: { age: 30 }, ...more };
      pages.push(page);
      await new Promise((resolve, reject) => {
        page.client.on('io-error', reject);
        page.client.once('error', (text) => reject(new Error(text)));
        page.client.init(page.params, resolve);
      });
      return page;
    };

    before(async () => {
      server = await startServer(compression);
    });

    after(async () => {
      for (const { client, params } of pages) {
        params.reconnect = false;
        client.disconnect();
      }
      await server.stop();
    });

    test('handshake', async () => {
      const { packets, request } = await connect();
      const { code, sys } = JSON.parse(packets(PACKET.handshake)[0].body);
      assert.deepEqual([code, sys.heartbeat, sys.dict], [200, HEARTBEAT / 1000, DICTIONARY]);
      assert.deepEqual((await request('game.handshake')).user, { age: 30 });
    });

    test('a client that is refused is told so', async () => {
      const refused = connect({ user: { banned: true } });
      const closed = pages.at(-1).event('disconnect');
      await assert.rejects(refused, { message: 'handshake fail' });
      await closed;
      assert.equal(JSON.parse(pages.at(-1).packets(PACKET.handshake)[0].body).code, 400);
    });

    test('request, with the route as a code and as a text', async () => {
      const { lastSent, packets, request } = await connect();
      const body = { text: 'grüße, 世界', list: [1, null, true] };
      assert.deepEqual(await request('game.echo', body), body);
      assert.deepEqual([...lastSent().subarray(0, 4)], [0x01, 1, 0, 2], 'flags, id, code');
      assert.deepEqual(await request('connector.game.echo', body), body);
      assert.deepEqual([...lastSent().subarray(0, 3)], [0x00, 2, 'connector.game.echo'.length], 'flags, id, text');
      assert.equal(packets(PACKET.data)[0].body[0], 0x04, 'a response without other flags');
    });

    test('notify and push, with routes as codes and as texts', async () => {
      const { client, event, lastSent, packet, packets } = await connect();
      const body = { text: 'hello' };
      const pushed = [event('onMessage'), event('onPlain')];
      client.notify('game.tell', body);
      assert.deepEqual([...lastSent().subarray(0, 3)], [0x03, 1, 44], 'flags, code');
      assert.deepEqual(await Promise.all(pushed), [[body], [body]]);
      await packet(PACKET.data, 2);
      const flags = packets(PACKET.data).map(({ body: [flag] }) => flag);
      assert.deepEqual(flags, [0x07, 0x06], 'a code, then a text');
    });

    // The client ignores the error bit: the callback gets the error's body like a reply, and has to look for `code`.
    test('error', async () => {
      const { packets, request } = await connect();
      const failed = await request('game.fail');
      assert.deepEqual(failed, { code: 'GAME-001', msg: 'not enough coins', metadata: { missing: '3' } });
      assert.equal(packets(PACKET.data)[0].body[0], 0x24, 'a response with the error bit');
      assert.equal((await request('game.nothing')).code, 'PIT-404');
      assert.equal((await request('no route')).code, 'PIT-400');
    });

    // It writes what does not fit into 16 bits as two surrogates of three bytes each, which is not UTF-8.
    test('an emoji is refused, and harms nobody', async () => {
      const { request } = await connect();
      assert.equal((await request('game.echo', { text: '🌵' })).code, 'PIT-400');
      assert.deepEqual(await request('game.echo', { text: 'cactus' }), { text: 'cactus' });
    });

    test('a big body is readable', async () => {
      const { packets, request } = await connect();
      assert.deepEqual(await request('game.big'), { text: 'four'.repeat(1024) });
      assert.equal(packets(PACKET.data)[0].body[0], 0x04, 'it is not compressed');
      const text = 'x'.repeat(50_000);
      assert.deepEqual(await request('game.echo', { text }), { text });
    });

    test('many requests', async () => {
      const { request } = await connect();
      const numbers = Array.from({ length: 300 }, (_, number) => ({ number }));
      assert.deepEqual(await Promise.all(numbers.map((body) => request('game.echo', body))), numbers);
    });

    test('an idle client stays connected', async () => {
      const { event, packet, request } = await connect();
      const closed = event('disconnect').then(() => assert.fail('the connection was closed'));
      const missed = event('heartbeat timeout').then(() => assert.fail('the client missed the heartbeats'));
      await Promise.race([packet(PACKET.heartbeat, 5), closed, missed]);
      assert.deepEqual(await request('game.echo', { still: 'here' }), { still: 'here' });
    });

    test('a mute client is closed after two to three intervals', async () => {
      const page = await connect();
      await page.request('game.echo');
      page.isMute = true;
      const heard = Date.now();
      await page.event('disconnect');
      const intervals = (Date.now() - heard) / HEARTBEAT;
      // Some slack: the answer comes a little later than the request, and this machine may be busy.
      assert.ok(intervals > 1.9 && intervals < 3.5, `closed after ${intervals} intervals`);
    });

    test('kick, with its reason', async () => {
      const { event, request } = await connect();
      const [kicked, closed] = [event('onKick'), event('disconnect')];
      assert.equal(await request('game.kick'), 'bye', 'the running request is still answered');
      assert.deepEqual(await kicked, [{ reason: 'closing time' }]);
      await closed;
    });

    test('the server notices who disconnects', { timeout: 10_000 }, async () => {
      const { request } = await connect();
      const user = { name: 'nina' };
      const { client } = await connect({ user });
      assert.equal(await request('game.here', user), true);
      client.disconnect();
      while (await request('game.here', user));
    });

    test('a client comes back by itself', async () => {
      const { client, event, packet, request } = await connect({ reconnect: true });
      const back = event('reconnect');
      client.notify('game.close');
      await back; // after five seconds
      await packet(PACKET.handshake, 2);
      assert.deepEqual(await request('game.echo', { back: true }), { back: true });
    });

    test('a silent server is left', { timeout: 20_000 }, async () => {
      const { event, packet } = await connect();
      const [missed, closed] = [event('heartbeat timeout'), event('disconnect')];
      // It counts from the first heartbeat.
      await packet(PACKET.heartbeat);
      server.child.kill('SIGSTOP');
      try {
        await missed;
      } finally {
        server.child.kill('SIGCONT');
      }
      await closed;
    });
  });
}
