# SPDX-License-Identifier: MIT
"""A client that was away for long: what waits for it is on disk, not in memory, and is read back when it comes."""

import re
import threading

import wire
from harness import SANITIZED, Broker, cases, limit, noctule_only

SIZE = 2000


def own_memory(broker):
    """Bytes, without those of the store's file that happen to be there."""
    with open(f"/proc/{broker.process.pid}/status", encoding="ascii") as file:
        return int(re.search(r"RssAnon:\s+(\d+) kB", file.read())[1]) * 1024


def fill(broker, start, end):
    """Messages of 2,000 bytes, each with its number."""
    with wire.connected(broker.tcp, "publisher") as publisher:
        for first in range(start, end, 500):
            pids = []
            for number in range(first, min(first + 500, end)):
                pids.append(publisher.new_pid())
                publisher.send(wire.publish_packet("far/behind", str(number).ljust(SIZE), qos=1, pid=pids[-1]))
            for pid in pids:
                publisher.wait(wire.PUBACK, pid)


def drain(client, count):
    for number in range(count):
        message = client.message()
        assert int(message.payload) == number, (number, message)


class Traffic(threading.Thread):
    """Two other clients, meanwhile: each message must arrive before the next one is sent."""

    def __init__(self, broker):
        super().__init__()
        self.broker, self.goes_on, self.count, self.failure = broker, True, 0, None

    def run(self):
        try:
            with wire.connected(self.broker.tcp, "hears") as hears, wire.connected(self.broker.tcp, "says") as says:
                hears.subscribe("beside", qos=0)
                while self.goes_on:
                    says.publish("beside", str(self.count), qos=0)
                    assert int(hears.message().payload) == self.count
                    self.count += 1
        except Exception as error:  # pylint: disable=broad-except
            self.failure = error

    def stop(self):
        self.goes_on = False
        self.join()
        assert self.failure is None, self.failure
        assert self.count > 0


@noctule_only
@limit(120)
@cases(workers=[1, 2], restart=[False, True])
def test_twenty_thousand_messages_wait_on_disk_and_arrive_in_order(workers, restart):
    count = 20000
    with Broker("tcp", workers=workers, options="max_queued_messages 0") as broker:
        with wire.connected(broker.tcp, "sleeper", clean=False) as sleeper:
            sleeper.subscribe("far/behind", qos=1)
        fill(broker, 0, 500)
        before = own_memory(broker)
        fill(broker, 500, count)
        grown = own_memory(broker) - before
        assert SANITIZED or grown < count * SIZE / 3, f"{grown} bytes for {count} messages of {SIZE}"
        if restart:
            broker.kill()
            broker.start()
        traffic = Traffic(broker)
        traffic.start()
        with wire.Client(broker.tcp, client_id="sleeper") as sleeper:
            assert sleeper.connect(clean=False).session_present
            drain(sleeper, count)
            sleeper.expect_nothing()
        traffic.stop()
        broker.stop()
        broker.start()
        with wire.Client(broker.tcp, client_id="sleeper") as sleeper:  # it has acknowledged all
            assert sleeper.connect(clean=False).session_present
            sleeper.expect_nothing()


def stored(client, enough):
    """Waits until $SYS says so many messages, and bytes of them, that it is enough."""
    seen = {}
    while len(seen) < 2 or not enough(seen["count"], seen["bytes"]):
        message = client.message(seconds=30)
        seen[message.topic.rsplit("/", 1)[1]] = int(message.payload)


@noctule_only
@limit(120)
def test_messages_that_are_only_on_disk_are_counted():
    count = 2000
    with Broker("tcp", options="max_queued_messages 0\nsys_interval 1") as broker:
        with wire.connected(broker.tcp, "sleeper", clean=False) as sleeper:
            sleeper.subscribe("far/behind", qos=1)
        fill(broker, 0, count)
        for _ in range(2):
            with wire.connected(broker.tcp, "looks") as looks:
                looks.subscribe("$SYS/broker/store/messages/count", "$SYS/broker/store/messages/bytes")
                stored(looks, lambda messages, size: messages >= count and size >= count * SIZE)
            broker.kill()
            broker.start()
        with wire.connected(broker.tcp, "looks") as looks, wire.connected(broker.tcp, "sleeper", clean=False) as sleeper:
            drain(sleeper, count)
            looks.subscribe("$SYS/broker/store/messages/count", "$SYS/broker/store/messages/bytes")
            stored(looks, lambda messages, size: messages < count and size < SIZE * 10)
