# SPDX-License-Identifier: MIT
"""MQTT.js on Node works unchanged over TCP, TLS, WebSocket and secure WebSocket."""

import json
import os

from harness import HERE, Broker, cases, certificates, node_modules, run


@cases(kind=("tcp", "tls", "ws", "wss"), version=("3", "4", "5"))
def test_subscribes_publishes_and_returns(kind, version):
    node_modules()
    with Broker(kind) as broker:
        done = run("node", os.path.join(HERE, "mqttjs.js"), broker.addresses[0].url, version,
                   *([certificates()["ca"]] if broker.addresses[0].secure else []))
        steps = [json.loads(line) for line in done.stdout.splitlines()]
        live = [{"topic": "js/live", "payload": f"qos {qos}", "qos": qos} for qos in (0, 1, 2)]
        queued = [{"topic": "js/queued", "payload": f"while away, qos {qos}", "qos": qos}
                  for qos in (1, 2)]
        assert steps == [
            {"event": "connected", "present": False},
            {"event": "live", "messages": live},
            # Version 3.1 has no session present flag: its byte is reserved.
            {"event": "connected", "present": version != "3"},
            {"event": "queued", "messages": queued, "size": 100000},
        ], done.stdout
