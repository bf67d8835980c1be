// A built example that serves a page, and the tabs that are open on it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import os from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { chromium } from 'playwright-core';
import { TcpClient } from './pitaya.js';

const { CHROMIUM = '/usr/bin/chromium', SCREENSHOTS } = process.env;
const browserArgs = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
];

export class Example {
  #binary;
  #args;
  #child;
  #browser;
  #opened = [];
  #shots;

  constructor(binary, args = []) {
    assert.ok(binary, 'the environment names the built example');
    this.#binary = binary;
    this.#args = args;
    this.#shots = path.join(os.tmpdir(), `cereus-${path.basename(binary)}`);
  }

  async close() {
    await this.#browser?.close();
    if (this.#child) await this.stop();
  }

  /** Starts the server, again on the same ports, and waits until it says where it listens. */
  async start() {
    const { tcp = 0, http = 0 } = this.ports ?? {};
    const addresses = ['--tcp', `127.0.0.1:${tcp}`, '--web', `127.0.0.1:${http}`];
    this.#child = spawn(this.#binary, [...addresses, ...this.#args], { stdio: ['ignore', 'pipe', 'inherit'] });
    const lines = readline.createInterface({ input: this.#child.stdout });
    const ports = {};
    for await (const line of lines) {
      const [, scheme, port] = line.match(/(tcp|http):\/\/127\.0\.0\.1:(\d+)$/) ?? [];
      ports[scheme] = Number(port);
      if (ports.tcp && ports.http) break;
    }
    assert.ok(ports.tcp && ports.http, 'the server says where it listens');
    this.ports = ports;
  }

  async stop() {
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }

  async openTab(hash = '', options = {}) {
    const page = await this.newTab(options);
    await page.goto(`http://127.0.0.1:${this.ports.http}/${hash}`);
    return page;
  }

  /** A tab of its own: what it stores is not seen by the others. */
  async newTab(options = {}) {
    this.#browser ??= await chromium.launch({ executablePath: CHROMIUM, args: browserArgs });
    const context = await this.#browser.newContext({ viewport: { width: 1100, height: 720 }, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(15_000);
    const errors = [];
    page.on('pageerror', (error) => errors.push(error));
    page.on('dialog', (dialog) => errors.push(new Error(`a dialog: ${dialog.message()}`)));
    this.#opened.push({ close: () => context.close(), errors });
    return page;
  }

  async openTcp() {
    const client = await TcpClient.connect(this.ports.tcp);
    this.#opened.push({ close: () => client.close(), errors: [] });
    return client;
  }

  /** Closes what a test opened. */
  async closeOpened() {
    const ended = this.#opened.splice(0);
    await Promise.all(ended.map(({ close }) => close()));
    assert.deepEqual(ended.flatMap(({ errors }) => errors), [], 'no page had an error');
  }

  async shoot(page, name) {
    if (SCREENSHOTS) await page.screenshot({ path: path.join(this.#shots, `${name}.png`) });
  }
}

export const widthOf = (page) => page.evaluate(() => document.scrollingElement.scrollWidth);
