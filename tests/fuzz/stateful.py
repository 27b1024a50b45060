#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Sequences of valid and mutated packets on many connections to the real program.

Each seed is one sequence: clients of all versions come and go, publish, subscribe, acknowledge what
they are sent, or do what no client may; one packet in ten has bytes changed, left out or doubled.
Whatever the broker makes of it, it has to be whole afterwards: `check` says so from outside.

    NOCTULE=path/to/noctule tests/fuzz/stateful.py [seconds [first seed]]
"""

import os
import random
import re
import select
import sys
import tempfile
import time

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
sys.dont_write_bytecode = True

import harness  # noqa: E402  (its folder is known only now)
import wire  # noqa: E402

TOPICS = [f"f/{a}/{b}" for a in "abc" for b in "xyz"] + ["f", "f/", "/f", "f//g"]
FILTERS = TOPICS + ["f/#", "f/+/x", "+/a/+", "#", "$share/g/f/#", "$share/h/f/+/y", "$SYS/#", "f/#/x",
                    "$share//f", "$share/g", ""]
CLIENTS = [f"fuzz-{n}" for n in range(12)]
WILLS = [wire.Will("f/a/x", b"will", qos, retain, {"will_delay_interval": delay})
         for qos in range(3) for retain in (False, True) for delay in (0, 1)]


class Fuzzer:
    """The clients of one seed."""

    def __init__(self, address, seed):
        self.address = address
        self.random = random.Random(seed)
        self.connections = []  # (socket, version, bytes that arrived)
        self.client_ids = set(CLIENTS)  # whose sessions may have been made

    def run(self, steps):
        for _ in range(steps):
            self._step()
            self._read(0)
        self._read(0.05)
        for sock, _, _ in self.connections:
            sock.close()

    def _step(self):
        if not self.connections or len(self.connections) < 15 and self.random.random() < 0.15:
            self._connect()
            return
        place = self.random.randrange(len(self.connections))
        sock, version, _ = self.connections[place]
        if self.random.random() < 0.03:
            sock.close()
            del self.connections[place]
            return
        burst = b"".join(self._mutate(self._packet(version))
                         for _ in range(self.random.choice((1, 1, 1, 2, 20))))
        self._send(place, burst)

    def _connect(self):
        version = self.random.choice((3, 4, 4, 5, 5, 5, 0x84, self.random.randrange(256)))
        sock = harness.connect_socket(self.address)
        sock.setblocking(False)
        self.connections.append((sock, version if version in (3, 4, 5) else 4, bytearray()))
        props = None
        if version == 5:
            props = {"session_expiry_interval": self.random.choice((0, 1, 1000, 0xFFFFFFFF)),
                     "receive_maximum": self.random.choice((1, 2, 100, 65535)),
                     "topic_alias_maximum": self.random.choice((0, 1, 10)),
                     "maximum_packet_size": self.random.choice((20, 100, 100000))}
        will = self.random.choice(WILLS) if self.random.random() < 0.3 else None
        packet = self._mutate(wire.connect_packet(
            self.random.choice(CLIENTS + [""]), version, self.random.random() < 0.5,
            self.random.choice((0, 1, 60)), will, props=props))
        self._note_client_id(packet)
        self._send(len(self.connections) - 1, packet)

    def _note_client_id(self, packet):
        """What a mutated CONNECT may have made of it."""
        try:
            start, end = wire.frame_at(packet, 0)
            reader = wire.Reader(packet[start:end])
            reader.binary()
            version = reader.number(">B")
            reader.number(">BH")
            if version & 0x7F == 5:
                reader.take(reader.varint())
            self.client_ids.add(reader.text())
        except (TypeError, wire.Malformed):
            pass  # the broker has to find the same

    def _packet(self, version):
        chance = self.random
        pid = chance.choice((1, 2, 3, 4, 5, 65535))
        kind = chance.choice(("publish",) * 6 + ("subscribe", "subscribe", "unsubscribe", "ack", "ack",
                                                 "ping", "disconnect", "auth", "noise"))
        if kind == "publish":
            qos = chance.randrange(3)
            props = self._publish_properties() if version == 5 else None
            payload = bytes(chance.choice((0, 1, 10, 200, 3000, 100000)))
            return wire.publish_packet(chance.choice(TOPICS), payload, qos, chance.random() < 0.2,
                                       chance.random() < 0.2 and qos > 0, pid, version, props)
        if kind == "subscribe":
            items = [(chance.choice(FILTERS), chance.randrange(3) | chance.choice((0, 0, 4, 8, 16, 32)))
                     for _ in range(chance.choice((1, 1, 2, 8)))]
            props = {"subscription_identifier": chance.choice((1, 268435455))} \
                if version == 5 and chance.random() < 0.3 else None
            return wire.subscribe_packet(pid, items, version, props)
        if kind == "unsubscribe":
            return wire.unsubscribe_packet(pid, [chance.choice(FILTERS)], version)
        if kind == "ack":
            return wire.ack_packet(chance.choice((wire.PUBACK, wire.PUBREC, wire.PUBREL, wire.PUBCOMP)),
                                   pid, chance.choice((0, 0, 0x10, 0x80, 0x92)), version)
        if kind == "noise":
            return bytes(chance.randrange(256) for _ in range(chance.randrange(1, 40)))
        return {"ping": b"\xc0\x00", "auth": b"\xf0\x00",
                "disconnect": chance.choice((b"\xe0\x00", b"\xe0\x01\x04",
                                             b"\xe0\x07\x00\x05\x11\x00\x00\x00\x05"))}[kind]

    def _publish_properties(self):
        chance = self.random
        choices = {"message_expiry_interval": chance.choice((0, 1, 100)),
                   "topic_alias": chance.choice((0, 1, 10, 65535)),
                   "response_topic": chance.choice(("f/reply", "f/#")),
                   "correlation_data": b"c" * chance.randrange(50),
                   "content_type": "text",
                   "payload_format_indicator": chance.randrange(3),
                   "user_property": [("k", "v")] * chance.randrange(4)}
        names = chance.sample(sorted(choices), chance.randrange(4))
        return {name: choices[name] for name in names}

    def _mutate(self, packet):
        chance = self.random
        if chance.random() >= 0.1:
            return packet
        packet = bytearray(packet)
        for _ in range(chance.choice((1, 1, 2, 8))):
            at = chance.randrange(len(packet)) if packet else 0
            how = chance.randrange(4)
            if not packet or how == 0:
                packet[at:at] = bytes([chance.randrange(256)])
            elif how == 1:
                packet[at] ^= 1 << chance.randrange(8)
            elif how == 2:
                del packet[at:at + chance.randrange(1, 4)]
            else:
                packet[at:at] = packet[at:at + 4]
        return bytes(packet)

    def _send(self, place, data):
        """As much as the socket takes: a stalled connection is part of the game."""
        try:
            self.connections[place][0].send(data)
        except (BlockingIOError, ConnectionError):
            pass

    def _read(self, seconds):
        """Takes what has arrived, and answers most of it as a client would."""
        ready, _, _ = select.select([c[0] for c in self.connections], [], [], seconds)
        for place in reversed(range(len(self.connections))):
            sock, version, buffer = self.connections[place]
            if sock not in ready:
                continue
            try:
                chunk = sock.recv(262144)
            except ConnectionError:
                chunk = b""
            if not chunk:
                sock.close()
                del self.connections[place]
                continue
            buffer += chunk
            self._answer(place, version, buffer)

    def _answer(self, place, version, buffer):
        """Every packet of the broker's must be well-formed, whatever it was asked."""
        while frame := wire.frame_at(buffer, 0):
            start, end = frame
            packet = self._parse(buffer[0], buffer[start:end], version)
            del buffer[:end]
            reply = {wire.PUBREC: wire.PUBREL, wire.PUBREL: wire.PUBCOMP}.get(packet.kind)
            if packet.kind == wire.PUBLISH and packet.qos:
                reply = wire.PUBACK if packet.qos == 1 else wire.PUBREC
            if reply and self.random.random() < 0.9:
                self._send(place, self._mutate(wire.ack_packet(reply, packet.pid)))


    @staticmethod
    def _parse(first, body, version):
        """A mutation may have changed the version; the packet is well-formed in one of them."""
        for candidate in (version, 4, 5):
            try:
                return wire.Packet(first >> 4, first & 15, body, candidate)
            except wire.Malformed as what:
                malformed = what
        raise malformed


def baseline(broker, address):
    """Descriptors of a broker that serves."""
    with wire.connected(address, "fuzz-observer") as client:
        client.disconnect()
    return broker.descriptors()


def _await_value(address, topic, allowed):
    """Wait until a $SYS topic has such a value. The observer is a client with a subscription itself."""
    with wire.connected(address, "fuzz-observer") as observer:
        observer.subscribe("$SYS/broker/" + topic)
        while not allowed(int(observer.message().payload)):
            pass


def _await_descriptors(broker, before):
    # The store's threads open a few of their own when they first need them.
    harness.wait_until(lambda: broker.descriptors() <= before + 4,
                       f"{before} descriptors, as before", 30)


def check(broker, address, descriptors, client_ids):
    """After all: every session ended and every retained message cleared, nothing of it is left, and
    the broker does its work. `descriptors` is how many it had before. The identifiers that it has
    assigned stand in its log."""
    # Once their connections are gone, it has taken in all that they sent.
    _await_descriptors(broker, descriptors)
    assigned = set(re.findall(r" as (auto-[0-9A-F]+) \(p", broker.log()))
    for name in (client_ids | assigned) - {""}:
        with wire.Client(address, 4, name) as client:
            client.send(wire.connect_packet(name) + b"\xe0\x00")
            client.expect_closed()  # one that is not allowed is refused, and has no session
    with wire.connected(address, "fuzz-sweeper") as sweeper:
        for topic in TOPICS + ["f/reply"]:
            sweeper.publish(topic, b"", qos=1, retain=True)
    with wire.connected(address, "fuzz-subscriber", 5) as subscriber, \
            wire.connected(address, "fuzz-publisher", 5) as publisher:
        subscriber.subscribe("check", qos=2)  # a delayed will may still come to f/#
        for qos in range(3):
            publisher.publish("check", f"qos {qos}", qos)
            assert subscriber.message().payload == f"qos {qos}".encode()
        subscriber.expect_nothing()
        subscriber.disconnect()
    _await_value(address, "subscriptions/count", lambda value: value == 1)
    _await_value(address, "clients/connected", lambda value: value == 1)
    _await_value(address, "retained messages/count", lambda value: value < 200)  # $SYS has some
    _await_descriptors(broker, descriptors)
    broker.check_log()


def soak(broker, address, seconds, seed):
    """Seed after seed; returns how many. An error names the seed."""
    descriptors = baseline(broker, address)
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        try:
            fuzzer = Fuzzer(address, seed + count)
            fuzzer.run(400)
            check(broker, address, descriptors, fuzzer.client_ids)
        except (AssertionError, OSError) as what:
            raise AssertionError(f"seed {seed + count}: {what}") from what
        count += 1
    return count


def main():
    words = sys.argv[1:] + ["60", "1"][len(sys.argv) - 1:]
    seconds, seed = map(int, words)
    harness.TEST_DIR = tempfile.mkdtemp(prefix="noctule-fuzz-")
    os.chmod(harness.TEST_DIR, 0o777)
    options = "sys_interval 1\nmax_queued_messages 100\n"
    with harness.Broker("tcp", options=options, workers=2) as broker:
        print(f"{soak(broker, broker.tcp, seconds, seed)} seeds, the broker is whole")


if __name__ == "__main__":
    main()
