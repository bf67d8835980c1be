// The server of these tests. JAVASCRIPT_SERVER_BIN is the built example `javascript-server`.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import readline from 'node:readline';

export const HEARTBEAT = 1000;
export const PACKET = { handshake: 1, heartbeat: 3, data: 4, kick: 5 };
export const DICTIONARY = { onMessage: 1, 'game.echo': 2, 'game.tell': 300 };

const { JAVASCRIPT_SERVER_BIN } = process.env;
assert.ok(JAVASCRIPT_SERVER_BIN, 'JAVASCRIPT_SERVER_BIN names the built example javascript-server');

export async function startServer(compression) {
  const args = ['--compression', compression, '--web', '127.0.0.1:0'];
  const child = spawn(JAVASCRIPT_SERVER_BIN, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await once(readline.createInterface({ input: child.stdout }), 'line');
  const stop = async () => {
    const ended = once(child, 'exit');
    child.kill();
    await ended;
  };
  return { child, port: Number(line.match(/:(\d+)$/)[1]), stop };
}
