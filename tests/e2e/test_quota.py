# SPDX-License-Identifier: MIT
"""Quotas of one client, over real sockets: rates that hold back without loss, and what is refused."""

import time

import harness
import wire
from harness import Broker, cases, noctule_only

QUOTA_EXCEEDED = 0x97


@noctule_only
@cases(kind=("tcp", "wss"), limited=(True, False))
def test_fast_publisher_is_held_back_and_loses_nothing(kind, limited):
    """It takes as long as the rate says, all arrives in order, and nobody else is slowed down."""
    count, rate = 900, 300
    options = f"message_rate {rate}\n" if limited else ""
    with Broker(kind, "tcp", options=options, workers=2) as broker:
        reader = wire.connected(broker.tcp, "reader")
        reader.subscribe("t", qos=1)
        with wire.connected(broker.addresses[0], "fast", keepalive=1) as fast:
            begun = time.monotonic()
            for number in range(count):
                pid = fast.new_pid()
                fast.send(wire.publish_packet("t", str(number), 1, pid=pid))
            with wire.connected(broker.tcp, "other") as other:
                other.ping()
            got = [int(message.payload) for message in reader.messages(count)]
            took = time.monotonic() - begun
            assert got == list(range(count))
            fast.ping()
        reader.close()
        if limited:  # the first second's worth comes at once
            assert took >= count / rate - 1.2, took
        else:
            assert took < (count / rate - 1.2) * harness.PATIENCE, took


@noctule_only
@cases(limited=(True, False))
def test_bytes_are_held_back(limited):
    size, count = 10000, 30
    with Broker("tcp", options="byte_rate 100KB\n" if limited else "") as broker:
        with wire.connected(broker.tcp, "fast") as fast:
            begun = time.monotonic()
            for _ in range(count):
                fast.send(wire.publish_packet("t", b"x" * size))
            fast.ping()
            took = time.monotonic() - begun
            assert (took > 1.5) == limited, took


@noctule_only
@cases(limited=(True, False))
def test_one_thing_too_many(limited):
    options = "max_subscriptions 3\nmax_retained_messages 2\nmax_topic_levels 4\nsys_interval 0\n"
    with Broker("tcp", options=options if limited else "sys_interval 0\n") as broker:
        with wire.connected(broker.tcp, "c", 5) as client:
            pid = client.new_pid()
            filters = [(f, 0) for f in ("a", "b", "1/2/3/4/5", "c", "d")]
            client.send(wire.subscribe_packet(pid, filters, 5))
            refused = [0, 0, 0x8F, 0, QUOTA_EXCEEDED]
            assert client.wait(wire.SUBACK, pid).reasons == (refused if limited else [0] * 5)
            reasons = [client.publish(topic, "x", qos=1, retain=True).reason & 0x80
                       for topic in ("r1", "r2", "r3", "r1", "1/2/3/4/5")]
            assert reasons == ([0, 0, 0x80, 0, 0x80] if limited else [0] * 5)
        if limited:
            broker.wait_log(r"Client c \[127.0.0.1:\d+\] may not subscribe to d: quota exceeded")
            broker.wait_log("what it publishes is refused: topic name invalid")
