// A server of pomelo with what `cereus conform` tries.
'use strict';

const net = require('node:net');
const pomelo = require('pomelo');

// pomelo gives options where a socket of today takes an encoding, and throws away the answer to each handshake over TCP.
const { write } = net.Socket.prototype;
net.Socket.prototype.write = function (data, encoding, ...rest) {
  return write.call(this, data, typeof encoding === 'object' ? undefined : encoding, ...rest);
};

const app = pomelo.createApp();
app.set('name', 'conform');
app.configure('development', 'connector', () => {
  app.set('connectorConfig', {
    connector: pomelo.connectors.hybridconnector,
    heartbeat: 1,
    useDict: true,
    checkClient: (_type, version) => version !== 'unwanted',
  });
});
app.start();

// As the template of pomelo has it: packets that are broken throw where nobody catches.
process.on('uncaughtException', (error) => console.error('uncaught:', error));
