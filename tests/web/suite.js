// What the client promises, in Node and in a page. Each test gets `open`, which makes a client that is closed afterwards, and
// `control`, which starts, stops, freezes and thaws a server.
import { Client, ClientError, ServerError, connect, raw } from 'cereus-client';
import { collect, equal, ok, rejects, status } from './check.js';

const QUICK = { min: 20, max: 200 };
const utf8 = new TextEncoder();
/** Stands for generated code: any codec that makes and reads bytes. */
const words = {
  encode: (_, value = '') => utf8.encode(value),
  decode: (_, bytes) => new TextDecoder().decode(bytes),
};

export const tests = {
  async 'a request is answered'({ open }) {
    const client = await open();
    const body = { text: 'grüße, 世界 🌵', list: [1, null, true] };
    equal(await client.request('game.echo', body), body);
    equal(await client.request('connector.game.echo', [1]), [1]);
    equal(await client.request('game.echo', null), null);
    equal(await client.request('game.echo'), {});
    ok(client.roundTrip > 0 && client.roundTrip < 10_000, `${client.roundTrip}`);
    equal(client.serializer, 'json');
  },

  async 'many requests, and big ones'({ open }) {
    const client = await open({ maxRequests: 300, maxQueuedBytes: 8 << 20, compress: true });
    const numbers = Array.from({ length: 300 }, (_, at) => at);
    equal(await Promise.all(numbers.map((number) => client.request('game.echo', number))), numbers);
    for (const text of ['x'.repeat(200_000), String.fromCodePoint(...numbers.map((at) => 0x4e00 + at * 7))]) {
      equal(await client.request('game.echo', { text }), { text });
    }
    const noise = crypto.getRandomValues(new Uint32Array(10_000));
    equal(await client.request('game.echo', [...noise]), [...noise]);
  },

  async 'an error has a code, a text and metadata'({ open }) {
    const client = await open();
    const expected = { name: 'ServerError', code: 'GAME-001', msg: 'not enough coins', message: 'not enough coins' };
    const error = await rejects(client.request('game.fail'), { ...expected, route: 'game.fail' });
    ok(error instanceof ServerError);
    equal(error.metadata.missing, '3');
    await rejects(client.request('game.nothing'), { code: 'PIT-404' });
    await rejects(client.request('no route'), { code: 'PIT-400' });
  },

  async 'pushes come in order, until nobody listens'({ open }) {
    const errors = collect();
    const client = await open({ onError: errors });
    const [coded, plain, last] = [collect(), collect(), collect()];
    client.on('onMessage', () => {
      throw new Error('a bad handler');
    });
    const off = client.on('onMessage', coded);
    client.on('onPlain', plain);
    equal(await client.request('game.announce', { number: 1 }), undefined);
    off();
    client.on('onMessage', last);
    await client.request('game.announce', { number: 2 });
    equal([coded.values, plain.values, last.values], [[{ number: 1 }], [{ number: 1 }, { number: 2 }], [{ number: 2 }]]);
    equal(errors.values.map(String), ['Error: a bad handler', 'Error: a bad handler']);
    const burst = collect();
    client.on('onBurst', burst);
    await client.request('game.burst');
    equal(burst.values, Array.from({ length: 100 }, (_, at) => at));
  },

  async 'pushes can be iterated, within a bound'({ open }) {
    const client = await open();
    const [all, latest] = [client.pushes('onBurst', { limit: 100 }), client.pushes('onBurst', { limit: 3 })];
    const early = client.pushes('onBurst').next();
    await client.request('game.burst');
    equal((await early).value, 0);
    equal([all.dropped, latest.dropped], [0, 97]);
    const seen = [];
    for await (const number of all) {
      seen.push(number);
      if (number === 99) break;
    }
    equal(seen.length, 100);
    equal(await all.next(), { done: true });
    const waiting = latest.next().then(() => latest.next()).then(() => latest.next()).then(() => latest.next());
    client.close();
    equal(await waiting, { done: true }, 'they end with the client');
  },

  async 'a notify arrives, also just before the end'({ open }) {
    const [teller, listener] = [await open(), await open()];
    const told = collect();
    listener.on('onTold', told);
    const before = await listener.request('game.counted');
    teller.notify('game.tell', 'first');
    // More than a socket takes at once.
    for (let sent = 0; sent < 30; sent++) teller.notify('game.count', 'x'.repeat(10_000));
    teller.notify('game.tell', 'last');
    teller.close();
    equal(teller.status, { state: 'closed', reason: { code: 'closed', message: 'closed by this side' } });
    equal(await told.first(2), ['first', 'last']);
    equal(await listener.request('game.counted'), before + 30);
    await rejects(teller.request('game.echo'), { name: 'ClientError', code: 'closed' });
  },

  async 'a request ends at its timeout or by its signal'({ open }) {
    const client = await open({ timeout: 40, maxRequests: 1 });
    const error = await rejects(client.request('slow.hold'), { code: 'timeout' });
    ok(error instanceof ClientError);
    const controller = new AbortController();
    const { signal } = controller;
    let listeners = 0;
    for (const [name, count] of [['addEventListener', 1], ['removeEventListener', -1]]) {
      const method = signal[name];
      signal[name] = (...rest) => {
        listeners += count;
        method.apply(signal, rest);
      };
    }
    equal(await client.request('game.echo', 1, { signal, timeout: 10_000 }), 1);
    equal(listeners, 0, 'a signal that outlives its requests keeps nothing of them');
    const held = client.request('slow.hold', {}, { timeout: Infinity, signal });
    await rejects(client.request('slow.hold'), { code: 'full' });
    controller.abort(new Error('enough'));
    await rejects(held, { message: 'enough' });
    await rejects(client.request('slow.hold', {}, { signal }), { message: 'enough' });
    equal(listeners, 0);
    equal(await client.request('game.echo', 'next', { timeout: 10_000 }), 'next');
  },

  async 'what waits to be sent is bounded, and none of it is lost'({ open, control }) {
    const client = await open({ maxQueuedBytes: 1 << 18 });
    const text = 'x'.repeat(10_000);
    const before = await client.request('game.counted');
    await control('freeze');
    let sent = 0;
    try {
      for (; sent < 10_000; sent++) client.notify('game.count', text);
    } catch (error) {
      equal(error.code, 'full');
    } finally {
      await control('thaw');
    }
    ok(sent >= 25 && sent < 10_000, `${sent} notifies were taken`);
    let counted;
    while (counted === undefined) {
      counted = await client.request('game.counted').catch(() => new Promise((next) => setTimeout(next)));
    }
    equal(counted, before + sent);
    await rejects(client.request('x'.repeat(256)), { code: 'too-long' });
    await rejects(client.request('game.echo', 'x'.repeat(1 << 24)), { code: 'too-long' });
    equal(client.state, 'open');
  },

  async 'a kick is final, and tells why'({ open }) {
    const client = await open({ codec: words });
    await client.request('game.kick', 'closing time');
    const { reason } = await status(client, 'closed');
    equal(reason, { code: 'kicked', message: 'kicked: closing time', kick: 'closing time' });
    await rejects(client.request('game.echo'), { name: 'ClientError', code: 'kicked' });
    client.reconnect();
    await status(client, 'open');
    await client.request('game.kick', '');
    equal((await status(client, 'closed')).reason, { code: 'kicked', message: 'kicked' });
  },

  async 'the handshake tells who comes, and may be refused'({ open }) {
    const user = { level: 7, name: 'Ada' };
    const client = await open({ user, platform: 'test', clientVersion: '1.2' });
    equal(await client.request('game.hello'), { platform: 'test', user, version: '1.2' });
    const plain = await open();
    equal((await plain.request('game.hello')).platform, 'web');
    await rejects(open({ user: { unwelcome: true } }), { name: 'ClientError', code: 'refused' });
  },

  async 'who cannot connect is told'({ url, open, control, env }) {
    await rejects(connect('ftp://nowhere', { ...env }), { code: 'invalid' });
    await rejects(open({ maxRequests: 0 }), { code: 'invalid' });
    const missing = new URL('missing.wasm', import.meta.url);
    await rejects(open({ module: missing }), { code: 'lost' });
    const signal = AbortSignal.abort(new Error('not now'));
    await rejects(open({ signal }), { message: 'not now' });

    await control('stop');
    await rejects(open({ reconnect: QUICK }), { code: 'lost', message: 'the server cannot be reached' });
    const client = new Client(url, { ...env, reconnect: { min: 1, max: 2, attempts: 3 } });
    const states = collect();
    client.onStatus(({ state }) => states(state));
    equal((await status(client, 'closed')).reason.code, 'lost');
    equal(states.values, ['away', 'connecting', 'away', 'connecting', 'closed']);
    await control('start');
    client.reconnect();
    await status(client, 'open');
    client.close();
  },

  async 'it comes back, and each request ends once'({ open, control }) {
    const client = await open({ reconnect: QUICK });
    const ends = collect();
    const held = [1, 2, 3].map(() => client.request('slow.hold').catch((error) => ends(error.code)));
    await client.request('game.echo');
    const away = status(client, 'away');
    await control('stop');
    equal((await away).reason.code, 'lost');
    await Promise.all(held);
    equal(ends.values, ['lost', 'lost', 'lost']);
    await rejects(client.request('game.echo'), { code: 'away' });
    let thrown;
    try {
      client.notify('game.tell');
    } catch (error) {
      thrown = error;
    }
    equal(thrown.code, 'away');
    await control('start');
    await status(client, 'open');
    equal(await client.request('game.echo', 'back'), 'back');
    equal(ends.values.length, 3);
  },

  async 'what is asked while away can wait, behind a login'({ open, control }) {
    const client = await open({ reconnect: QUICK, whileAway: 'queue', maxRequests: 2 });
    const order = [];
    const ask = (what, options) => client.request('game.echo', what, options).then((told) => order.push(told));
    const away = status(client, 'away');
    await control('stop');
    await away;
    client.onStatus(({ state }) => state === 'open' && ask('login'));
    const told = collect();
    client.on('onTold', told);
    await rejects(ask('late', { timeout: 5 }), { code: 'timeout' });
    const controller = new AbortController();
    const given = rejects(ask('given up', { signal: controller.signal }), { name: 'AbortError' });
    controller.abort();
    await given;
    client.notify('game.tell', 'told');
    const asked = ask('asked');
    await rejects(Promise.all([ask('second'), ask('third')]), { code: 'full' });
    await control('start');
    await asked;
    equal(await told.first(1), ['told']);
    equal(order.slice(0, 2), ['login', 'asked']);
  },

  async 'an idle client stays, and a silent server is noticed'({ open, control }) {
    const client = await open({ reconnect: QUICK });
    await rejects(client.request('slow.hold', {}, { timeout: 3600 }), { code: 'timeout' });
    const before = performance.now();
    const away = status(client, 'away');
    await control('freeze');
    equal((await away).reason.code, 'silent');
    const after = performance.now() - before;
    ok(after > 1000 && after < 8000, `noticed after ${after} ms, with a heartbeat of 1000 ms`);
    const timeout = await rejects(open({ connectTimeout: 50 }), { code: 'timeout' });
    ok(timeout.ending);
    await control('thaw');
    await status(client, 'open');
    equal(await client.request('game.echo', 'awake'), 'awake');
  },

  async 'it stays although timers come late'({ open }) {
    const real = globalThis.setTimeout;
    // As in a page that was hidden for long.
    globalThis.setTimeout = (callback, delay, ...rest) => real(callback, Math.max(delay, 60_000), ...rest);
    try {
      const client = await open({ timeout: Infinity });
      const states = collect();
      client.onStatus(({ state }) => states(state));
      await new Promise((resolve) => real(resolve, 4500));
      equal(await client.request('game.echo', 'still here'), 'still here');
      equal(states.values, []);
    } finally {
      globalThis.setTimeout = real;
    }
  },

  async 'a signal closes the client'({ open }) {
    const controller = new AbortController();
    const client = await open({ signal: controller.signal });
    const held = rejects(client.request('slow.hold'), { code: 'closed' });
    controller.abort();
    await held;
    equal(client.state, 'closed');
  },

  async 'bodies are what the codec makes of them'({ open, urls }) {
    const bytes = await open({ codec: raw, url: urls.protobuf });
    equal([...(await bytes.request('game.echo', new Uint8Array([0, 255, 7])))], [0, 255, 7]);
    equal((await bytes.request('game.echo')).length, 0);
    await rejects(bytes.request('game.echo', 'text'), { name: 'TypeError' });

    const client = await open({ codec: words, url: urls.protobuf });
    equal(client.serializer, 'protobuf');
    equal(await client.request('game.echo', 'any text'), 'any text');
    const error = await rejects(client.request('game.fail'), { code: 'GAME-001', msg: 'not enough coins' });
    equal(Object.entries(error.metadata).sort(), [['__proto__', 'x'], ['missing', '3']]);
    const pushed = collect();
    client.on('onMessage', pushed);
    await client.request('game.announce', 'pushed');
    equal(pushed.values, ['pushed']);

    const errors = collect();
    const mistaken = await open({ url: urls.protobuf, onError: errors });
    mistaken.on('onTold', pushed);
    client.notify('game.tell', 'no JSON');
    await errors.first(1);
    equal(errors.values.map(({ name }) => name), ['SyntaxError']);
    await rejects(mistaken.request('game.hello').then(() => mistaken.request('game.fail')), { code: 'GAME-001' });
  },
};

/** Runs one test. */
export async function run(name, { urls, control, env = {} }) {
  const clients = [];
  const open = async ({ url = urls.json, ...options } = {}) => {
    const client = await connect(url, { ...env, ...options });
    clients.push(client);
    return client;
  };
  try {
    await tests[name]({ open, env, urls, url: urls.json, control: (action) => control('json', action) });
  } finally {
    for (const client of clients) client.close();
  }
}
