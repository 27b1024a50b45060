# SPDX-License-Identifier: MIT
"""Whatever strangers send, the broker goes on serving the others. The damage is random, but the
same in every run."""

import contextlib
import random

import websocket
import wire
from harness import SCALE, Broker, cases, connect_socket

CONNECTIONS = max(int(2000 * SCALE), 200)


def conversation(version, rng):
    """A whole correct session in bytes."""
    will = wire.Will("will", b"w" * rng.randrange(300), rng.randrange(3))
    packets = [wire.connect_packet(f"stranger-{rng.randrange(20)}", version, will=will,
                                   username="u", password=b"p"),
               wire.subscribe_packet(1, [("a/+", 2), ("#", 1), ("$share/g/a", 0)], version),
               wire.unsubscribe_packet(2, ["#"], version),
               bytes.fromhex("c000")]
    for pid in range(3, 8):
        packets.append(wire.publish_packet(f"a/{pid}", b"x" * rng.randrange(200), pid % 3, pid=pid,
                                           retain=pid == 5, version=version))
        packets.append(wire.ack_packet(rng.choice((wire.PUBACK, wire.PUBREC, wire.PUBREL,
                                                   wire.PUBCOMP)), pid))
    return b"".join(packets)


def damage(data, rng):
    """Change, insert, drop or repeat a few bytes."""
    data = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(data))
        data[at:at + rng.randrange(3)] = rng.choice((
            rng.randbytes(rng.randrange(4)), bytes(rng.randrange(4)), b"\xff\xff\xff\x7f",
            data[at:at + 20]))
    return bytes(data)


@cases(kind=("tcp", "ws", "unix"))
def test_damaged_conversations(kind):
    rng = random.Random(kind)
    with Broker(kind, "tcp", options="connection_messages false\nlog_type error") as broker:
        witness = wire.connected(broker.tcp, "witness", 5)
        for number in range(CONNECTIONS):
            with contextlib.suppress(ConnectionError, TimeoutError):
                with wire.Client(broker.addresses[0]) as stranger:
                    stranger.send(damage(conversation(rng.choice((3, 4, 5)), rng), rng))
                    if number % 10 == 0:
                        read_a_little(stranger)
            if number % 20 == 0:
                witness.ping()
        witness.disconnect()


def read_a_little(client):
    """Read what the broker has to say, for a moment."""
    client.stream.settimeout(0.05)
    while client.stream.recv(65536):
        pass


@cases(kind=("tcp", "tls", "ws", "wss", "unix"))
def test_noise(kind):
    """Not even the layer below MQTT is right: TLS, HTTP, WebSocket frames."""
    rng = random.Random(kind)
    with Broker(kind, "unix", options="connection_messages false\nlog_type error") as broker:
        address = broker.addresses[0]
        with wire.connected(broker.addresses[-1], "witness") as witness:
            for number in range(CONNECTIONS // 4):
                with contextlib.suppress(OSError), connect_socket(address) as sock:
                    sock.sendall(noise(number, rng))
                with contextlib.suppress(ConnectionError, TimeoutError, websocket.BadFrame):
                    with wire.Client(address) as client:
                        under = client.stream.sock if address.websocket else client.stream
                        under.sendall(rng.randbytes(rng.randrange(1, 300)))
                witness.ping()
        wire.connected(address).disconnect()


def noise(number, rng):
    """Random bytes, or the start of something right."""
    upgrade = (b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
               b"Sec-WebSocket-Protocol: mqtt\r\n\r\n")
    hello = bytes.fromhex("1603010200010001fc0303")
    starts = (b"", upgrade[:rng.randrange(len(upgrade))], damage(upgrade, rng),
              b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * rng.randrange(3000), hello,
              b"\x10\xff\xff\xff\x7f\x00\x04MQTT")
    return starts[number % len(starts)] + rng.randbytes(rng.randrange(1, 200))
