// SPDX-License-Identifier: MIT
// Logs in with MQTT.js as a web page does: node token.js URL PASSWORD CA. Publishes and receives one
// message, then waits for the end of the connection; prints a line of JSON for every step.
'use strict';

const fs = require('node:fs');
const mqtt = require('mqtt');

const [url, password, ca] = process.argv.slice(2);

function say(event, detail) {
    console.log(JSON.stringify({ event, ...detail }));
}

const client = mqtt.connect(url, {
    protocolVersion: 5,
    username: 'page',
    password,
    reconnectPeriod: 0,
    connectTimeout: 10000,
    ca: fs.readFileSync(ca),
});
client.on('error', (error) => {
    say('refused', { code: error.code });
    process.exit(0);
});
client.on('connect', async () => {
    say('connected');
    await client.subscribeAsync('page/news', { qos: 1 });
    client.publish('page/news', 'hello', { qos: 1 });
});
client.on('message', (topic, payload) => say('message', { topic, payload: payload.toString() }));
client.on('disconnect', (packet) => say('disconnect', { code: packet.reasonCode }));
client.on('close', () => process.exit(0));
