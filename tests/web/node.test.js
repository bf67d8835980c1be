// The suite in Node, over the WebSocket of Node and over that of the package `ws`.
import { after, before, describe, test } from 'node:test';
import { WebSocket as Ws } from 'ws';
import { startServers } from './server.js';
import { run, tests } from './suite.js';

for (const [name, env] of Object.entries({ 'the WebSocket of Node': {}, 'the package ws': { WebSocket: Ws } })) {
  describe(name, { concurrency: false }, () => {
    let servers;
    before(async () => {
      servers = await startServers();
    });
    after(() => servers.stop());
    for (const name of Object.keys(tests)) test(name, () => run(name, { ...servers, env }));
  });
}
