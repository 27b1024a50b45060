# SPDX-License-Identifier: MIT
"""WebSocket clients beside TCP clients cost the latter nothing, counted in instructions: many that do nothing, one
that is busy, one whose frames are a byte long, one over TLS that does not read. Instructions in user space are the
same on a machine with other things to do."""

import os
import re
import signal

import harness
import websocket
import wire
from harness import Broker, Skip, limit, need, noctule_only, run

IDLE, MESSAGES = 300, 200
MORE = 1.05  # times the instructions of a plain message when nobody else is there
PATIENCE = 6  # times as long as others may take: callgrind runs a program fifty times slower


class Counter:
    """The instructions that a broker under callgrind executes. It writes them down, and begins anew, whenever it enters
    the function that SIGUSR2 leads to."""

    SIGNALLED = "broker_dump"

    def __init__(self, broker, path):
        self.broker, self.path, self.looks = broker, path, 0

    def look(self):
        """Instructions since the last look."""
        self.looks += 1
        self.broker.signal(signal.SIGUSR2)
        text = harness.wait_until(self._dump, "what callgrind has counted", 60)
        return int(re.search(r"^totals: (\d+)", text, re.MULTILINE)[1])

    def _dump(self):
        path = f"{self.path}.{self.looks}"
        if not os.path.exists(path):
            return None
        with open(path, encoding="utf-8") as file:
            text = file.read()
        return text if "totals:" in text else None

    def measure(self, *actions):
        """Instructions a round, after some that do not count; what looking costs is taken off."""
        for _ in range(20):
            for action in actions:
                action()
        self.look()
        looking = self.look()
        for _ in range(MESSAGES):
            for action in actions:
                action()
        return (self.look() - looking) / MESSAGES


class Pair:
    """A client that publishes, and one that hears it."""

    def __init__(self, address, name):
        self.topic = name
        self.publisher, self.subscriber = (wire.Client(address, client_id=f"{name}-{n}") for n in (1, 2))
        self.publisher.connect()
        self.subscriber.connect()
        self.subscriber.subscribe(name)

    def pass_one(self):
        self.publisher.publish(self.topic, b"x" * 64)
        self.subscriber.message(60)

    def close(self):
        self.publisher.close()
        self.subscriber.close()


class Crowd:
    def __init__(self, broker):
        self.idle = [wire.Client(broker.ws, client_id=f"idle-{number}") for number in range(IDLE)]
        for client in self.idle:
            client.connect()
        self.busy = Pair(broker.ws, "busy")
        self.bytes = wire.Client(broker.ws, client_id="bytes")
        self.bytes.connect()
        self.stalled = wire.Client(broker.wss, client_id="stalled")
        self.stalled.connect()
        self.stalled.subscribe("stalled")
        flood = wire.Client(broker.tcp, client_id="flood")
        flood.connect()
        for _ in range(400):  # more than the kernel keeps for somebody who does not read
            flood.publish("stalled", b"x" * 16384)
        flood.ping()
        flood.close()

    def act(self):
        """A message of the busy ones, and a ping in two frames of a byte."""
        self.busy.pass_one()
        self.bytes.stream.send_frame(websocket.BINARY, b"\xc0")
        self.bytes.stream.send_frame(websocket.BINARY, b"\x00")
        self.bytes.wait(wire.PINGRESP, seconds=60)

    def close(self):
        for client in (*self.idle, self.bytes, self.stalled):
            client.close()
        self.busy.close()


@limit(480)
@noctule_only
def test_websocket_clients_cost_plain_ones_nothing():
    need("valgrind")
    if harness.SANITIZED:
        raise Skip("valgrind does not run a program with a sanitizer")
    if run("valgrind", "-q", "--tool=none", harness.NOCTULE, "--version", check=False).returncode != 0:
        raise Skip("this valgrind cannot read what this compiler writes")
    harness.PATIENCE *= PATIENCE
    out = os.path.join(harness.TEST_DIR, "out")
    with Broker("tcp", "ws", "wss", workers=1, options="sys_interval 0\nuser root",
                wrapper=("valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={out}",
                         f"--dump-before={Counter.SIGNALLED}")) as broker:
        counter = Counter(broker, out)
        plain = Pair(broker.tcp, "plain")
        alone = counter.measure(plain.pass_one)
        crowd = Crowd(broker)
        others = counter.measure(crowd.act)
        both = counter.measure(plain.pass_one, crowd.act)
        print(f"a plain message alone: {alone:.0f} instructions; the others: {others:.0f}; beside them: {both - others:.0f}")
        plain.close()
        crowd.close()
        assert both - others <= MORE * alone, (alone, others, both)
