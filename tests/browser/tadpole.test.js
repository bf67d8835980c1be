// The tadpole example in a real browser. TADPOLE_BIN is the built example.
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { Example, widthOf } from './example.js';

/** As much as a tadpole swims in a tick, with what rounding adds. */
const MAX_STEP = 14 + 2;

let example;

/** A pond of its own for each test: what is pushed depends on how many are in it. */
async function fill({ bots }) {
  example = new Example(process.env.TADPOLE_BIN, ['--bots', String(bots)]);
  await example.start();
}

afterEach(async () => {
  try {
    await example.closeOpened();
  } finally {
    await example.close();
  }
});

async function dive(name, options) {
  const page = await example.openTab('', options);
  await page.getByLabel('Your name').fill(name);
  await page.getByRole('button', { name: 'Dive in' }).click();
  await page.waitForFunction(() => pond.tadpoles.has(pond.own));
  return page;
}

async function join(name) {
  const client = await example.openTcp();
  return { client, ...(await client.request('pond.join', { name })) };
}

const named = (view, wanted) => view.tadpoles.find(([, name]) => name === wanted);

/** What a page shows of somebody, once it is so. */
const shows = (page, name, isSo) => page.waitForFunction(
  ([name, isSo]) => new Function('tadpole', `return ${isSo}`)([...pond.tadpoles.values()].find((one) => one.name === name)),
  [name, isSo],
);

const placeOf = (page, name) =>
  page.evaluate((name) => [...pond.tadpoles.values()].find((one) => one.name === name).seen.x, name);

test('two pages see each other swim, speak and leave', async () => {
  await fill({ bots: 12 });
  const ada = await dive('Ada');
  const grace = await dive('Grace');
  await shows(ada, 'Grace', 'tadpole');

  const before = await placeOf(grace, 'Ada');
  await ada.keyboard.down('ArrowRight');
  await shows(grace, 'Ada', `tadpole.seen.x > ${before + 100}`);
  await ada.keyboard.up('ArrowRight');

  const start = await placeOf(ada, 'Grace');
  await grace.mouse.move(20, 360);
  await shows(ada, 'Grace', `tadpole.seen.x < ${start - 100}`);

  await grace.getByLabel('Message').fill('<b>Is that you, Ada?</b>');
  await grace.keyboard.press('Enter');
  await ada.getByRole('log').getByText('Grace: <b>Is that you, Ada?</b>', { exact: true }).waitFor({ state: 'attached' });
  await ada.getByText('2 players · 12 bots').waitFor();
  await example.shoot(ada, 'pond');

  await grace.close();
  await shows(ada, 'Grace', '!tadpole');
});

test('a page that stalls comes to the latest state, and delays nobody', async () => {
  await fill({ bots: 12 });
  const small = { viewport: { width: 400, height: 400 } };
  const [stalled, other] = [await dive('Stalled', small), await dive('Other', small)];
  await other.evaluate(() => {
    const { receive } = pond;
    window.pushes = [];
    pond.receive = (view) => {
      pushes.push({ tick: view.tick, at: performance.now() });
      receive.call(pond, view);
    };
  });
  const before = await stalled.evaluate(() => {
    const end = performance.now() + 4000;
    while (performance.now() < end);
    return pond.tick;
  });
  const pushes = await other.evaluate(() => pushes);
  const latest = pushes.at(-1).tick;
  assert.ok(latest > before + 20, `the other one was pushed ${latest - before} states meanwhile`);
  const late = Math.max(...pushes.slice(1).map(({ at }, number) => at - pushes[number].at));
  assert.ok(late < 1500, `and waited ${late} ms for the next`);
  assert.ok(pushes.every(({ tick }, number) => tick === pushes[0].tick + number), 'and missed none');

  await stalled.waitForFunction((latest) => pond.tick >= latest, latest);
  assert.equal(await stalled.locator('#state').textContent(), 'connected');
});

test('what a socket cannot take is replaced by the latest state', async () => {
  await fill({ bots: 4000 });
  const [stalled, other] = [await join('Stalled'), await join('Other')];
  const first = (await stalled.client.push('onPond')).tick;
  stalled.client.pause();
  let latest;
  for (let seen = 0; seen < 120; seen++) {
    const { tick } = await other.client.push('onPond');
    assert.ok(!latest || tick === latest + 1, `the other one was pushed ${tick} after ${latest}`);
    latest = tick;
  }
  stalled.client.resume();
  const ticks = [first];
  while (ticks.at(-1) < latest) ticks.push((await stalled.client.push('onPond')).tick);
  const skipped = Math.max(...ticks.slice(1).map((tick, number) => tick - ticks[number]));
  assert.ok(skipped > 10, `of ${latest - first} states ${ticks.length} were sent, ${skipped} were skipped at once`);
});

test('nobody swims faster, farther or with more words than is allowed', async () => {
  await fill({ bots: 0 });
  const { client, id, radius } = await join('Cheat');
  const refused = (code, route, body) => assert.rejects(client.request(route, body), { code });
  await refused('POND-004', 'pond.join', { name: '   ' });
  await refused('POND-005', 'pond.join', { name: 'x'.repeat(17) });
  client.notify('pond.steer', { x: 1e39, y: 0 });
  client.notify('pond.say', 'x'.repeat(81));
  client.notify('pond.steer', { x: 1e6, y: 1e6 });
  let last;
  for (let ticks = 0, shore = 0; shore < 3; ticks++) {
    assert.ok(ticks < 300, 'the shore is reached');
    const [, , x, y, , text] = named(await client.push('onPond', (view) => named(view, 'Cheat')), 'Cheat');
    assert.equal(text, '');
    if (last) assert.ok(Math.hypot(x - last.x, y - last.y) <= MAX_STEP, `from ${last.x}, ${last.y} to ${x}, ${y}`);
    assert.ok(Math.hypot(x, y) <= radius);
    shore += Math.hypot(x, y) > radius - 3 ? 1 : 0;
    last = { x, y };
  }
  const other = await join('Other');
  assert.notEqual(other.id, id);
  other.client.notify('pond.say', ' y '.repeat(3));
  const heard = await client.push('onPond', (view) => named(view, 'Other')?.[5]);
  assert.equal(named(heard, 'Other')[5], 'y  y  y');
  other.client.close();
  await client.push('onPond', (view) => view.tick > heard.tick && !named(view, 'Other'));
});

test('it fits a phone, and a finger steers', async () => {
  await fill({ bots: 40 });
  const phone = await dive('Thumb', { viewport: { width: 360, height: 640 }, hasTouch: true, deviceScaleFactor: 2 });
  assert.ok((await widthOf(phone)) <= 360);
  const before = await placeOf(phone, 'Thumb');
  const canvas = phone.locator('canvas');
  await canvas.dispatchEvent('pointerdown', { clientX: 355, clientY: 320, pointerType: 'touch' });
  await shows(phone, 'Thumb', `tadpole.seen.x > ${before + 100}`);
  await canvas.dispatchEvent('pointerup', { clientX: 355, clientY: 320, pointerType: 'touch' });
  await shows(phone, 'Thumb', 'tadpole.seen.speed < 5');
  await example.shoot(phone, 'phone');
  await phone.setViewportSize({ width: 640, height: 360 });
  await phone.waitForFunction(() => document.querySelector('canvas').width === 1280);
});

test('it comes back when the server does', async () => {
  await fill({ bots: 3 });
  const page = await dive('Phoenix', { viewport: { width: 360, height: 640 } });
  await example.stop();
  await page.locator('body[data-state=away]').waitFor();
  assert.ok((await widthOf(page)) <= 360);
  await example.shoot(page, 'offline');
  await example.start();
  const { client } = await join('Friend');
  await client.push('onPond', (view) => named(view, 'Phoenix'));
  await page.waitForFunction(() => pond.tadpoles.get(pond.own)?.name === 'Phoenix');
});
