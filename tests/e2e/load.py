# SPDX-License-Identifier: MIT
"""Many connections in one process, fast: the publishers and receivers of the order tests.

A `Peer` is a non-blocking connection; `drive` runs peers until all are done. Only what these tests
send is understood: version 3.1.1, packets below 128 bytes, payloads that `payload` makes. What
arrives is checked by a `Tally`, message by message, for loss, duplicates and order.
"""

import multiprocessing
import selectors
import struct
import time
import traceback

import harness
import wire

END = 0xFFFFFFFF  # instead of a number: the publisher's last message to this topic
PAYLOAD = struct.Struct(">HHI")
PID = struct.Struct(">H")
CHUNK = 262144


def payload(publisher, topic, number):
    return PAYLOAD.pack(publisher, topic, number)


def publish(publisher, topic, number, qos, pid):
    return wire.publish_packet(f"order/{publisher}/{topic}", payload(publisher, topic, number),
                               qos, pid=pid)


class Tally:
    """What one receiver has got: numbers per (publisher, topic) and the first mistakes.

    `gaps` allows numbers to be missing, as in a shared subscription; `repeats` the last number to
    come again."""

    def __init__(self, gaps=False, repeats=False):
        self.gaps, self.repeats = gaps, repeats
        self.next = {}       # (publisher, topic) -> the number after the last one
        self.numbers = {}    # (publisher, topic) -> all of them, in the order of arrival
        self.ended = set()   # the (publisher, topic) whose END has come
        self.count = 0
        self.mistakes = []

    def add(self, publisher, topic, number):
        key = (publisher, topic)
        if number == END:
            self.ended.add(key)
            return
        expected = self.next.get(key, 0)
        if number != expected:
            self._judge(key, number, expected)
        self.next[key] = number + 1
        self.numbers.setdefault(key, []).append(number)
        self.count += 1

    def _judge(self, key, number, expected):
        if number > expected and self.gaps or number == expected - 1 and self.repeats:
            return
        if len(self.mistakes) < 10:
            what = "lost" if number > expected else "doubled or late"
            self.mistakes.append(f"publisher {key[0]}, topic {key[1]}: {number} came where "
                                 f"{expected} was due ({what})")

    def check(self, who):
        assert not self.mistakes, f"{who}: " + "; ".join(self.mistakes)


class Peer:
    """A connection with bytes to send, and a buffer of those that arrived."""

    def __init__(self, client):
        self.client = client
        self.sock = client.stream
        self.buffer = bytearray(client.buffer)
        self.out = bytearray()
        self.name = client.client_id
        self.sock.setblocking(False)

    def fill(self):
        """Add to `out` what may be sent now."""

    def digest(self):
        """Take whole packets from `buffer`."""
        raise NotImplementedError

    def is_done(self):
        """Whether nothing is left to do, once `out` is empty."""
        raise NotImplementedError

    def state(self):
        """How far it has come, for messages."""
        raise NotImplementedError

    def on_readable(self):
        chunk = self.sock.recv(CHUNK)
        if not chunk:
            raise wire.Closed(f"the broker closed {self.name}")
        self.buffer += chunk
        self.digest()

    def flush(self):
        self.fill()
        if self.out:
            try:
                del self.out[:self.sock.send(self.out)]
            except BlockingIOError:
                pass


class Publisher(Peer):
    """Sends packets of one QoS with at most `window` of them unacknowledged, and checks that the
    acknowledgements come in order."""

    def __init__(self, client, packets, qos, window=100):
        super().__init__(client)
        self.packets = iter(packets)  # the packet identifiers are 1, 2, … and start over at 65535
        self.qos, self.window = qos, window
        self.sent = self.acked = self.completed = 0
        self.exhausted = False

    def fill(self):
        while not self.exhausted and len(self.out) < CHUNK:
            if self.qos and self.sent - self.completed >= self.window:
                return
            packet = next(self.packets, None)
            if packet is None:
                self.exhausted = True
                return
            self.out += packet
            self.sent += 1

    def digest(self):
        whole = len(self.buffer) & ~3  # every acknowledgement has four bytes
        for first, size, pid in struct.iter_unpack(">BBH", self.buffer[:whole]):
            if size != 2:
                raise wire.Malformed(f"remaining length {size} of an acknowledgement")
            if first == (0x50 if self.qos == 2 else 0x40):
                self._expect(pid, self.acked)
                self.acked += 1
                if self.qos == 2:
                    self.out += b"\x62\x02" + PID.pack(pid)
                else:
                    self.completed += 1
            elif first == 0x70 and self.qos == 2:
                self._expect(pid, self.completed)
                self.completed += 1
            else:
                raise wire.Malformed(f"packet {first:#x} at QoS {self.qos}")
        del self.buffer[:whole]

    def is_done(self):
        return self.exhausted and self.completed == (self.sent if self.qos else 0)

    def state(self):
        return f"{self.name}: {self.sent} sent, {self.acked} acknowledged, {self.completed} done"

    def _expect(self, pid, index):
        expected = index % 65535 + 1
        assert pid == expected, f"{self.name}: acknowledgement of {pid} where {expected} was due"


class Receiver(Peer):
    """Acknowledges what arrives and enters it in its tally, until `finished(tally)`."""

    def __init__(self, client, finished, gaps=False, repeats=False):
        super().__init__(client)
        self.tally = Tally(gaps, repeats)
        self.finished = finished
        self.open = set()  # identifiers of QoS 2 messages that are not released yet

    def digest(self):
        buffer, at, size = self.buffer, 0, len(self.buffer)
        replies = []
        while at + 2 <= size:
            first, end = buffer[at], at + 2 + buffer[at + 1]
            if end > size:
                break
            if first & 0xF0 == 0x30:
                self._message(buffer, at, end, first, replies)
            elif first == 0x62:
                pid = bytes(buffer[at + 2:end])
                self.open.discard(pid)
                replies.append(b"\x70\x02" + pid)
            elif first != 0xD0:
                raise wire.Malformed(f"packet {first:#x} at {self.name}")
            at = end
        del buffer[:at]
        self.out += b"".join(replies)
        self.tally.check(self.name)

    def is_done(self):
        return not self.open and self.finished(self.tally)

    def state(self):
        return f"{self.name}: {self.tally.count} received, {len(self.open)} unreleased"

    def _message(self, buffer, at, end, first, replies):
        qos = first >> 1 & 3
        if qos:
            start = at + 4 + buffer[at + 3]  # topics are shorter than 256 bytes
            pid = bytes(buffer[start:start + 2])
            replies.append((b"\x40\x02" if qos == 1 else b"\x50\x02") + pid)
            if qos == 2:
                if pid in self.open:
                    return  # sent again under the same identifier: the same message
                self.open.add(pid)
        self.tally.add(*PAYLOAD.unpack_from(buffer, end - PAYLOAD.size))


def drive(peers, seconds):
    """Run the peers until all are done, or one has made out a mistake."""
    started = time.monotonic()
    deadline, stalled = started + seconds * harness.PATIENCE, started + harness.STALL
    selector = selectors.DefaultSelector()
    wanted = {}
    for peer in peers:
        selector.register(peer.sock, selectors.EVENT_READ, peer)
        wanted[peer] = selectors.EVENT_READ
        peer.digest()
    ready = list(peers)
    while True:
        for peer in ready:
            peer.flush()
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.out else 0)
            if events != wanted[peer]:
                selector.modify(peer.sock, events, peer)
                wanted[peer] = events
        if all(not peer.out and peer.is_done() for peer in peers):
            return
        now = time.monotonic()
        if now > min(deadline, stalled):
            unfinished = [peer.state() for peer in peers if peer.out or not peer.is_done()]
            raise harness.Timeout(f"not done after {now - started:.0f} s: " + "; ".join(unfinished))
        ready = []
        for key, events in selector.select(timeout=1):
            stalled = now + harness.STALL
            if events & selectors.EVENT_READ:
                key.data.on_readable()
            ready.append(key.data)


class Process:
    """A function in a process of its own; its result or exception comes back."""

    def __init__(self, function, *arguments):
        context = multiprocessing.get_context("fork")
        self.results, child = context.Pipe(duplex=False)
        self.process = context.Process(target=self._run, args=(child, function, arguments))
        self.process.start()
        child.close()

    @staticmethod
    def _run(results, function, arguments):
        try:
            results.send((True, function(*arguments)))
        except BaseException:
            results.send((False, traceback.format_exc()))

    def result(self, seconds):
        if not self.results.poll(seconds * harness.PATIENCE):
            self.process.kill()
            raise harness.Timeout(f"a load process did not end in {seconds * harness.PATIENCE} s")
        good, value = self.results.recv()
        self.process.join()
        assert good, f"in a load process:\n{value}"
        return value
