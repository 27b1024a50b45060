// SPDX-License-Identifier: MIT
// Opens index.html in a headless Chromium: node drive.js CHROMIUM BROKER-URL VERSION. Serves the
// page and MQTT.js on a port of its own, waits until three messages are shown, and prints the
// page's texts as one line of JSON. node_modules is that of the end-to-end tests.
'use strict';

const fs = require('node:fs');
const http = require('node:http');
const path = require('node:path');

const modules = path.join(__dirname, '..', 'e2e', 'node_modules');
const { chromium } = require(path.join(modules, 'playwright-core'));

const FILES = {
    '/': [path.join(__dirname, 'index.html'), 'text/html; charset=utf-8'],
    '/mqtt.min.js': [path.join(modules, 'mqtt', 'dist', 'mqtt.min.js'), 'text/javascript'],
};
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--no-first-run',
    '--ignore-certificate-errors'];

function serve(request, response) {
    const file = FILES[new URL(request.url, 'http://localhost').pathname];
    if (!file) {
        response.writeHead(404).end();
        return;
    }
    response.writeHead(200, { 'Content-Type': file[1] });
    fs.createReadStream(file[0]).pipe(response);
}

async function main() {
    const [executablePath, broker, version] = process.argv.slice(2);
    const server = http.createServer(serve);
    await new Promise((resolve) => { server.listen(0, '127.0.0.1', resolve); });
    const browser = await chromium.launch({ executablePath, args: FLAGS });
    try {
        const page = await browser.newPage();
        page.on('console', (message) => console.error(message.text()));
        const query = new URLSearchParams({ broker, version });
        await page.goto(`http://127.0.0.1:${server.address().port}/?${query}`);
        await page.waitForFunction(() => {
            const state = document.getElementById('state').textContent;
            const shown = document.querySelectorAll('#messages li').length;
            return (state === 'published' && shown === 3) || /closed|error/.test(state);
        });
        console.log(JSON.stringify({
            state: await page.textContent('#state'),
            messages: await page.locator('#messages li').allTextContents(),
        }));
    } finally {
        await browser.close();
        server.close();
    }
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
