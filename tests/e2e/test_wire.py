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
