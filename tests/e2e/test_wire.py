# SPDX-License-Identifier: MIT
"""The smallest conversations over each kind of listener, with our own client. If these fail, look
here first."""

import wire
from harness import Broker, cases

KINDS = ("tcp", "tls", "mtls", "ws", "wss", "unix")
VERSIONS = (3, 4, 5)


@cases(kind=KINDS, version=VERSIONS)
def test_publish_and_receive(kind, version):
    """A message at each QoS makes the way through the broker and back."""
    with Broker(kind) as broker:
        with wire.connected(broker.addresses[0], "both", version) as client:
            client.subscribe("room/+", qos=2)
            for qos in (0, 1, 2):
                answer = client.publish("room/1", f"at {qos}", qos)
                assert answer is None or answer.reason == 0, answer
                message = client.message()
                assert (message.topic, message.payload) == ("room/1", f"at {qos}".encode()), message
                assert (message.qos, message.retain, message.dup) == (qos, False, False), message
            client.expect_nothing()
            client.disconnect()


@cases(publisher=(4, 5), subscriber=VERSIONS)
def test_every_length_arrives_as_it_was_sent(publisher, subscriber):
    """[MQTT5-1.5.5-1]: around the sizes at which a packet's length takes one byte more, from each
    version to each, with the identifier and without: what is passed on is the frame as it came, changed in place."""
    steps = [at + by for at in (127, 16383) for by in range(-14, 3)]
    with Broker("tcp") as broker:
        with wire.connected(broker.tcp, "to", subscriber) as to, wire.connected(broker.tcp, "from", publisher) as source:
            to.subscribe("a/topic", qos=1)
            for size in steps:
                payload = (b"0123456789abcdef" * (size // 16 + 1))[:size]
                for qos in (0, 1):
                    source.publish("a/topic", payload, qos)
                    message = to.message()
                    assert (message.topic, message.payload, message.qos) == ("a/topic", payload, qos), (size, message)
            to.expect_nothing()


@cases(version=VERSIONS)
def test_session_is_kept_and_ended(version):
    """[MQTT5-3.1.2-5] [MQTT5-3.2.2-3] [MQTT311-3.1.2-4] [MQTT311-3.2.2-2]: it comes back with its
    subscriptions and what was queued, until a clean start ends it."""
    keep = {"props": {"session_expiry_interval": 3600}} if version == 5 else {}
    with Broker("tcp", workers=2) as broker:
        with wire.Client(broker.tcp, version, "keeper") as keeper:
            assert not keeper.connect(clean=False, **keep).session_present
            keeper.subscribe("a", "b", qos=1)
            keeper.unsubscribe("b")
            keeper.disconnect()
        with wire.connected(broker.tcp, "other", version) as other:
            for topic in ("a", "b"):
                other.publish(topic, "while away", qos=1)
        with wire.Client(broker.tcp, version, "keeper") as keeper:
            connack = keeper.connect(clean=False, **keep)
            # Version 3.1 has no such flag: its byte is reserved.
            assert connack.session_present == (version != 3)
            assert keeper.message().topic == "a"
            keeper.expect_nothing()
            keeper.disconnect()
        with wire.Client(broker.tcp, version, "keeper") as keeper:
            assert not keeper.connect(clean=True).session_present
            keeper.expect_nothing()
