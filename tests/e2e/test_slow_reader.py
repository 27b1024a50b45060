# SPDX-License-Identifier: MIT
"""A subscriber that does not read: nothing is lost or damaged, nobody else waits, no CPU burns."""

import random

import wire
from harness import Broker, cases, noctule_only

KINDS = ("tcp", "tls", "ws", "wss", "unix")
UNBOUNDED = "max_queued_messages 0\nmax_queued_bytes 0\n"

# An idle broker uses next to nothing; one that spins uses all of the 1.5 s that are measured.
IDLE_CPU = 0.2


def payload(number, size):
    """Bytes that look random but follow from the number."""
    return b"%8d" % number + random.Random(number).randbytes(size - 8)


def cpu_while_nothing_is_sent(broker):
    """The broker's CPU seconds until it closes a client for its keep-alive, after 1.5 s."""
    before = broker.cpu_seconds()
    wire.wait_for_keep_alive(broker.addresses[-1])
    return broker.cpu_seconds() - before


@cases(kind=KINDS)
def test_reads_everything_later(kind):
    """8 MB wait for a reader that has stopped; then it gets every byte, in order."""
    count, size = 2000, 4096
    with Broker(kind, "tcp", options=UNBOUNDED, workers=2) as broker:
        slow = wire.connected(broker.addresses[0], "slow", stream={"receive_buffer": 4096})
        slow.subscribe("data", qos=1)
        with wire.connected(broker.tcp, "publisher") as publisher:
            for number in range(count):
                publisher.publish("data", payload(number, size), qos=1)
            # Input of a connection whose output is stuck must not keep the broker busy.
            slow.send(bytes.fromhex("c000 c000 c000"))
            publisher.ping()
            spent = cpu_while_nothing_is_sent(broker)
            assert spent < IDLE_CPU, f"{spent:.2f} s of CPU while nothing happened"
        for number in range(count):
            message = slow.message()
            assert message.payload == payload(number, size), f"message {number} is damaged"
            assert not message.dup
        for _ in range(3):
            slow.wait(wire.PINGRESP)
        slow.expect_nothing()
        slow.disconnect()


@cases(kind=KINDS)
def test_loses_only_whole_messages_at_qos_0(kind):
    """QoS 0 beyond the bound is dropped, whole messages at a time; what arrives is in order."""
    count, size = 20000, 2048
    with Broker(kind, "tcp", options="max_queued_messages 100\n") as broker:
        slow = wire.connected(broker.addresses[0], "slow", stream={"receive_buffer": 4096})
        slow.subscribe("data")
        slow.subscribe("end", qos=1)
        with wire.connected(broker.tcp, "publisher") as publisher:
            for number in range(count):
                publisher.send(wire.publish_packet("data", payload(number, size)))
            publisher.ping()
            received, last = 0, -1
            while True:
                publisher.publish("end", "", qos=1)  # dropped as well while the queue is full
                message = slow.message()
                if message.topic == "end":
                    break
                number = int(message.payload[:8])
                assert number > last, f"{number} after {last}"
                assert message.payload == payload(number, size), f"message {number} is damaged"
                last, received = number, received + 1
        assert 0 < received < count, f"{received} of {count} arrived"
        slow.close()


@cases(kind=("tcp", "ws"))
def test_does_not_slow_others(kind):
    """A second subscriber gets all of it while the first does not read."""
    with Broker(kind, options=UNBOUNDED) as broker:
        address = broker.addresses[0]
        slow = wire.connected(address, "slow", stream={"receive_buffer": 4096})
        slow.subscribe("data", qos=1)
        quick = wire.connected(address, "quick")
        quick.subscribe("data", qos=1)
        with wire.connected(address, "publisher") as publisher:
            for number in range(1000):
                publisher.publish("data", payload(number, 8192), qos=1)
                assert quick.message().payload == payload(number, 8192)
        quick.disconnect()
        slow.close()


@noctule_only
@cases(kind=("tcp", "tls", "ws", "wss"))
def test_without_progress_is_closed_after_write_timeout(kind):
    """Its will tells that the connection was given up."""
    with Broker(kind, "tcp", options=UNBOUNDED + "write_timeout 1\n") as broker:
        slow = wire.connected(broker.addresses[0], "slow", will=wire.Will("gone", "slow"),
                              stream={"receive_buffer": 4096})
        slow.subscribe("data", qos=1)
        with wire.connected(broker.tcp, "publisher") as publisher:
            publisher.subscribe("gone")
            for number in range(2000):
                publisher.publish("data", payload(number, 4096), qos=1)
            assert publisher.message().payload == b"slow"
        slow.close()
