# SPDX-License-Identifier: MIT
"""Clients that survive the broker's crashes, and what must be true of them in the end.

A `Publisher` and a `Subscriber` keep the session state that the specification asks a client to
keep (unacknowledged packets, received QoS 2 identifiers) over any number of connections, as a device
with a flash memory would. `Storm` runs them against a broker that is killed again and again, and
`Storm.check` holds the promise against what they have seen:

- QoS 2: every message arrives exactly once, in order; QoS 1: at least once, its first copies in
  order; per publisher and, in a shared subscription, counted over all members;
- a retained topic has the last acknowledged value, or one sent later;
- a session that was acknowledged is there again.

Version 3.1.1, packets below 128 bytes. One process, one thread, no sleeping: a life ends when so many
packets have come, or when the broker has died by itself.
"""

import random
import selectors
import struct
import time

import harness
import wire

NUMBER = struct.Struct(">HI")  # payload: publisher, number
WINDOW = 20


class Failure(AssertionError):
    """The promise was broken."""


class Connection:
    """One life of a client's connection: non-blocking, with what is still to be sent."""

    def __init__(self, address):
        self.sock = harness.connect_socket(address)
        self.sock.setblocking(False)
        self.buffer, self.out = bytearray(), bytearray()

    def packets(self):
        """(first byte, body) of every whole packet that has arrived."""
        while frame := wire.frame_at(self.buffer, 0):
            start, end = frame
            yield self.buffer[0], bytes(self.buffer[start:end])
            del self.buffer[:end]


class Client:
    """A persistent session's client side. `connection` is None between two lives."""

    def __init__(self, name):
        self.name = name
        self.connection = None
        self.acknowledged = False  # a CONNACK has come: the session must be there from now on
        self.welcomed = False      # on this connection

    def connect(self, address):
        self.connection = Connection(address)
        self.welcomed = False
        self.send(wire.connect_packet(self.name, clean=False, keepalive=0))

    def send(self, data):
        self.connection.out += data

    def lose(self):
        if self.connection:
            self.connection.sock.close()
        self.connection = None

    def digest(self):
        """Takes all that has come; returns how many packets that were."""
        count = 0
        for first, body in self.connection.packets():
            count += 1
            if first >> 4 == wire.CONNACK:
                self._welcome(body)
            else:
                self.take(first, body)
        return count

    def _welcome(self, body):
        if body[1] != 0:
            raise Failure(f"{self.name}: CONNACK {body[1]}")
        if self.acknowledged and not body[0]:
            raise Failure(f"{self.name}: its session is gone")
        self.acknowledged = self.welcomed = True
        self.resume(bool(body[0]))

    def resume(self, present):
        """Send again what has to be."""

    def take(self, first, body):
        """A packet other than CONNACK."""

    def fill(self):
        """Add what may be sent now."""


class Publisher(Client):
    """Numbers its messages, keeps at most WINDOW of them unacknowledged, sends again after a crash
    what was not: PUBLISH with DUP, or PUBREL."""

    def __init__(self, number, qos, topic, retain=False):
        super().__init__(f"publisher-{number}")
        self.number, self.qos, self.topic, self.retain = number, qos, topic, retain
        self.sent = 0          # messages that were sent at least once: 0 … sent - 1
        self.accepted = -1     # the newest that was acknowledged (QoS 2: PUBREC)
        self.open = {}         # packet identifier -> message number, in order of sending
        self.released = set()  # identifiers whose PUBREC has come
        self.quiet = False     # sends nothing new

    def _publish(self, pid, dup):
        self.send(wire.publish_packet(self.topic, NUMBER.pack(self.number, self.open[pid]), self.qos,
                                      self.retain, dup, pid))

    def resume(self, present):
        for pid in self.open:
            if pid in self.released:
                self.send(wire.ack_packet(wire.PUBREL, pid))
            else:
                self._publish(pid, True)

    def fill(self):
        while not self.quiet and self.welcomed and len(self.open) < WINDOW:
            pid = self.sent % 65535 + 1
            if pid in self.open:
                return
            self.open[pid] = self.sent
            self.sent += 1
            self._publish(pid, False)

    def take(self, first, body):
        pid = int.from_bytes(body[:2], "big")
        kind = first >> 4
        if pid not in self.open:
            if kind == wire.PUBREC:
                self.send(wire.ack_packet(wire.PUBREL, pid))
            return
        if kind in (wire.PUBACK, wire.PUBREC):
            self.accepted = max(self.accepted, self.open[pid])
        if kind == wire.PUBREC:
            self.released.add(pid)
            self.send(wire.ack_packet(wire.PUBREL, pid))
        elif kind in (wire.PUBACK, wire.PUBCOMP):
            self.released.discard(pid)
            del self.open[pid]

    def is_done(self):
        return self.quiet and not self.open


class Subscriber(Client):
    """Notes what arrives. A received QoS 2 identifier is kept until its PUBREL."""

    def __init__(self, name, qos, topic):
        super().__init__(name)
        self.qos, self.topic = qos, topic
        self.subscribed = False
        self.open = set()
        self.got = {}  # publisher -> numbers in the order of arrival

    def resume(self, present):
        if not self.subscribed:
            self.send(wire.subscribe_packet(1, [(self.topic, self.qos)]))

    def take(self, first, body):
        kind = first >> 4
        if kind == wire.SUBACK:
            self.subscribed = True
        elif kind == wire.PUBREL:
            self.open.discard(body[:2])
            self.send(wire.ack_packet(wire.PUBCOMP, int.from_bytes(body[:2], "big")))
        elif kind == wire.PUBLISH:
            self._message(first, body)

    def _message(self, first, body):
        qos = first >> 1 & 3
        topic_end = 2 + int.from_bytes(body[:2], "big")
        pid = body[topic_end:topic_end + 2] if qos else b""
        if qos:
            kind = wire.PUBACK if qos == 1 else wire.PUBREC
            self.send(wire.ack_packet(kind, int.from_bytes(pid, "big")))
        if qos == 2:
            if pid in self.open:
                return
            self.open.add(pid)
        publisher, number = NUMBER.unpack(body[-NUMBER.size:])
        self.got.setdefault(publisher, []).append(number)


class Storm:
    """The clients, and one life of the broker after another."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.publishers = [Publisher(0, 1, "crash/0"), Publisher(1, 1, "crash/1"),
                           Publisher(2, 2, "crash/2"), Publisher(3, 2, "crash/3"),
                           Publisher(4, 1, "keep/4", retain=True),
                           Publisher(5, 2, "keep/5", retain=True)]
        self.always = [Subscriber("subscriber-1", 1, "crash/#"),
                       Subscriber("subscriber-2", 2, "crash/#")]
        self.seldom = [Subscriber("sleeper-1", 1, "crash/#"),
                       Subscriber("sleeper-2", 2, "crash/#")]
        self.members = [Subscriber(f"member-{i}", 2, "$share/team/crash/#") for i in range(2)]
        self.lives = 0
        self.packets = 0  # that have come from the broker, in all lives

    def subscribers(self):
        return self.always + self.seldom + self.members

    def setup(self, address):
        """Every subscription is there before the first message."""
        self._connect(address, self.subscribers())
        self._run(lambda: all(s.subscribed for s in self.subscribers()), 20)
        for client in self.subscribers():
            client.lose()

    def live(self, broker, address, packets):
        """One life: the clients come back and work until so many packets have come. `broker` is
        killed then, unless it has died by itself before."""
        self.lives += 1
        self._check_retained(address)
        clients = self.publishers + self.always
        clients += [s for s in self.seldom + self.members if self.random.random() < 0.4]
        self._connect(address, clients)
        end = self.packets + packets
        try:
            self._run(lambda: self.packets >= end, 60)
        except (ConnectionError, BrokenPipeError):
            pass  # it died by itself
        broker.kill()
        for client in clients:
            client.lose()

    def finish(self, address):
        """The last life: everybody is there until everything has arrived."""
        self._check_retained(address)
        for publisher in self.publishers:
            publisher.quiet = True
        clients = self.publishers + self.subscribers()
        self._connect(address, clients)
        self._run(lambda: all(p.is_done() for p in self.publishers) and self._all_arrived(), 120)
        self._check_retained(address)
        for client in clients:
            client.lose()

    # ---- running

    def _connect(self, address, clients):
        self.selector = selectors.DefaultSelector()
        self.running = clients
        for client in clients:
            client.connect(address)
            self.selector.register(client.connection.sock, selectors.EVENT_READ, client)

    def _run(self, is_over, seconds):
        deadline = time.monotonic() + seconds * harness.PATIENCE
        while not is_over():
            if time.monotonic() > deadline:
                raise Failure(f"not done after {seconds * harness.PATIENCE} s: {self._state()}")
            for client in self.running:
                client.fill()
                self._flush(client)
            for key, _ in self.selector.select(timeout=0.002):
                chunk = key.data.connection.sock.recv(262144)
                if not chunk:
                    raise ConnectionError("the broker closed " + key.data.name)
                key.data.connection.buffer += chunk
                self.packets += key.data.digest()

    @staticmethod
    def _flush(client):
        out = client.connection.out
        if out:
            try:
                del out[:client.connection.sock.send(out)]
            except BlockingIOError:
                pass

    def _state(self):
        parts = [f"{p.name}: {p.sent} sent, {len(p.open)} open" for p in self.publishers]
        parts += [f"{s.name}: {sum(map(len, s.got.values()))} received" for s in self.subscribers()]
        return "; ".join(parts)

    # ---- what must be true

    def _plain(self):
        return [p for p in self.publishers if not p.retain]

    def _all_arrived(self):
        def has_all(got, publisher):
            return len(set(got)) == publisher.sent
        return all(has_all(s.got.get(p.number, []), p)
                   for s in self.always + self.seldom for p in self._plain()) and \
            all(has_all(self._team(p), p) for p in self._plain())

    def _team(self, publisher):
        return [n for s in self.members for n in s.got.get(publisher.number, [])]

    def _check_retained(self, address):
        """A newcomer sees the last acknowledged value, or one that was sent later."""
        for publisher in self.publishers:
            if not publisher.retain:
                continue
            with wire.connected(address, "newcomer") as newcomer:
                newcomer.subscribe(publisher.topic)
                newcomer.ping()
                found = [NUMBER.unpack(p.payload)[1] for p in newcomer.inbox
                         if p.kind == wire.PUBLISH]
            if publisher.accepted < 0 and not found:
                continue
            if not found or not publisher.accepted <= found[-1] < publisher.sent:
                raise Failure(f"life {self.lives}: {publisher.topic} has {found}, but "
                              f"{publisher.accepted} was acknowledged, {publisher.sent} sent")

    def check(self):
        """After finish()."""
        for publisher in self._plain():
            for subscriber in self.always + self.seldom:
                got = subscriber.got.get(publisher.number, [])
                self._check_one(f"{subscriber.name} from {publisher.name}", publisher.sent, got,
                                min(publisher.qos, subscriber.qos), True)
            self._check_one(f"the team from {publisher.name}", publisher.sent,
                            self._team(publisher), publisher.qos, False)

    @staticmethod
    def _check_one(who, sent, got, qos, ordered):
        missing = sorted(set(range(sent)) - set(got))
        if missing:
            raise Failure(f"{who}: {len(missing)} of {sent} lost, the first {missing[:5]}")
        if qos == 2 and len(got) != sent:
            doubled = sorted({n for n in got if got.count(n) > 1})[:5] if sent < 5000 else "some"
            raise Failure(f"{who}: {len(got) - sent} doubled, {doubled}")
        first = list(dict.fromkeys(got))
        if ordered and first != sorted(first):
            at = next(i for i in range(1, len(first)) if first[i] < first[i - 1])
            raise Failure(f"{who}: {first[at]} came after {first[at - 1]}")
        if set(got) - set(range(sent)):
            raise Failure(f"{who}: messages that nobody sent")
