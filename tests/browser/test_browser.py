# SPDX-License-Identifier: MIT
"""A page in a real browser talks to the broker over WebSocket, plain and secure."""

import json
import os

from harness import Broker, Skip, cases, limit, node_modules, run

HERE = os.path.dirname(os.path.abspath(__file__))
BROWSERS = ("/usr/bin/chromium", "/usr/bin/google-chrome")


@limit(90)
@cases(kind=("ws", "wss"), version=("4", "5"))
def test_page_subscribes_publishes_and_shows(kind, version):
    browser = next((path for path in BROWSERS if os.access(path, os.X_OK)), None)
    if not browser:
        raise Skip("there is neither Chromium (other than as a snap) nor Google Chrome")
    node_modules()
    with Broker(kind) as broker:
        done = run("node", os.path.join(HERE, "drive.js"), browser, broker.addresses[0].url,
                   version, seconds=60)
        shown = json.loads(done.stdout.splitlines()[-1])
        assert shown["state"] == "published", done.stdout
        assert shown["messages"] == [f"browser/qos{qos}: Grüße at QoS {qos} 🦇"
                                     for qos in (0, 1, 2)], done.stdout
