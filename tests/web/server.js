// The built example `web-server`, which WEB_SERVER_BIN names.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import readline from 'node:readline';

const { WEB_SERVER_BIN } = process.env;
assert.ok(WEB_SERVER_BIN, 'WEB_SERVER_BIN names the built example web-server');

class Server {
  #args;
  #child;
  #address = '127.0.0.1:0';

  constructor(...args) {
    this.#args = args;
  }

  get url() {
    return `ws://${this.#address}`;
  }

  /** Starts it, again at the same address, and waits until it listens. */
  async start() {
    const args = ['--web', this.#address, ...this.#args];
    this.#child = spawn(WEB_SERVER_BIN, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const [line] = await once(readline.createInterface({ input: this.#child.stdout }), 'line');
    this.#address = line.match(/127\.0\.0\.1:\d+$/)[0];
  }

  async stop() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }

  /** It is there, but does nothing. */
  freeze() {
    this.#child.kill('SIGSTOP');
  }

  thaw() {
    this.#child.kill('SIGCONT');
  }
}

/** The servers of the suite, and what it does to them by name. */
export async function startServers() {
  const servers = {
    json: new Server('--compression', 'on'),
    protobuf: new Server('--serializer', 'protobuf'),
  };
  await Promise.all(Object.values(servers).map((server) => server.start()));
  return {
    urls: Object.fromEntries(Object.entries(servers).map(([name, { url }]) => [name, url])),
    control: async (name, action) => servers[name][action](),
    stop: () => Promise.all(Object.values(servers).map((server) => server.stop())),
  };
}
