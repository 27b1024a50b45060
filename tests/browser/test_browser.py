# SPDX-License-Identifier: MIT
"""A page in Debian's Chromium talks to the broker over WebSocket, plain and secure."""

import json
import os

from harness import Broker, Skip, cases, limit, node_modules, run

HERE = os.path.dirname(os.path.abspath(__file__))
CHROMIUM = "/usr/bin/chromium"


@limit(90)
@cases(kind=("ws", "wss"), version=("4", "5"))
def test_page_subscribes_publishes_and_shows(kind, version):
    if not os.access(CHROMIUM, os.X_OK):
        raise Skip(f"{CHROMIUM} is not installed")
    node_modules()
    with Broker(kind) as broker:
        done = run("node", os.path.join(HERE, "drive.js"), CHROMIUM, broker.addresses[0].url,
                   version, seconds=60)
        shown = json.loads(done.stdout.splitlines()[-1])
        assert shown["state"] == "published", done.stdout
        assert shown["messages"] == [f"browser/qos{qos}: Grüße at QoS {qos} 🦇"
                                     for qos in (0, 1, 2)], done.stdout
