# SPDX-License-Identifier: MIT
"""Clients that send more than is taken off their hands: the broker stays small, answers others, and
everything moves again when they read."""

import threading
import time

import load
import wire
from harness import SANITIZED, SCALE, Broker, cases, limit, noctule_only

FLOOD_SECONDS = 4
MEMORY_BOUND = 1_000_000_000
RECEIVERS = max(int(200 * SCALE), 20)
UNBOUNDED = "max_queued_messages 0\nmax_inflight_messages 65535\n"


class Mutual(load.Peer):
    """Publishes at QoS 1 without a window, and acknowledges what it receives once it reads."""

    def __init__(self, client, topic, count):
        super().__init__(client)
        self.packets = iter([wire.publish_packet(topic, b"%8d" % n + b"." * 1000, 1, pid=n + 1)
                             for n in range(count)])
        self.count = count
        self.acked = 0
        self.numbers = []

    def fill(self):
        while len(self.out) < load.CHUNK and (packet := next(self.packets, None)):
            self.out += packet

    def digest(self):
        buffer, at = self.buffer, 0
        while frame := wire.frame_at(buffer, at):
            start, end = frame
            if buffer[at] == 0x40:
                self.acked += 1
                assert int.from_bytes(buffer[start:end], "big") == self.acked, "PUBACKs in disorder"
            else:
                assert buffer[at] == 0x32, f"packet {buffer[at]:#x}"
                topic_end = start + 2 + buffer[start + 1]
                self.numbers.append(int(buffer[topic_end + 2:topic_end + 10]))
                self.out += b"\x40\x02" + buffer[topic_end:topic_end + 2]
            at = end
        del buffer[:at]

    def is_done(self):
        return self.acked == self.count and len(self.numbers) == self.count

    def state(self):
        return f"{self.name}: {self.acked} acknowledged, {len(self.numbers)} received"


def test_two_clients_that_publish_to_each_other_without_reading():
    """Neither reads until neither gets rid of more; then both do, and all of it arrives."""
    count = 30000
    with Broker("tcp", options=UNBOUNDED, workers=2) as broker:
        peers = []
        for own, other in (("left", "right"), ("right", "left")):
            client = wire.connected(broker.tcp, own, stream={"receive_buffer": 4096})
            client.subscribe(own, qos=1)
            peers.append(Mutual(client, other, count))
        with wire.connected(broker.tcp, "witness") as witness:
            stuck = 0
            while stuck < 50:  # 50 conversations during which nothing more could be sent
                before = [len(peer.out) for peer in peers]
                for peer in peers:
                    peer.flush()
                witness.ping()
                moved = before != [len(peer.out) for peer in peers]
                stuck = 0 if moved else stuck + 1
        # The answers to one of them may fit into the kernel's buffers; not so for both.
        assert any(peer.out for peer in peers), "the broker took in all of it: nothing was tested"
        load.drive(peers, 60)
        for peer in peers:
            assert peer.numbers == list(range(count)), f"{peer.name}: lost or out of order"


@noctule_only
@cases(kind=("tcp", "ws", "unix"))
def test_client_that_does_not_read_its_answers(kind):
    """Answers wait in a bounded list: then that client is not read until it reads."""
    with Broker(kind, "tcp") as broker:
        client = wire.connected(broker.addresses[0], "deaf", stream={"receive_buffer": 4096})
        before = broker.memory()
        asking = Asking(client)
        sent = -1
        while sent != asking.sent:
            sent = asking.sent
            wire.wait_for_keep_alive(broker.tcp)
        grown = broker.memory() - before
        assert sent < asking.total, "the broker took in all of it"
        # A sanitizer holds on to what has been freed.
        assert grown < 20_000_000 or SANITIZED, f"{grown // 1_000_000} MB for the answers to {sent} PINGREQs"
        answers = bytearray(client.buffer)
        while len(answers) < 2 * asking.total:
            answers += client.stream.recv(load.CHUNK)
        assert answers == bytes.fromhex("d000") * asking.total
        client.close()


class Asking(threading.Thread):
    """Sends PINGREQs in the background."""

    total = 10_000_000
    step = 1000

    def __init__(self, client):
        super().__init__(daemon=True)
        self.client, self.sent = client, 0
        client.stream.settimeout(60)
        self.start()

    def run(self):
        while self.sent < self.total:
            self.client.send(bytes.fromhex("c000") * self.step)
            self.sent += self.step


@noctule_only
@limit(90)
def test_one_worker_that_gets_more_mail_than_it_can_take_in():
    """Publishers on three workers, all receivers on the fourth, where one more client sets retained
    values: memory stays bounded, and every worker answers soon."""
    with Broker("tcp", options="connection_messages false", workers=4) as broker:
        witnesses = [wire.connected(broker.tcp, f"witness-{n}") for n in range(4)]
        fill_first_worker(broker, RECEIVERS)
        publishers = [wire.connected(broker.tcp, f"publisher-{n}") for n in range(4)]
        floods = [load.Process(flood, publisher, retain)
                  for publisher, retain in zip(publishers, (True, False, False, False))]
        end = time.monotonic() + FLOOD_SECONDS
        memory = 0
        while time.monotonic() < end:
            for witness in witnesses:
                witness.ping()
            memory = max(memory, broker.memory())
        for process in floods:
            process.result(30)
        wire.connected(broker.tcp, "late").disconnect()
        assert memory < MEMORY_BOUND or SANITIZED, f"{memory // 1_000_000} MB resident"


def fill_first_worker(broker, count):
    """Sessions without connection that subscribe to x, all on the worker of the first connection:
    of four connections in turn each goes to another worker."""
    clients = [wire.connected(broker.tcp, f"receiver-{n}", clean=n % 4 != 0)
               for n in range(4 * count)]
    for client in clients[::4]:
        client.subscribe("x")
    for client in clients:
        client.disconnect()


def flood(client, retain):
    packets = wire.publish_packet("state" if retain else "x", b"." * 200, retain=retain) * 2000
    client.stream.settimeout(None)
    end = time.monotonic() + FLOOD_SECONDS
    while time.monotonic() < end:
        client.send(packets)
