// The suite in a page in Chromium.
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { startServers } from './server.js';
import { tests } from './suite.js';

const { CHROMIUM = '/usr/bin/chromium' } = process.env;
const page = `<!doctype html><script type="importmap">{"imports":{"cereus-client":"/dist/cereus.js"}}</script>
<script type="module">import { run } from './suite.js'; window.run = run;</script>`;
const types = { js: 'text/javascript', wasm: 'application/wasm' };
const folders = { dist: new URL('../../client/web/dist/', import.meta.url), '': new URL('.', import.meta.url) };

/** Serves the page, the suite and the built package. */
const web = http.createServer(async ({ url }, answer) => {
  if (url === '/') return answer.setHeader('content-type', 'text/html').end(page);
  const [, folder, name] = url.match(/^\/(?:(dist)\/)?([a-z]+\.(?:js|wasm))$/) ?? [];
  const file = name && (await readFile(new URL(name, folders[folder ?? ''])).catch(() => null));
  if (!file) return answer.writeHead(404).end();
  answer.setHeader('content-type', types[name.split('.')[1]]).end(file);
});

let servers, browser, tab;
before(async () => {
  servers = await startServers();
  await once(web.listen(0, '127.0.0.1'), 'listening');
  const args = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'];
  browser = await chromium.launch({ executablePath: CHROMIUM, args });
  tab = await browser.newPage();
  await tab.exposeFunction('control', servers.control);
  await tab.goto(`http://127.0.0.1:${web.address().port}/`);
  await tab.waitForFunction(() => window.run);
});
after(async () => {
  await browser?.close();
  web.close();
  await servers.stop();
});

for (const name of Object.keys(tests)) {
  test(name, () => tab.evaluate(([name, urls]) => run(name, { urls, control }), [name, servers.urls]));
}
