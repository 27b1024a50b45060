# SPDX-License-Identifier: MIT
"""Python's paho-mqtt works unchanged, also when it comes back to a session that was kept for it."""

import queue

from harness import Broker, PATIENCE, Skip, cases, certificates

try:
    from paho.mqtt import client as paho
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties
except ImportError:
    paho = None

VERSIONS = (4, 5)


class Client:
    """A paho client on its own network thread; what it reports arrives in queues."""

    def __init__(self, broker, version, client_id="", keep=False, transport="tcp"):
        if paho is None:
            raise Skip("python3-paho-mqtt is not installed")
        self.address = broker.addresses[0]
        self.connects, self.messages = queue.Queue(), queue.Queue()
        self.acked, self.granted, self.gone = queue.Queue(), queue.Queue(), queue.Queue()
        clean = {} if version == 5 else {"clean_session": not keep}
        self.paho = paho.Client(client_id, protocol=version, transport=transport, **clean)
        self.keep = keep
        if self.address.secure:
            self.paho.tls_set(ca_certs=certificates()["ca"])
        self.paho.on_connect = lambda _c, _u, flags, code, *_: self.connects.put((code, flags))
        self.paho.on_message = lambda _c, _u, message: self.messages.put(message)
        self.paho.on_publish = lambda _c, _u, mid: self.acked.put(mid)
        self.paho.on_subscribe = lambda _c, _u, _mid, granted, *_: self.granted.put(granted)
        self.paho.on_disconnect = lambda _c, _u, code, *_: self.gone.put(code)

    def connect(self):
        """Connect and return whether the broker had a session."""
        options = {}
        if self.paho._protocol == 5:  # paho has no public name for it
            props = Properties(PacketTypes.CONNECT)
            props.SessionExpiryInterval = 3600 if self.keep else 0
            options = {"clean_start": not self.keep, "properties": props}
        self.paho.connect(self.address.host, self.address.port, **options)
        self.paho.loop_start()
        code, flags = wait(self.connects, "CONNACK")
        assert code == 0, code
        return bool(flags["session present"])

    def subscribe(self, topic_filter, qos):
        self.paho.subscribe(topic_filter, qos)
        wait(self.granted, "SUBACK")

    def publish(self, topic, payload, qos, **options):
        self.paho.publish(topic, payload, qos, **options)
        wait(self.acked, "the end of a publish")

    def received(self, count):
        return [wait(self.messages, "a message") for _ in range(count)]

    def disconnect(self):
        self.paho.disconnect()
        wait(self.gone, "the end of the connection")
        self.paho.loop_stop()


def wait(events, what):
    try:
        return events.get(timeout=10 * PATIENCE)
    except queue.Empty:
        raise AssertionError(f"paho did not report {what}") from None


@cases(version=VERSIONS, kind=("tcp", "tls", "ws", "wss"))
def test_publish_and_receive(version, kind):
    with Broker(kind) as broker:
        transport = "websockets" if kind in ("ws", "wss") else "tcp"
        client = Client(broker, version, transport=transport)
        assert client.connect() is False
        client.subscribe("sensors/#", 2)
        for qos in (0, 1, 2):
            client.publish("sensors/t", f"value {qos}", qos)
        got = [(m.topic, m.payload, m.qos) for m in client.received(3)]
        assert got == [("sensors/t", b"value %d" % qos, qos) for qos in (0, 1, 2)], got
        client.disconnect()


@cases(version=VERSIONS)
def test_persistent_session_gets_what_was_queued(version):
    """QoS 1 and 2 messages wait for the client in their order [MQTT5-3.1.2-5] [MQTT311-3.1.2-5]."""
    with Broker("tcp") as broker:
        keeper = Client(broker, version, "keeper", keep=True)
        assert keeper.connect() is False
        keeper.subscribe("jobs/#", 2)
        keeper.disconnect()
        sender = Client(broker, version)
        sender.connect()
        sent = [(f"job {number}".encode(), 1 + number % 2) for number in range(50)]
        for payload, qos in sent:
            sender.publish("jobs/print", payload, qos)
        sender.disconnect()
        back = Client(broker, version, "keeper", keep=True)
        assert back.connect() is True
        got = [(m.payload, m.qos) for m in back.received(50)]
        for qos in (1, 2):
            assert [m for m in got if m[1] == qos] == [m for m in sent if m[1] == qos], got
        assert len(got) == 50 and back.messages.empty()
        back.disconnect()


@cases(version=VERSIONS)
def test_reconnects_after_broken_connection(version):
    """paho's automatic reconnect finds its session and subscriptions again."""
    with Broker("tcp") as broker:
        client = Client(broker, version, "phoenix", keep=True)
        client.paho.reconnect_delay_set(min_delay=1, max_delay=1)
        client.connect()
        client.subscribe("news", 2)
        client.paho.socket().shutdown(2)
        _, flags = wait(client.connects, "the second CONNACK")
        assert flags["session present"]
        client.publish("news", "after", 2)
        assert client.received(1)[0].payload == b"after"
        client.disconnect()


def test_version_5_properties():
    with Broker("tcp") as broker:
        client = Client(broker, 5)
        client.connect()
        client.subscribe("p", 1)
        props = Properties(PacketTypes.PUBLISH)
        props.ContentType = "application/json"
        props.ResponseTopic = "answers"
        props.CorrelationData = b"\x00\x01"
        props.UserProperty = [("b", "1"), ("a", "2"), ("b", "3")]
        client.publish("p", "{}", 1, properties=props)
        got = client.received(1)[0].properties
        assert (got.ContentType, got.ResponseTopic) == ("application/json", "answers")
        assert got.CorrelationData == b"\x00\x01"
        assert got.UserProperty == [("b", "1"), ("a", "2"), ("b", "3")]
        client.disconnect()


@cases(version=VERSIONS)
def test_retained_and_will(version):
    with Broker("tcp") as broker:
        device = Client(broker, version, "device")
        device.paho.will_set("status", "offline", 1, retain=True)
        device.connect()
        device.publish("status", "online", 1, retain=True)
        watcher = Client(broker, version)
        watcher.connect()
        watcher.subscribe("status", 1)
        device.paho.loop_stop()
        device.paho.socket().shutdown(2)  # no DISCONNECT: the will is due
        got = [(m.payload, m.retain) for m in watcher.received(2)]
        assert got == [(b"online", True), (b"offline", False)], got
        watcher.disconnect()
