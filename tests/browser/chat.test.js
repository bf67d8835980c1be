// The chat example in a real browser, beside a client over TCP. CHAT_BIN is the built example.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { Example, widthOf } from './example.js';

const chat = new Example(process.env.CHAT_BIN);
const openTab = (room, options) => chat.openTab(`#${room}`, options);
const openTcp = () => chat.openTcp();
const shoot = (page, name) => chat.shoot(page, name);

before(() => chat.start());
after(() => chat.close());
afterEach(() => chat.closeOpened());

async function join(page, name) {
  await page.getByLabel('Your name').fill(name);
  await page.getByRole('button', { name: 'Join' }).click();
  await page.getByRole('log').waitFor();
}

async function say(page, text) {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.getByRole('button', { name: 'Send' }).click();
}

/** A line in the log: a message or a notice. */
const line = (page, text) => page.getByRole('log').getByText(text, { exact: true });

test('two tabs and a TCP client talk in one room', async () => {
  const ada = await openTab('talk');
  await shoot(ada, 'entrance');
  assert.equal(await ada.getByLabel('Room').inputValue(), 'talk', 'the room comes from the address');
  await join(ada, 'Ada');
  await line(ada, 'Nobody has said anything yet.').waitFor();

  const grace = await openTab('talk');
  await join(grace, 'Grace');
  await line(ada, 'Grace joined').waitFor();

  const linus = await openTcp();
  const joined = await linus.request('room.join', { name: 'Linus', room: 'talk' });
  assert.deepEqual(joined, { name: 'Linus', room: 'talk', members: ['Ada', 'Grace', 'Linus'], history: [] });
  for (const page of [ada, grace]) {
    await line(page, 'Linus joined').waitFor();
    assert.equal(await page.locator('#members li').count(), 3);
  }

  await say(ada, 'Hello, Grace.');
  await line(grace, 'Hello, Grace.').waitFor();
  assert.equal((await linus.push('onMessage')).text, 'Hello, Grace.');

  await say(grace, 'Hello, Ada!');
  await say(grace, 'Who is Linus?');
  await line(ada, 'Who is Linus?').waitFor();

  await linus.request('room.say', 'I came by TCP. 🌵');
  for (const page of [ada, grace]) await line(page, 'I came by TCP. 🌵').waitFor();
  const heard = await linus.push('onMessage', ({ name }) => name === 'Linus');
  assert.equal(heard.room, 'talk');
  assert.ok(Math.abs(heard.at - Date.now()) < 60_000);

  assert.equal(await ada.locator('.own').count(), 1, 'own messages stand apart');
  assert.equal(await ada.locator('.group').count(), 3, 'messages of one author are grouped');
  await say(ada, 'A long one, to see how lines are broken: the server speaks the protocol of Pitaya over TCP and '
    + 'WebSocket at the same time, and all three of us are in one room.\nThis is its second line.');
  await grace.getByText('This is its second line.').waitFor();
  await shoot(ada, 'light');
  await ada.emulateMedia({ colorScheme: 'dark' });
  await shoot(ada, 'dark');

  await grace.getByRole('button', { name: 'Leave' }).click();
  await line(ada, 'Grace left').waitFor();
  assert.equal((await linus.push('onLeave')).name, 'Grace');
  linus.close();
  await line(ada, 'Linus left').waitFor();
  assert.equal(await ada.locator('#members li').count(), 1);
});

test('who comes later sees what was said', async () => {
  const early = await openTcp();
  await early.request('room.join', { name: 'Early', room: 'past' });
  for (let number = 1; number <= 55; number++) await early.request('room.say', `number ${number}`);

  const late = await openTab('past');
  await join(late, 'Late');
  await line(late, 'number 55').waitFor();
  assert.equal(await line(late, 'number 6').count(), 1);
  assert.equal(await line(late, 'number 5').count(), 0, 'the history is bounded');
});

test('a name that is taken is refused, and its owner stays', async () => {
  const owner = await openTcp();
  await owner.request('room.join', { name: 'Owner', room: 'names' });
  const thief = await openTab('names');
  await thief.getByLabel('Your name').fill('Owner');
  await thief.getByRole('button', { name: 'Join' }).click();
  const alert = thief.getByRole('alert');
  await alert.waitFor();
  assert.equal(await alert.textContent(), 'Somebody is called Owner already.');
  await shoot(thief, 'refused');
  await join(thief, 'Other');
  assert.equal((await owner.push('onJoin')).name, 'Other');
});

test('what cannot be is refused with a code', async () => {
  const client = await openTcp();
  const refused = (code, route, body) => assert.rejects(client.request(route, body), { code });
  await refused('CHAT-005', 'room.say', 'to nobody');
  await refused('CHAT-003', 'room.join', { name: ' ', room: 'rules' });
  await refused('CHAT-004', 'room.join', { name: 'x'.repeat(21), room: 'rules' });
  await client.request('room.join', { name: 'Rules', room: 'rules' });
  await refused('CHAT-002', 'room.join', { name: 'Another', room: 'rules' });
  await refused('CHAT-003', 'room.say', '\n');
  await refused('CHAT-004', 'room.say', 'é'.repeat(501));
  await refused('PIT-400', 'room.say', {});
  await client.request('room.say', 'é'.repeat(500));

  const other = await openTcp();
  await other.request('room.join', { name: 'Guest', room: 'rules' });
  await client.request('room.join', { name: 'Rules', room: 'rules 2' });
  assert.equal((await other.push('onLeave')).name, 'Rules', 'who joins a room leaves the other');
  await client.request('room.leave');
  await client.request('room.leave');
  await refused('CHAT-005', 'room.say', 'gone');
});

test('rooms are bounded, and an empty one gives way', async () => {
  const client = await openTcp();
  const join = (number) => client.request('room.join', { name: 'Wanderer', room: `wander ${number}` });
  for (let number = 0; number < 105; number++) await join(number);
  await client.request('room.say', 'still works');
});

test('a reload leaves and joins again', async () => {
  const witness = await openTcp();
  await witness.request('room.join', { name: 'Witness', room: 'again' });
  const page = await openTab('again');
  await join(page, 'Reloader');
  await witness.push('onJoin');
  await say(page, 'before');
  await witness.push('onMessage');
  await page.reload();
  await witness.push('onLeave', ({ name }) => name === 'Reloader');
  await witness.push('onJoin', ({ name }) => name === 'Reloader');
  await line(page, 'before').waitFor();
  assert.equal(await page.locator('.own').count(), 1);
});

test('another room by the address', async () => {
  const page = await openTab('first');
  await join(page, 'Mover');
  await page.evaluate(() => (location.hash = 'second'));
  await page.getByRole('heading', { name: 'second' }).waitFor();
  const there = await openTcp();
  assert.deepEqual((await there.request('room.join', { name: 'There', room: 'second' })).members, ['Mover', 'There']);
});

test('it fits a phone', async () => {
  const phone = await openTab('phone', { viewport: { width: 360, height: 640 }, hasTouch: true });
  assert.ok((await widthOf(phone)) <= 360);
  await join(phone, 'Thumbs of twenty c.');
  const others = await Promise.all(['Wanda', 'Xaver', 'Yvonne, the second'].map(async (name) => {
    const client = await openTcp();
    await client.request('room.join', { name, room: 'phone' });
    return client;
  }));
  await others[0].request('room.say', 'w'.repeat(200));
  await others[1].request('room.say', 'Have you seen https://example.org/a-very-long-address-that-does-not-break?');
  await say(phone, 'Yes. It fits.');
  await line(phone, 'Yes. It fits.').waitFor();
  assert.ok((await widthOf(phone)) <= 360);
  await shoot(phone, 'phone');
});

test('markup is shown as text', async () => {
  const page = await openTab('markup');
  await join(page, 'Reader');
  const writer = await openTcp();
  const markup = '<img src=x onerror=alert(1)><script>alert(2)</script>';
  await writer.request('room.join', { name: '<b>Eve</b>', room: 'markup' });
  await writer.request('room.say', markup);
  await line(page, markup).waitFor();
  await line(page, '<b>Eve</b> joined').waitFor();
  assert.equal(await page.locator('main img, main script, aside b').count(), 0);
});

test('it comes back when the server does', async () => {
  const page = await openTab('phoenix', { viewport: { width: 360, height: 640 } });
  await join(page, 'Phoenix');
  await chat.stop();
  await page.locator('#state[data-state=away]').waitFor();
  assert.ok(await page.getByRole('button', { name: 'Send' }).isDisabled());
  assert.ok((await widthOf(page)) <= 360);
  await shoot(page, 'offline');
  await chat.start();
  await page.locator('#state[data-state=open]').waitFor();
  const friend = await openTcp();
  await friend.request('room.join', { name: 'Friend', room: 'phoenix' });
  await friend.request('room.say', 'Welcome back.');
  await line(page, 'Welcome back.').waitFor();
});
