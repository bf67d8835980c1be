// The npm package pomelo-client-websocket against a Cereus server. The client brings its WebSocket along: it sets
// `global.WebSocket` to the `ws` it depends on.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import Pomelo from 'pomelo-client-websocket';
import { DICTIONARY, HEARTBEAT, PACKET, startServer } from './server.js';

/** A client whose handshake is done, and the packets that it got: `received` keeps them, `packet` waits for one. */
async function connect(port) {
  const client = new Pomelo();
  const { processPackage } = client;
  const received = [];
  const waiting = new Set();
  // The client calls this for each packet; the wire shows what its events do not.
  client.processPackage = function (packet, ...rest) {
    received.push({ type: packet.type, body: packet.body && Buffer.from(packet.body) });
    for (const check of waiting) check();
    return processPackage.call(this, packet, ...rest);
  };
  const packets = (type) => received.filter((packet) => packet.type === type);
  const packet = (type, count = 1) =>
    new Promise((resolve) => {
      const check = () => {
        if (packets(type).length < count) return;
        waiting.delete(check);
        resolve(packets(type)[count - 1]);
      };
      waiting.add(check);
      check();
    });
  await new Promise((resolve, reject) => {
    client.on('io-error', reject);
    client.on('error', (text) => reject(new Error(text)));
    client.init({ host: '127.0.0.1', port, user: { age: 30 } }, resolve);
  });
  return {
    client,
    packet,
    packets,
    request: (route, body) => new Promise((resolve) => client.request(route, body, resolve)),
    event: (name) => new Promise((resolve) => client.on(name, (...values) => resolve(values))),
  };
}

for (const compression of ['auto', 'off']) {
  describe(`compression ${compression}`, { concurrency: false }, () => {
    let server;
    const connections = [];
    const open = async () => {
      const connection = await connect(server.port);
      connections.push(connection);
      return connection;
    };

    before(async () => {
      server = await startServer(compression);
    });

    after(async () => {
      for (const { client } of connections) client.disconnect();
      await server.stop();
    });

    test('handshake', async () => {
      const { client, packets } = await open();
      assert.equal(client.heartbeatInterval, HEARTBEAT);
      assert.deepEqual(client.data.dict, DICTIONARY);
      const { sys, ...answer } = JSON.parse(packets(PACKET.handshake)[0].body);
      assert.deepEqual(answer, { code: 200 });
      assert.equal(sys.serializer, 'json');
    });

    test('request', async () => {
      const { request, packets } = await open();
      const body = { text: 'grüße, 世界 🌵', list: [1, null, true] };
      assert.deepEqual(await request('game.echo', body), body);
      assert.deepEqual(await request('connector.game.echo', body), body, 'the full route means the same');
      assert.equal(packets(PACKET.data)[0].body[0], 0x04, 'a response without other flags');
    });

    // It looks for the dictionary in the wrong place and so sends routes as text; the server takes both.
    test('the client sends no codes', async () => {
      const { client } = await open();
      assert.equal(client.dict, undefined);
    });

    test('push', async () => {
      const { event, request, packets } = await open();
      const pushed = [event('onMessage'), event('onPlain')];
      const body = { text: 'hello' };
      assert.equal(await request('game.announce', body), null);
      assert.deepEqual(await Promise.all(pushed), [[body], [body]]);
      const flags = packets(PACKET.data).map(({ body: [flag] }) => flag);
      assert.deepEqual(flags.filter((flag) => flag >> 1 === 3), [0x07, 0x06], 'a code, then a text');
    });

    // The client ignores the error bit: the callback gets the error's body like a reply, and has to look for `code`.
    test('error', async () => {
      const { request, packets } = await open();
      const failed = await request('game.fail');
      assert.deepEqual(failed, { code: 'GAME-001', msg: 'not enough coins', metadata: { missing: '3' } });
      assert.equal(packets(PACKET.data)[0].body[0], 0x24, 'a response with the error bit');
      assert.equal((await request('game.nothing')).code, 'PIT-404');
      assert.equal((await request('no route')).code, 'PIT-400');
    });

    test('a big body is readable', async () => {
      const { request, packets } = await open();
      assert.deepEqual(await request('game.big'), { text: 'four'.repeat(1024) });
      assert.equal(packets(PACKET.data)[0].body[0], 0x04, 'it is not compressed');
      const text = 'x'.repeat(100_000);
      assert.deepEqual(await request('game.echo', { text }), { text });
    });

    // It writes ids with the highest seven bits first, the protocol has the lowest first: its 128 arrives as a 1 that
    // takes two bytes. It finds its request again because answers echo the bytes of the id.
    test('many requests', async () => {
      const { client, request } = await open();
      const answered = new Set();
      for (let number = 1; number < 300; number++) {
        client.request('game.echo', { number }, (body) => answered.add(body.number));
      }
      assert.deepEqual(await request('game.echo', { number: 300 }), { number: 300 });
      const missing = Array.from({ length: 299 }, (_, at) => at + 1).filter((number) => !answered.has(number));
      assert.deepEqual(missing, []);
    });

    test('an idle client stays connected', async () => {
      const { event, packet, request } = await open();
      const closed = event('close').then(() => assert.fail('the connection was closed'));
      const missed = event('heartbeat timeout').then(() => assert.fail('the client missed the heartbeats'));
      await Promise.race([packet(PACKET.heartbeat, 5), closed, missed]);
      assert.deepEqual(await request('game.echo', { still: 'here' }), { still: 'here' });
    });

    test('a mute client is closed after two to three intervals', async () => {
      const { client, event, request } = await open();
      await request('game.echo');
      client.send = () => {};
      const heard = Date.now();
      await event('close');
      const intervals = (Date.now() - heard) / HEARTBEAT;
      // Some slack: the answer comes a little later than the request, and this machine may be busy.
      assert.ok(intervals > 1.9 && intervals < 3.5, `closed after ${intervals} intervals`);
    });

    // The client has an event for the kick but does not hand the reason on.
    test('kick', async () => {
      const { event, packet, request } = await open();
      const [kicked, closed] = [event('onKick'), event('close')];
      assert.equal(await request('game.kick'), 'bye', 'the running request is still answered');
      assert.deepEqual(await kicked, []);
      assert.deepEqual(JSON.parse((await packet(PACKET.kick)).body), { reason: 'closing time' });
      await closed;
    });
  });
}
