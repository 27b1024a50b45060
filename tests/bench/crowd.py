#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""WebSocket clients that are a nuisance: many that do nothing, one whose frames are a byte long, and one over TLS
that asks for more than it reads. Says "ready" when all are there, and leaves when its input ends.

    crowd.py PORT WS_PORT WSS_PORT COUNT
"""

import os
import select
import ssl
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))

import harness  # noqa: E402
import websocket  # noqa: E402
import wire  # noqa: E402

FLOOD, PAYLOAD = 200, 16384  # messages for the client that does not read: more than a kernel keeps
BYTES_A_SECOND = 200


def client(kind, port, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connected = wire.Client(harness.Address(kind, "127.0.0.1", port), client_id=name, tls=context)
    connected.connect()
    return connected


def stall(plain, wss_port):
    """A subscriber that reads nothing after its SUBACK while much is published to it."""
    stalled = client("wss", wss_port, "crowd-stalled")
    stalled.subscribe("crowd/stalled")
    for _ in range(FLOOD):
        plain.publish("crowd/stalled", b"x" * PAYLOAD)
    plain.ping()
    return stalled


def trickle(slow, ended):
    """PINGREQ after PINGREQ, a byte a frame; the answers are read and thrown away."""
    packet = bytes([wire.PINGREQ << 4, 0])
    at = 0
    while not ended(1 / BYTES_A_SECOND):
        slow.stream.send_frame(websocket.BINARY, packet[at:at + 1])
        at = 1 - at
        while select.select([slow.stream.sock], [], [], 0)[0]:
            if not slow.stream.sock.recv(65536):
                sys.exit("the broker closed the connection of single bytes")


def main():
    port, ws_port, wss_port, count = (int(word) for word in sys.argv[1:5])
    plain = client("tcp", port, "crowd-plain")
    idle = [client("ws", ws_port, f"crowd-{number}") for number in range(count)]
    stalled = stall(plain, wss_port)
    slow = client("ws", ws_port, "crowd-bytes")
    print("ready", flush=True)
    trickle(slow, lambda seconds: bool(select.select([sys.stdin], [], [], seconds)[0]))
    del idle, stalled


if __name__ == "__main__":
    main()
