// The pages that `cereus load` and `cereus conform` write, opened as files. CEREUS_CLI is the built command, CHAT_BIN the example
// that is loaded and checked.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { Example, widthOf } from './example.js';

const MARKUP = '<script>alert(1)</script>&"';
const QUANTILES = ['p50', 'p90', 'p99', 'p99.9', 'max'];
const WIDTHS = [1200, 400];
const chat = new Example(process.env.CHAT_BIN);
let folder, address;

before(async () => {
  folder = await fs.mkdtemp(path.join(os.tmpdir(), 'cereus-report-'));
  await chat.start();
  address = `tcp://127.0.0.1:${chat.ports.tcp}`;
});
after(async () => {
  await chat.close();
  await fs.rm(folder, { recursive: true });
});
afterEach(() => chat.closeOpened());

const inFolder = (name) => path.join(folder, name);

/** Runs the command and returns what it prints. */
async function cereus(code, ...args) {
  const options = { timeout: 60_000, maxBuffer: 2 ** 26 };
  const ended = await promisify(execFile)(process.env.CEREUS_CLI, [...args, '--json'], options).catch((error) => error);
  assert.equal(ended.code ?? 0, code, ended.stderr);
  return JSON.parse(ended.stdout);
}

/** The page, the report as data, and what was seen in each second. */
async function load(name, code, address, ...args) {
  const [html, csv] = [inFolder(`${name}.html`), inFolder(`${name}.csv`)];
  const files = ['--html', html, '--csv', csv];
  const report = await cereus(code, 'load', address, ...args, '--duration', '2', '--warm-up', '0.2', '--quiet', ...files);
  let begin = 0;
  const rows = (await fs.readFile(csv, 'utf8')).trim().split('\n').slice(1).map((line) => {
    const [end, , sent, answered, failed, p50, , p99, max] = line.split(',').map(Number);
    const errors = failed / (end - begin);
    begin = end;
    return { sent, answered, errors, p50, p99, max };
  });
  return { page: await open(html), report, rows };
}

/** A page that loads nothing and complains of nothing, checked at all widths, light and dark. */
async function open(file) {
  const page = await chat.newTab();
  const [address, loaded, said] = [pathToFileURL(file).href, [], []];
  page.on('request', (request) => loaded.push(request.url()));
  page.on('console', (message) => said.push(message.text()));
  await page.goto(address);
  for (const colorScheme of ['dark', 'light']) {
    await page.emulateMedia({ colorScheme });
    const [paper, ink] = await page.evaluate(() => {
      const { backgroundColor, color } = getComputedStyle(document.body);
      return [backgroundColor, color].map((color) => color.match(/\d+/g).reduce((sum, part) => sum + Number(part), 0));
    });
    assert.ok(colorScheme === 'dark' ? ink - paper > 400 : paper - ink > 400, `${colorScheme}: ${ink} on ${paper}`);
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 800 });
      assert.equal(await widthOf(page), width);
      await chat.shoot(page, `${path.basename(file, '.html')}-${width}-${colorScheme}`);
    }
  }
  assert.deepEqual({ loaded, said }, { loaded: [address], said: [] });
  return page;
}

/** What is in the cells of the table under a heading. */
const cells = (page, heading) => page.locator(`h2:text-is("${heading}") + .wide tr`).evaluateAll((rows) =>
  rows.map((row) => [...row.cells].map((cell) => cell.textContent.trim())));

/** Whether a number that people read is this one, rounded. */
function assertRounded(text, value) {
  const [, number, digits = '', unit = ''] = text.match(/^(\d+(?:\.(\d+))?)(?: (us|ms|s|k))?$/) ?? assert.fail(text);
  const size = { us: 1, ms: 1e3, s: 1e6, k: 1e3 }[unit] ?? 1;
  const error = Math.abs(Number(number) * size - value);
  assert.ok(error <= size / 10 ** digits.length / 2 + 1e-6, `${text} for ${value}`);
}

function assertLatencies(texts, { answered, latency_us: latency }) {
  if (answered === 0) return assert.deepEqual(texts, QUANTILES.map(() => '-'));
  assert.equal(texts.length, QUANTILES.length);
  texts.forEach((text, at) => assertRounded(text, latency[QUANTILES[at]]));
}

async function assertNumbers(page, report) {
  assert.equal(await page.locator('h1').textContent(), report.address);
  const how = await page.locator('h1 + p').textContent();
  assert.equal(how, `${report.load}, ${report.seconds.toFixed(1)} s: ${report.answered} answers, ${report.sent} sent`);
  assert.equal(await page.getByText(/^The generator /).count(), report.generator.limit ? 1 : 0);

  const values = await page.locator('.tiles b').allTextContents();
  assert.deepEqual(await page.locator('.tiles span').allTextContents(), ['answers/s', ...QUANTILES, 'errors']);
  assertRounded(values[0], report.answered_per_second);
  assertLatencies(values.slice(1, -1), report);
  const failed = Object.values(report.errors).reduce((sum, count) => sum + count, 0);
  assert.equal(values.at(-1), String(failed));

  const [head, ...routes] = await cells(page, 'Routes');
  assert.deepEqual(head, ['route', 'answers', ...QUANTILES]);
  assert.equal(routes.length, report.routes.length);
  routes.forEach(([route, answers, ...latencies], at) => {
    assert.deepEqual([route, answers], [report.routes[at].route, String(report.routes[at].answered)]);
    assertLatencies(latencies, report.routes[at]);
  });
  const errors = Object.entries(report.errors).map(([code, count]) => [code, String(count)]);
  assert.deepEqual(await cells(page, 'Errors'), failed ? [['what', 'how often'], ...errors] : []);
}

/** The plots as they are drawn, in pixels. */
const plots = (page) => page.locator('figure').evaluateAll((figures) => figures.map((figure) => {
  const labels = (axis) => [...figure.querySelectorAll(`.${axis}`)].map((label) => {
    const { left, right, top, bottom } = label.getBoundingClientRect();
    return { text: label.textContent, left, right, top, bottom };
  });
  const legend = [...figure.querySelectorAll('figcaption span')];
  const lines = [...figure.querySelectorAll('polyline')].map((line, at) => ({
    name: legend[at].textContent,
    colours: [getComputedStyle(legend[at]).color, getComputedStyle(line).stroke],
    points: [...line.points].map((point) => point.matrixTransform(line.getScreenCTM())).map(({ x, y }) => ({ x, y })),
  }));
  const { left, right, top, bottom } = figure.querySelector('svg').getBoundingClientRect();
  return { title: figure.querySelector('h2').textContent, left, right, top, bottom, lines, x: labels('x'), y: labels('y') };
}));

function assertReadable({ title, left, right, top, bottom, lines, x, y }, width) {
  assert.ok(right - left > width / 2 && bottom - top > 100, `${title} is ${right - left} x ${bottom - top}`);
  assert.ok(x.length > 1 && y.length > 2, `${title} has labels`);
  for (const { text, left, right } of [...x, ...y]) assert.ok(left >= 0 && right <= width, `${title}: ${text} is cut off`);
  for (let at = 1; at < x.length; at++) assert.ok(x[at - 1].right < x[at].left, `${title}: ${x[at].text} is written over`);
  for (let at = 1; at < y.length; at++) assert.ok(y[at].bottom < y[at - 1].top, `${title}: ${y[at].text} is written over`);
  for (const { name, colours, points } of lines) {
    assert.equal(colours[0], colours[1], `${name} has the colour that the legend says`);
    const isInside = ({ x, y }) => x > left - 1 && x < right + 1 && y > top - 1 && y < bottom + 1;
    assert.ok(points.every(isInside), `${title}: ${name} is inside`);
  }
  assert.equal(new Set(lines.map(({ colours }) => colours[0])).size, lines.length, `${title}: the lines can be told apart`);
}

/** The value that a point is read as, from the labels beside it. */
function read({ y }, point) {
  const middle = ({ top, bottom }) => (top + bottom) / 2;
  const size = { us: 1, ms: 1e3, s: 1e6, k: 1e3 }[y.at(-1).text.split(' ')[1]] ?? 1;
  return (middle(y[0]) - point.y) / (middle(y[0]) - middle(y.at(-1))) * parseFloat(y.at(-1).text) * size;
}

async function assertPlots(page, rows, expected) {
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: 800 });
    const drawn = await plots(page);
    assert.deepEqual(drawn.map(({ title, lines }) => [title, ...lines.map(({ name }) => name)]), expected);
    drawn.forEach((plot) => assertReadable(plot, width));
    const [messages, latency, percentiles] = drawn;
    for (const plot of [messages, latency].filter(Boolean)) {
      const highest = Math.max(...plot.lines.flatMap(({ points }) => points.map((point) => read(plot, point))));
      for (const { name, points } of plot.lines) {
        assert.equal(points.length, 2 * rows.length, `${name} has a beginning and an end for each second`);
        const ends = [points[0].x - plot.left, plot.right - points.at(-1).x];
        assert.ok(ends.every((gap) => Math.abs(gap) < 1), `${name} is as long as the plot`);
        rows.forEach((row, at) => {
          const value = read(plot, points[2 * at]);
          assert.ok(Math.abs(value - row[name]) < highest * 0.03, `${name}: ${value} for ${row[name]}`);
        });
      }
      assert.ok(plot.x.every(({ text }) => / s$/.test(text)), 'time has a unit');
    }
    if (!latency) continue;
    assert.ok(latency.y.every(({ text }) => / (us|ms|s)$/.test(text)), 'latencies have a unit');
    assert.deepEqual(percentiles.x.slice(0, 3).map(({ text }) => text), ['0 %', '90 %', '99 %']);
    const [{ points }] = percentiles.lines;
    assert.ok(points.length > 10 && points.every((point, at) => at === 0 || point.y <= points[at - 1].y + 0.1), 'it only rises');
  }
}

const LATENCIES = [['Latency over time', 'max', 'p99', 'p50'], ['Latency by percentile', 'latency']];

test('a closed loop without errors', async () => {
  const { page, report, rows } = await load('closed', 0, address, '--route', 'room.leave', '--closed', '2');
  assert.ok(report.load.startsWith('closed loop'));
  await assertNumbers(page, report);
  await assertPlots(page, rows, [['Messages per second', 'sent', 'answered'], ...LATENCIES]);
});

test('an open loop with a mix, errors, and a route that is markup', async () => {
  const mix = [
    { route: 'room.leave', weight: 6 },
    { route: 'room.leave', notify: true },
    { route: 'room.say', body: 'to nobody' },
    { route: `room.${MARKUP}` },
  ];
  await fs.writeFile(inFolder('mix.json'), JSON.stringify(mix));
  const { page, report, rows } = await load('mix', 1, address, '--mix', inFolder('mix.json'), '--rate', '500');
  const routes = ['room.leave', 'room.leave (notify)', 'room.say', `room.${MARKUP}`];
  assert.deepEqual(report.routes.map(({ route }) => route), routes);
  assert.deepEqual(Object.keys(report.errors), ['PIT-400', 'PIT-404']);
  await assertNumbers(page, report);
  await assertPlots(page, rows, [['Messages per second', 'sent', 'answered', 'errors'], ...LATENCIES]);
});

test('a server that answers nothing but errors, whose code is markup', async () => {
  const server = net.createServer(refuse).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const address = `tcp://127.0.0.1:${server.address().port}`;
    const { page, report, rows } = await load('refused', 1, address, '--route', 'a.b', '--rate', '200');
    assert.deepEqual([report.answered, Object.keys(report.errors)], [0, [MARKUP]]);
    await assertNumbers(page, report);
    await assertPlots(page, rows, [['Messages per second', 'sent', 'answered', 'errors']]);
  } finally {
    server.close();
  }
});

/** Shakes hands, and answers each request with an error. */
function refuse(socket) {
  const send = (type, ...parts) => {
    const body = Buffer.concat(parts);
    const head = Buffer.alloc(4);
    head.writeUInt32BE(type * 2 ** 24 + body.length);
    socket.write(Buffer.concat([head, body]));
  };
  let input = Buffer.alloc(0);
  socket.on('error', () => {});
  socket.on('data', (bytes) => {
    input = Buffer.concat([input, bytes]);
    while (input.length >= 4 && input.length >= 4 + input.readUIntBE(1, 3)) {
      const end = 4 + input.readUIntBE(1, 3);
      const [type, message] = [input[0], input.subarray(4, end)];
      input = input.subarray(end);
      if (type === 1) send(1, Buffer.from(JSON.stringify({ code: 200, sys: { heartbeat: 60, serializer: 'json' } })));
      if (type !== 4) continue;
      const id = message.subarray(1, 2 + message.subarray(1).findIndex((byte) => byte < 0x80));
      send(4, Buffer.from([0x24]), id, Buffer.from(JSON.stringify({ code: MARKUP, msg: '' })));
    }
  });
}

test('what was checked of a server', async () => {
  const offer = `family = 'cereus'\n[error]\nroute = 'room.say'\nbody = '"to nobody"'\ncode = '${MARKUP}'\n`;
  await fs.writeFile(inFolder('routes.toml'), offer);
  const file = inFolder('conform.html');
  const { checks, summary } = await cereus(1, 'conform', address, '--routes', inFolder('routes.toml'), '--report', file);
  const page = await open(file);
  assert.equal(await page.locator('h1').textContent(), address);
  const words = `${summary.pass} passed, ${summary.fail} failed, `;
  assert.ok((await page.locator('header p').textContent()).includes(words));

  const shown = await page.locator('details').evaluateAll((all) => all.map((row) => {
    const [verdict, title, id, reason] = row.querySelector('summary').children;
    const exchange = row.querySelectorAll('.exchange p').length;
    return [row.id, verdict.textContent, title.textContent, id.textContent, reason.textContent, exchange, row.open];
  }));
  const expected = checks.map(({ id, verdict, title, section, reason, exchange }) =>
    [id, verdict, title, `${id} · ${section}`, reason, exchange.length || 1, verdict === 'fail']);
  assert.deepEqual(shown, expected);
  assert.ok(checks.some(({ reason }) => reason.includes(MARKUP.slice(0, -1))), 'a reason has markup in it');

  for (const [kind, count] of Object.entries({ ...summary, all: checks.length })) {
    await page.locator('nav').getByText(`${kind} ${count}`, { exact: true }).click();
    const visible = await page.locator('details').evaluateAll((all) => all.filter((row) => row.checkVisibility()).length);
    assert.equal(visible, count, kind);
  }

  const hidden = page.locator('details:not([open])').first();
  const exchange = page.locator(`[id="${await hidden.getAttribute('id')}"] .exchange`);
  await hidden.locator('summary').click();
  await exchange.waitFor();
  await page.locator('details').evaluateAll((all) => all.forEach((row) => (row.open = true)));
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: 800 });
    assert.equal(await widthOf(page), width, 'bytes are scrolled inside their frame');
    await chat.shoot(page, `conform-open-${width}`);
  }
});
