// SPDX-License-Identifier: MIT
// Drives MQTT.js against a broker: node mqttjs.js URL VERSION [CA FILE]. Subscribes, publishes at
// each QoS, comes back to a persistent session, and prints one line of JSON for every step.
'use strict';

const fs = require('node:fs');
const mqtt = require('mqtt');

const [url, version, ca] = process.argv.slice(2);
const options = {
    protocolVersion: Number(version),
    protocolId: version === '3' ? 'MQIsdp' : 'MQTT',
    clientId: 'js',
    clean: false,
    reconnectPeriod: 0,
    connectTimeout: 10000,
    ca: ca && fs.readFileSync(ca),
    properties: version === '5' ? { sessionExpiryInterval: 3600 } : undefined,
};

function say(event, detail) {
    console.log(JSON.stringify({ event, ...detail }));
}

// The listeners stand before the connection does: a session may have messages waiting.
function connect(got) {
    return new Promise((resolve, reject) => {
        const client = mqtt.connect(url, options);
        client.on('message', (topic, payload, packet) => {
            got({ topic, payload: payload.toString(), qos: packet.qos });
        });
        client.on('error', reject);
        client.on('connect', (connack) => {
            say('connected', { present: connack.sessionPresent });
            resolve(client);
        });
    });
}

// A function that collects and a promise of the first `count` messages.
function collector(count) {
    const messages = [];
    let done;
    const all = new Promise((resolve) => { done = resolve; });
    return [(message) => messages.push(message) === count && done(messages), all];
}

async function main() {
    const [first, live] = collector(3);
    const client = await connect(first);
    await client.subscribeAsync('js/#', { qos: 2 });
    for (const qos of [0, 1, 2])
        await client.publishAsync('js/live', `qos ${qos}`, { qos });
    say('live', { messages: await live });
    await client.endAsync();

    const other = await mqtt.connectAsync(url, { ...options, clientId: 'other', clean: true });
    for (const qos of [1, 2])
        await other.publishAsync('js/queued', `while away, qos ${qos}`, { qos });
    await other.publishAsync('js/queued', 'x'.repeat(100000), { qos: 1 });
    await other.endAsync();

    const [second, queued] = collector(3);
    const again = await connect(second);
    // Order holds within a QoS only, and MQTT.js reports QoS 2 at the end of the handshake.
    const messages = (await queued).sort((a, b) => a.payload.length - b.payload.length);
    say('queued', { messages: messages.slice(0, 2).sort((a, b) => a.qos - b.qos),
                    size: messages[2].payload.length });
    await again.endAsync();
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
