# SPDX-License-Identifier: MIT
"""Under load and across workers nothing is lost, doubled or out of order."""

import collections
import contextlib
import itertools
import multiprocessing
import selectors

import load
import wire
from harness import Broker, SCALE, cases, limit, wait_until

PUBLISHERS = 20
TOPICS = 2  # of each publisher
MESSAGES = max(int(5000 * SCALE), 50) // TOPICS * TOPICS
UNBOUNDED = ("max_queued_messages 0\nmax_queued_bytes 0\nmax_inflight_messages 1000\n"
             "connection_messages false\n")


def test_tally_notices_every_mistake():
    """The judge of these tests, judged: each kind of mistake is found, and only those."""
    def mistakes(numbers, **rules):
        tally = load.Tally(**rules)
        for number in numbers:
            tally.add(0, 0, number)
        return len(tally.mistakes)
    assert mistakes([0, 1, 2, 3]) == 0
    assert mistakes([0, 2, 3]) == 1, "loss"
    assert mistakes([0, 1, 1, 2]) == 1, "a duplicate"
    assert mistakes([0, 2, 1, 3]) > 0, "disorder"
    assert mistakes([1, 4, 7], gaps=True) == 0
    assert mistakes([1, 4, 4], gaps=True) == 1, "a duplicate among gaps"
    assert mistakes([4, 1], gaps=True) == 1, "disorder among gaps"
    assert mistakes([1, 4, 4, 5], gaps=True, repeats=True) == 0


def messages(publisher, qos):
    for index in range(MESSAGES):
        yield load.publish(publisher, index % TOPICS, index // TOPICS, qos,
                           index % 65535 + 1)


def publish_all(address, qos):
    peers = [load.Publisher(wire.connected(address, f"publisher-{p}"), list(messages(p, qos)), qos)
             for p in range(PUBLISHERS)]
    load.drive(peers, 60)


@limit(120)
@cases(qos=(0, 1, 2), workers=(1, 2, 4))
def test_plain_wildcard_and_shared(qos, workers):
    """20 publishers to a plain, a wildcard and three shared subscribers [MQTT5-4.6.0-5]
    [MQTT5-4.6.0-6] [MQTT311-4.6.0-5] [MQTT311-4.6.0-6]."""
    total = PUBLISHERS * MESSAGES
    with Broker("tcp", options=UNBOUNDED, workers=workers) as broker:
        plain = wire.connected(broker.tcp, "plain")
        for publisher in range(PUBLISHERS):
            plain.subscribe(*[f"order/{publisher}/{topic}" for topic in range(TOPICS)], qos=qos)
        wildcard = wire.connected(broker.tcp, "wildcard")
        wildcard.subscribe("order/#", qos=qos)
        members = [wire.connected(broker.tcp, f"member-{n}") for n in range(3)]
        for member in members:
            member.subscribe("$share/group/order/+/+", qos=qos)

        shared = []
        whole = [load.Receiver(client, lambda tally: tally.count >= total)
                 for client in (plain, wildcard)]
        shared += [load.Receiver(client, lambda _: sum(s.tally.count for s in shared) >= total,
                                 gaps=True) for client in members]
        publishers = load.Process(publish_all, broker.tcp, qos)
        load.drive(whole + shared, 60)
        publishers.result(10)

        check_shares([receiver.tally for receiver in shared])
        for receiver in whole + shared:
            expect_no_more(receiver)


def check_shares(tallies):
    """Together the members of a group have each message once."""
    for key in itertools.product(range(PUBLISHERS), range(TOPICS)):
        got = sorted(n for tally in tallies for n in tally.numbers.get(key, []))
        assert got == list(range(MESSAGES // TOPICS)), f"publisher and topic {key}: {got[:50]}…"


def expect_no_more(receiver):
    """Nothing follows what was expected."""
    count = receiver.tally.count
    receiver.sock.setblocking(True)
    receiver.client.buffer = receiver.buffer
    receiver.client.expect_nothing()
    assert receiver.tally.count == count
    receiver.client.disconnect()


# --- connections that come and go --------------------------------------------------------------

VISITORS = max(int(2000 * SCALE), 100)
PRESENT = max(int(100 * SCALE), 20)  # at a time: each message goes to all of them


@limit(150)
@cases(workers=(1, 4))
def test_connections_come_and_go(workers):
    """2,000 connections, 100 at a time, that subscribe to all that flows do not disturb it."""
    with Broker("tcp", options=UNBOUNDED, workers=workers) as broker:
        receivers = []
        for qos in (0, 1, 2):
            client = wire.connected(broker.tcp, f"steady-{qos}")
            client.subscribe("order/#", qos=qos)
            receivers.append(load.Receiver(client, lambda tally: len(tally.ended) == 6))
        over = multiprocessing.get_context("fork").Event()
        # None at QoS 0: nothing would limit their flow. The subscriber at QoS 0 stands for it.
        flow = load.Process(publish_until, broker.tcp, over, (1, 2, 1, 2, 1, 2))
        visits = load.Process(visit, broker.tcp, over)
        load.drive(receivers, 100)
        assert visits.result(10) == VISITORS
        sent = flow.result(10)
        for receiver in receivers:
            assert receiver.tally.next == sent, f"{receiver.name}: the last messages are missing"


def publish_until(address, over, qos_of_each):
    """Publishers of these QoS until the event; the number of messages of each."""
    counts = {}

    def until_over(publisher, qos):
        for number in itertools.count():
            if over.is_set():
                counts[publisher, 0] = number
                yield load.publish(publisher, 0, load.END, qos, number % 65535 + 1)
                return
            yield load.publish(publisher, 0, number, qos, number % 65535 + 1)
    peers = [load.Publisher(wire.connected(address, f"publisher-{p}"), until_over(p, qos), qos,
                            window=10) for p, qos in enumerate(qos_of_each)]
    load.drive(peers, 100)
    return counts


def visit(address, over):
    """Connect and subscribe, up to 100 at a time, and leave politely or not; how many came."""
    present = collections.deque()
    try:
        for number in range(VISITORS):
            client = wire.connected(address, f"visitor-{number % 300}", 4 + number % 2,
                                    clean=number % 3 == 0)
            client.subscribe("order/#", qos=0)
            client.message()
            present.append(client)
            if len(present) == PRESENT:
                leave(present.popleft(), polite=number % 2)
        return VISITORS
    finally:
        for client in present:
            leave(client, polite=True)
        over.set()


def leave(client, polite):
    """Nobody read meanwhile: the broker may have closed it by now."""
    with contextlib.suppress(ConnectionError):
        if polite:
            client.disconnect()
    client.close()


# --- one client identifier, many connections ---------------------------------------------------

RIVALS = 100
UNRELEASED = 50


@limit(120)
@cases(version=(4, 5))
def test_storm_of_takeovers(version):
    """100 CONNECTs with one client identifier at once: one connection remains, and what goes in and
    out at QoS 2 meanwhile is neither lost nor doubled [MQTT5-3.1.4-3] [MQTT311-3.1.4-2]
    [MQTT5-4.3.3-10] [MQTT311-4.3.3-2].

    Each rival sends the same 50 publishes with the same packet identifiers again, as a client does
    after a reconnect, and none releases them: the session must know them all the time. None
    acknowledges what it receives: all of it must reach the one that remains, in order."""
    with Broker("tcp", options=UNBOUNDED, workers=4) as broker:
        keep = {"clean": False}
        if version == 5:
            keep["props"] = {"session_expiry_interval": 3600}
        watcher = wire.connected(broker.tcp, "watcher", version)
        watcher.subscribe("out/#", qos=2)
        first = wire.connected(broker.tcp, "storm", version, **keep)
        first.subscribe("order/#", qos=2)
        publishes = [wire.publish_packet("out/x", b"%d" % pid, 2, dup=True, pid=pid,
                                         version=version) for pid in range(1, UNRELEASED + 1)]
        first.send(b"".join(publishes[:UNRELEASED // 2]))

        over = multiprocessing.get_context("fork").Event()
        flow = load.Process(publish_until, broker.tcp, over, (2, 2, 2, 2))
        first.wait(wire.PUBLISH)  # it flows
        rivals = [wire.Client(broker.tcp, version, "storm") for _ in range(RIVALS)]
        for rival in rivals:
            rival.send(wire.connect_packet("storm", version, **keep) + b"".join(publishes))
        survivor = last_one_standing([first] + rivals)
        over.set()

        for pid in range(1, UNRELEASED + 1):
            survivor.send(wire.ack_packet(wire.PUBREL, pid))
            survivor.wait(wire.PUBCOMP, pid)
        seen = sorted(int(m.payload) for m in watcher.messages(UNRELEASED))
        assert seen == list(range(1, UNRELEASED + 1)), f"lost or doubled: {seen}"
        watcher.expect_nothing()
        check_what_survivor_gets(survivor, flow)


def check_what_survivor_gets(survivor, flow):
    give_back(survivor)
    receiver = load.Receiver(survivor, lambda tally: len(tally.ended) == 4)
    load.drive([receiver], 60)
    assert receiver.tally.next == flow.result(10), "the last messages are missing"


def give_back(client):
    """Put PUBLISH packets that arrived while others were awaited back in front of the buffer."""
    unread = [packet for packet in client.inbox if packet.kind == wire.PUBLISH]
    client.buffer = bytearray(b"".join(raw(packet) for packet in unread)) + client.buffer
    client.inbox.clear()


def raw(packet):
    return wire.packet(packet.kind, packet.raw_flags, packet.body)


def last_one_standing(clients):
    """Wait until all but one are closed by the broker; the one that is left."""
    selector = selectors.DefaultSelector()
    for client in clients:
        client.stream.setblocking(False)
        selector.register(client.stream, selectors.EVENT_READ, client)

    def one_left():
        for key, _ in selector.select(timeout=0.1):
            if not read_some(key.data):
                selector.unregister(key.data.stream)
        return len(selector.get_map()) <= 1
    wait_until(one_left, "all connections but one to close", 30)
    assert selector.get_map(), "no connection is left"
    survivor = next(iter(selector.get_map().values())).data
    survivor.stream.setblocking(True)
    survivor.wait(wire.CONNACK)
    survivor.ping()
    return survivor


def read_some(client):
    """Whether the connection is still open."""
    try:
        chunk = client.stream.recv(262144)
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False
    client.buffer += chunk
    return bool(chunk)


# --- one retained topic -------------------------------------------------------------------------

VALUES = max(int(8000 * SCALE), 50)
WATCHERS = 6
LATECOMERS = 30


@limit(90)
@cases(qos=(0, 1), workers=(2, 4))
def test_retained_topic_under_two_publishers(qos, workers):
    """Two publishers on two workers set one retained topic as fast as they can: all subscribers see
    the values in the one order in which they were set, those that come late from some value on,
    and all end on the stored one."""
    with Broker("tcp", options=UNBOUNDED, workers=workers) as broker:
        watchers = [subscribed(broker, f"watcher-{n}", qos) for n in range(WATCHERS)]
        publishers = [load.Process(hammer, broker.tcp, p, qos) for p in range(2)]
        latecomers = [subscribed(broker, f"latecomer-{n}", qos) for n in range(LATECOMERS)]
        for publisher in publishers:
            publisher.result(30)

        with wire.connected(broker.tcp, "reader") as reader:
            reader.subscribe("order/state")
            stored = reader.message()
            assert stored.retain
            for watcher in watchers + latecomers:
                watcher.awaited = stored.payload
            load.drive(watchers + latecomers, 10)
            # What came too late would come before this.
            reader.publish("order/end", load.payload(9, 0, load.END), qos=1)
            for watcher in watchers + latecomers:
                watcher.awaited = None
            load.drive(watchers + latecomers, 10)
        check_values(watchers, latecomers, stored.payload)


def check_values(watchers, latecomers, stored):
    order = watchers[0].values
    assert len(set(order)) == len(order) == 2 * VALUES, "lost or doubled"
    assert order[-1] == stored, f"stored is {stored}, the last one seen {order[-1]}"
    for watcher in watchers:
        assert watcher.values == order, f"{watcher.name} saw another order than {watchers[0].name}"
    position = {value: index for index, value in enumerate(order)}
    for latecomer in latecomers:
        places = [position[value] for value in latecomer.values]
        steps = {after - before for before, after in zip(places, places[1:])}
        # Step 0: what is read as retained may come live as well.
        assert steps <= {0, 1}, f"{latecomer.name} jumped by {steps - {0, 1}}"
        assert latecomer.values[-1] == stored, f"{latecomer.name} ended elsewhere"


class Watcher(load.Receiver):
    """Collects the values, and waits for a certain one to be the last, or for the end."""

    awaited = None

    def __init__(self, client):
        super().__init__(client, None, gaps=True, repeats=True)
        self.values = []

    def _message(self, buffer, at, end, first, replies):
        super()._message(buffer, at, end, first, replies)
        if not self.tally.ended:
            self.values.append(bytes(buffer[end - load.PAYLOAD.size:end]))

    def is_done(self):
        if self.awaited:
            return self.values[-1:] == [self.awaited]
        return bool(self.tally.ended)

    def state(self):
        return f"{self.name} ended on {self.values[-1:]}, awaited {self.awaited}"


def subscribed(broker, name, qos):
    client = wire.connected(broker.tcp, name)
    client.send(wire.subscribe_packet(1, [("order/state", qos), ("order/end", 1)]))
    client.wait(wire.SUBACK)
    give_back(client)  # values may come before the SUBACK
    return Watcher(client)


def hammer(address, publisher, qos):
    packets = [wire.publish_packet("order/state", load.payload(publisher, 0, number), qos,
                                   retain=True, pid=number % 65535 + 1) for number in range(VALUES)]
    client = wire.connected(address, f"hammer-{publisher}")
    load.drive([load.Publisher(client, packets, qos)], 30)
    client.stream.setblocking(True)
    client.buffer.clear()
    client.ping()
