# SPDX-License-Identifier: MIT
"""A mosquitto that is bridged to the broker: it sets bit 0x80 of the protocol version, and means by it that its
own messages are not returned and that the retain flag is kept."""

import os
import shutil
import subprocess

import harness
import wire
from harness import Address, Broker, Skip, cases, free_port, noctule_only, wait_until

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


class Bridged:
    """A mosquitto with everything bridged in both directions."""

    def __init__(self, broker, version):
        if not os.access(MOSQUITTO, os.X_OK):
            raise Skip("mosquitto is not installed")
        self.tcp = Address("tcp", "127.0.0.1", free_port())
        self.broker = broker
        self.path = os.path.join(harness.TEST_DIR, "bridge.conf")
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(f"listener {self.tcp.port} 127.0.0.1\nallow_anonymous true\nsys_interval 0\n"
                       f"connection noctule\naddress 127.0.0.1:{broker.tcp.port}\ntopic # both 2\n"
                       f"bridge_protocol_version {version}\nremote_clientid bridge\ncleansession false\n"
                       "notifications false\nrestart_timeout 1\n")
        os.chmod(self.path, 0o644)

    def __enter__(self):
        with open(self.path + ".log", "wb") as log:
            self.process = subprocess.Popen([MOSQUITTO, "-c", self.path], stdout=log, stderr=log)
        self.broker.wait_log("as bridge ")
        wait_until(self.is_through, "a message over the bridge")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def is_through(self):
        """Whether a retained message has come over: from then on both directions are there."""
        with wire.connected(self.broker.tcp) as here, wire.connected(self.tcp) as there:
            here.publish("probe/here", "x", 1)
            there.subscribe("probe/#", qos=1)
            here.subscribe("probe/#", qos=1)
            there.publish("probe/there", "y", 1)
            here.publish("probe/here", "x", 1)
            try:
                return {there.message(1).topic for _ in range(2)} == {"probe/here", "probe/there"} \
                    and {here.message(1).topic for _ in range(2)} == {"probe/here", "probe/there"}
            except harness.Timeout:
                return False


def all_of(client):
    """What it gets until the message that ends it. What is retained while its subscription is still being
    looked up may come as a retained message, too."""
    got = []
    while not got or got[-1][0] != "end":
        message = client.message()
        if not message.retain:
            got.append((message.topic, message.qos, message.retain))
    return sorted(got[:-1])


@noctule_only
@cases(version=("mqttv31", "mqttv311", "mqttv50"))
def test_messages_cross_once_and_keep_retain(version):
    """[MQTT5-3.8.3-3] [MQTT5-3.3.1-13]: no message returns over the bridge, which would go round for ever, and
    what is retained on one side is retained on the other."""
    with Broker("tcp") as broker, Bridged(broker, version) as other:
        here, there = (wire.connected(address, "watcher") for address in (broker.tcp, other.tcp))
        here.subscribe("a/#", "end", qos=2)
        there.subscribe("a/#", "end", qos=2)
        expected = []
        for qos in (0, 1, 2):
            for client, side in ((here, "here"), (there, "there")):
                for retain in (False, True):
                    topic = f"a/{side}/{qos}/{retain}"
                    client.publish(topic, "x", qos, retain)
                    expected.append((topic, qos, False))
        here.publish("end", "x", 2)
        there.publish("end", "x", 2)
        for client in (here, there):
            first = all_of(client)
            rest = all_of(client)  # the other side's end
            assert sorted(first + rest) == sorted(expected), f"{first} and then {rest}"
        for address in (broker.tcp, other.tcp):
            with wire.connected(address, "late") as late:
                late.subscribe("a/#", qos=2)
                got = {(m.topic, m.qos, m.retain) for m in late.messages(6)}
                assert got == {(topic, qos, True) for topic, qos, _ in expected if topic.endswith("True")}
                late.expect_nothing()
        here.expect_nothing()
        there.expect_nothing()
