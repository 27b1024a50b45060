# SPDX-License-Identifier: MIT
"""memory_limit is a promise: whatever the flood, the process stays below it (the system would refuse
it more than 32 MB above), serves who keeps inside the limits, and recovers. With the store on, whose map
is not counted, everything that is flooded with is stored as well."""

import resource
import socket
import struct

import harness
import wire
from harness import Broker, Skip, cases, limit, noctule_only, wait_until

MEGABYTE = 1024 * 1024
LIMIT = 64 * MEGABYTE
QUOTA_EXCEEDED = 0x97
SERVER_BUSY = 0x89


def try_connect(broker, name, **options):
    """A client that is let in, or None: it is refused, or closed at once."""
    try:
        client = wire.Client(broker.tcp, 5, name)
        client.send(wire.connect_packet(name, 5, **options))
        reason = client.wait(wire.CONNACK).reason
    except ConnectionError:
        return None
    assert reason in (0, SERVER_BUSY), hex(reason)
    return client if reason == 0 else None


class Flooded(Broker):
    """A broker with a limit that the system watches over."""

    def __init__(self, *listeners, store=False, options=""):
        if harness.SANITIZED:
            raise Skip("a sanitizer takes memory of its own")
        super().__init__(*listeners, options=f"memory_limit {LIMIT}\nallow_anonymous true\n"
                         "max_queued_messages 0\nmax_packet_size 268435456\nsys_interval 1\n"
                         f"persistence {str(store).lower()}\n" + options, workers=2,
                         limits={resource.RLIMIT_DATA: (LIMIT + 32 * MEGABYTE,) * 2})

        # what the clients of a flood connect with: sessions that outlive them, if there is a store
        self.kept = {"clean": False, "props": {"session_expiry_interval": 1000}} if store else {}

    def start(self):
        super().start()
        self.reader = wire.connected(self.tcp, "healthy-reader", 5)
        self.reader.subscribe("healthy", qos=1)
        self.writer = wire.connected(self.tcp, "healthy-writer", 5)

    def check_health(self):
        """Who was there before and reads is served; at the very last it is told to try again."""
        answer = self.writer.publish("healthy", "still here", qos=1)
        if answer.reason != QUOTA_EXCEEDED:
            assert answer.reason == 0, answer
            assert self.reader.message().payload == b"still here"
        return answer.reason == 0

    def check_survived(self):
        """Everything is served again once the flood has gone."""
        wait_until(self.check_health, "a publication that is taken again", 20)

        def newcomer():
            client = try_connect(self, "newcomer")
            if not client:
                return False
            with client:
                pid = client.new_pid()
                client.send(wire.subscribe_packet(pid, [("new", 0)], 5))
                return client.wait(wire.SUBACK, pid).reasons == [0]
        wait_until(newcomer, "a newcomer that may connect and subscribe", 20)
        self.reader.close()
        self.writer.close()


def send_all(sock, data):
    """Whether the peer took it all; it may have closed the connection."""
    try:
        sock.sendall(data)
        return True
    except OSError:
        return False


@noctule_only
@limit(120)
@cases(store=(False, True))
def test_large_packets_that_never_end(store):
    """100 clients that promise 200 MB each, and send on as long as they may."""
    with Flooded("tcp", store=store) as broker:
        chunk = bytes(MEGABYTE)
        socks = []
        for number in range(100):
            client = try_connect(broker, f"c{number}", **broker.kept)
            if not client:
                break
            send_all(client.stream, b"\x30" + wire.varint(200 * MEGABYTE))
            socks.append(client.stream)
        open_ones = socks
        for _ in range(5):
            for sock in open_ones:
                sock.settimeout(5)
            open_ones = [sock for sock in open_ones if send_all(sock, chunk)]
            broker.check_health()
        for sock in socks:
            sock.close()
        broker.check_survived()


@noctule_only
@limit(120)
@cases(store=(False, True))
def test_subscriptions_without_end(store):
    with Flooded("tcp", store=store) as broker:
        flood = wire.connected(broker.tcp, "flood", 5, **broker.kept)
        refused = number = 0
        while refused == 0 and number < 3_000_000:
            pid = flood.new_pid()
            filters = [(f"some/rather/long/filter/{number + i}/{'x' * 40}", 0) for i in range(300)]
            flood.send(wire.subscribe_packet(pid, filters, 5))
            refused = flood.wait(wire.SUBACK, pid).reasons.count(QUOTA_EXCEEDED)
            number += 300
        assert refused, "nothing was refused"
        assert broker.check_health()
        flood.disconnect()
        if store:
            wire.connected(broker.tcp, "flood", 5).disconnect()  # which ends its session
        broker.check_survived()


@noctule_only
@limit(120)
@cases(store=(False, True))
def test_retained_messages_without_end(store):
    with Flooded("tcp", store=store) as broker:
        flood = wire.connected(broker.tcp, "flood", 5)
        answers = [flood.publish(f"topic/{number}", bytes(20000), qos=1, retain=True).reason
                   for number in range(5000)]
        assert answers[0] in (0, 0x10) and answers[-1] == QUOTA_EXCEEDED, answers[-1]
        assert broker.check_health()
        for number, reason in enumerate(answers):
            if reason != QUOTA_EXCEEDED:
                flood.publish(f"topic/{number}", b"", retain=True)
        flood.disconnect()
        broker.check_survived()


@noctule_only
@limit(120)
@cases(store=(False, True))
def test_messages_for_clients_that_are_away(store):
    with Flooded("tcp", store=store) as broker:
        for number in range(20):
            with wire.connected(broker.tcp, f"away{number}", 5, clean=False,
                                props={"session_expiry_interval": 1000}) as away:
                away.subscribe("for/all/of/them", f"for/{number}", qos=1)
                away.disconnect()
        flood = wire.connected(broker.tcp, "flood", 5)
        for number in range(4000 if store else 8000):  # each waits for the disk
            flood.publish(f"for/{number % 20}", bytes(20000), qos=1)
            if number % 500 == 0:
                broker.check_health()
        dropped = broker.check_health()
        assert dropped, "who reads is not served"
        for number in range(20):
            with wire.connected(broker.tcp, f"away{number}", 5, clean=True) as back:
                back.disconnect()
        flood.disconnect()
        broker.check_survived()


@noctule_only
@limit(120)
@cases(store=(False, True))
def test_readers_that_do_not_read(store):
    """With a store at QoS 1, which keeps what they do not take."""
    with Flooded("tcp", store=store) as broker:
        slow = []
        for number in range(50):
            client = wire.connected(broker.tcp, f"slow{number}", 5,
                                    stream={"receive_buffer": 4096}, **broker.kept)
            client.subscribe("flood/" + str(number % 10), qos=1)
            slow.append(client)
        with wire.connected(broker.tcp, "flood", 5) as flood:
            for number in range(3000 if store else 10000):
                if store:
                    flood.publish(f"flood/{number % 10}", bytes(20000), qos=1)
                else:
                    flood.send(wire.publish_packet(f"flood/{number % 10}", bytes(20000), version=5))
                if number % 500 == 0:
                    flood.ping()
                    broker.check_health()
        for client in slow:
            client.close()
        for number in range(50):  # whoever has a session is let in at any time
            wire.connected(broker.tcp, f"slow{number}", 5).disconnect()
        broker.check_survived()


@noctule_only
@limit(120)
@cases(store=(False, True))
def test_connections_without_end(store):
    """Each of them sends the beginning of a packet of its own."""
    with Flooded("tcp", store=store) as broker:
        refused, socks = False, []
        head = b"\x30" + wire.varint(MEGABYTE)
        for number in range(4000):
            client = try_connect(broker, f"c{number}", **broker.kept)
            if not client:
                refused = True
                break
            if not send_all(client.stream, head + bytes(16000)):
                break
            socks.append(client)
        assert refused or len(socks) == 4000
        broker.check_health()
        for client in socks:
            client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        broker.check_survived()
