# SPDX-License-Identifier: MIT
"""An MQTT client of our own that sees every packet: versions 3.1 (3), 3.1.1 (4) and 5.0 (5).

It builds and takes apart packets, sends anything (also nonsense, in hex), and runs over each kind
of listener. It blocks: one connection is one `Client`, and every wait has a deadline. It does
nothing by itself: no keep-alive, no reconnect, and acknowledgements only where a method says so.
The server's packets are checked strictly (`Malformed`).
"""

import collections
import ssl
import struct
import time

import harness
import websocket

(CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE,
 UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH) = range(1, 16)

NAMES = ("", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE",
         "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH")

# name: (identifier, type)
PROPERTIES = {
    "payload_format_indicator": (0x01, "u8"),
    "message_expiry_interval": (0x02, "u32"),
    "content_type": (0x03, "text"),
    "response_topic": (0x08, "text"),
    "correlation_data": (0x09, "binary"),
    "subscription_identifier": (0x0B, "varint"),
    "session_expiry_interval": (0x11, "u32"),
    "assigned_client_identifier": (0x12, "text"),
    "server_keep_alive": (0x13, "u16"),
    "authentication_method": (0x15, "text"),
    "authentication_data": (0x16, "binary"),
    "request_problem_information": (0x17, "u8"),
    "will_delay_interval": (0x18, "u32"),
    "request_response_information": (0x19, "u8"),
    "response_information": (0x1A, "text"),
    "server_reference": (0x1C, "text"),
    "reason_string": (0x1F, "text"),
    "receive_maximum": (0x21, "u16"),
    "topic_alias_maximum": (0x22, "u16"),
    "topic_alias": (0x23, "u16"),
    "maximum_qos": (0x24, "u8"),
    "retain_available": (0x25, "u8"),
    "user_property": (0x26, "pair"),
    "maximum_packet_size": (0x27, "u32"),
    "wildcard_subscription_available": (0x28, "u8"),
    "subscription_identifier_available": (0x29, "u8"),
    "shared_subscription_available": (0x2A, "u8"),
}
PROPERTY_BY_ID = {number: (name, kind) for name, (number, kind) in PROPERTIES.items()}
REPEATABLE = ("user_property", "subscription_identifier")
INTEGERS = {"u8": ">B", "u16": ">H", "u32": ">I"}


class Malformed(AssertionError):
    """The server sent something that the specification does not allow."""


class Closed(ConnectionError):
    """The server closed the connection where a packet was expected."""


# --- building --------------------------------------------------------------------------------


def varint(number):
    out = bytearray()
    while True:
        number, digit = number >> 7, number & 0x7F
        out.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(out)


def binary(value):
    data = value.encode() if isinstance(value, str) else value
    return struct.pack(">H", len(data)) + data


def properties(values):
    """The property section with its length in front; a list as value repeats the property."""
    out = b""
    for name, value in (values or {}).items():
        number, kind = PROPERTIES[name]
        for item in value if isinstance(value, list) else [value]:
            out += bytes([number]) + _property_value(kind, item)
    return varint(len(out)) + out


def _property_value(kind, value):
    if kind in INTEGERS:
        return struct.pack(INTEGERS[kind], value)
    if kind == "varint":
        return varint(value)
    if kind == "pair":
        return binary(value[0]) + binary(value[1])
    return binary(value)


def packet(kind, flags, body):
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


Will = collections.namedtuple("Will", "topic payload qos retain props", defaults=(0, False, None))


def connect_packet(client_id, version=4, clean=True, keepalive=0, will=None, username=None,
                   password=None, props=None):
    flags = 0x02 if clean else 0
    tail = binary(client_id)
    if will:
        flags |= 0x04 | will.qos << 3 | (0x20 if will.retain else 0)
        tail += properties(will.props) if version == 5 else b""
        tail += binary(will.topic) + binary(will.payload)
    if username is not None:
        flags |= 0x80
        tail += binary(username)
    if password is not None:
        flags |= 0x40
        tail += binary(password)
    name = "MQIsdp" if version & 0x7F == 3 else "MQTT"  # bit 0x80 marks a bridge
    head = binary(name) + struct.pack(">BBH", version, flags, keepalive)
    return packet(CONNECT, 0, head + (properties(props) if version == 5 else b"") + tail)


def publish_packet(topic, payload, qos=0, retain=False, dup=False, pid=None, version=4, props=None):
    if isinstance(payload, str):
        payload = payload.encode()
    body = binary(topic) + (struct.pack(">H", pid) if qos else b"")
    if version == 5:
        body += properties(props)
    return packet(PUBLISH, (dup << 3) | qos << 1 | retain, body + payload)


def subscribe_packet(pid, filters, version=4, props=None):
    """`filters` is a list of (filter, options byte)."""
    body = struct.pack(">H", pid) + (properties(props) if version == 5 else b"")
    return packet(SUBSCRIBE, 2, body + b"".join(binary(f) + bytes([o]) for f, o in filters))


def unsubscribe_packet(pid, filters, version=4, props=None):
    body = struct.pack(">H", pid) + (properties(props) if version == 5 else b"")
    return packet(UNSUBSCRIBE, 2, body + b"".join(binary(f) for f in filters))


def ack_packet(kind, pid, reason=0, version=4):
    body = struct.pack(">H", pid) + (bytes([reason]) if version == 5 and reason else b"")
    return packet(kind, 2 if kind == PUBREL else 0, body)


# --- taking apart ----------------------------------------------------------------------------


class Reader:
    """A cursor over the body of one packet."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def left(self):
        return len(self.data) - self.at

    def take(self, size):
        if size > self.left():
            raise Malformed(f"packet too short: {bytes(self.data).hex(' ')}")
        self.at += size
        return self.data[self.at - size:self.at]

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def varint(self):
        value = shift = 0
        while True:
            digit = self.number(">B")
            value |= (digit & 0x7F) << shift
            shift += 7
            if digit < 0x80:
                return value
            if shift > 21:
                raise Malformed("variable byte integer of more than four bytes")

    def binary(self):
        return bytes(self.take(self.number(">H")))

    def text(self):
        try:
            return self.binary().decode()
        except UnicodeDecodeError:
            raise Malformed(f"bad UTF-8 in {bytes(self.data).hex(' ')}") from None

    def properties(self):
        """A dict; repeatable properties are lists in it."""
        section = Reader(self.take(self.varint()))
        found = {}
        while section.left():
            number = section.varint()
            if number not in PROPERTY_BY_ID:
                raise Malformed(f"unknown property {number:#x}")
            name, kind = PROPERTY_BY_ID[number]
            value = section.property_value(kind)
            if name in REPEATABLE:
                found.setdefault(name, []).append(value)
            elif name in found:
                raise Malformed(f"{name} twice")
            else:
                found[name] = value
        return found

    def property_value(self, kind):
        if kind in INTEGERS:
            return self.number(INTEGERS[kind])
        if kind == "pair":
            return (self.text(), self.text())
        return {"varint": self.varint, "text": self.text, "binary": self.binary}[kind]()


class Packet:
    """A packet from the server. Which attributes it has beside `kind` depends on the kind:
    reason, props, session_present, topic, payload, qos, retain, dup, pid, reasons."""

    def __init__(self, kind, flags, body, version):
        self.kind, self.raw_flags, self.body = kind, flags, bytes(body)
        self.props = {}
        self.pid = None
        try:
            decode = DECODERS[kind]
        except KeyError:
            raise Malformed(f"packet type {kind} from a server") from None
        if kind != PUBLISH and flags != (2 if kind == PUBREL else 0):
            raise Malformed(f"flags {flags:#x} of {NAMES[kind]}")
        reader = Reader(self.body)
        decode(self, reader, version)
        if reader.left():
            raise Malformed(f"{reader.left()} bytes too many in {self!r}")

    def __repr__(self):
        shown = {name: value for name, value in vars(self).items()
                 if name not in ("kind", "raw_flags", "body") and value not in (None, {})}
        text = ", ".join(f"{name}={value!r:.80}" for name, value in shown.items())
        return f"{NAMES[self.kind]}({text})"


def _decode_connack(p, r, version):
    flags = r.number(">B")
    if flags > 1:
        raise Malformed(f"CONNACK flags {flags:#x}")
    p.session_present = bool(flags)
    p.reason = r.number(">B")
    if version == 5:
        p.props = r.properties()


def _decode_publish(p, r, version):
    p.dup, p.qos, p.retain = bool(p.raw_flags & 8), p.raw_flags >> 1 & 3, bool(p.raw_flags & 1)
    p.topic = r.text()
    if p.qos == 3 or (p.qos == 0 and p.dup):
        raise Malformed(f"PUBLISH flags {p.raw_flags:#x}")
    if p.qos:
        p.pid = _packet_identifier(r)
    if version == 5:
        p.props = r.properties()
    p.payload = bytes(r.take(r.left()))


def _packet_identifier(r):
    pid = r.number(">H")
    if pid == 0:
        raise Malformed("packet identifier 0")
    return pid


def _decode_ack(p, r, version):
    p.pid = _packet_identifier(r)
    p.reason = r.number(">B") if version == 5 and r.left() else 0
    if version == 5 and r.left():
        p.props = r.properties()


def _decode_suback(p, r, version):
    p.pid = _packet_identifier(r)
    if version == 5:
        p.props = r.properties()
    p.reasons = list(r.take(r.left()))


def _decode_disconnect(p, r, version):
    if version != 5:
        raise Malformed(f"{NAMES[p.kind]} from the server in version {version}")
    p.reason = r.number(">B") if r.left() else 0
    if r.left():
        p.props = r.properties()


def _decode_pingresp(_p, _r, _version):
    pass


DECODERS = {
    CONNACK: _decode_connack, PUBLISH: _decode_publish, PUBACK: _decode_ack, PUBREC: _decode_ack,
    PUBREL: _decode_ack, PUBCOMP: _decode_ack, SUBACK: _decode_suback, UNSUBACK: _decode_suback,
    PINGRESP: _decode_pingresp, DISCONNECT: _decode_disconnect, AUTH: _decode_disconnect,
}


def frame_at(buffer, at):
    """Start and end of the body of the packet at `at`, or None while it is incomplete."""
    size, shift, position = 0, 0, at + 1
    while True:
        if position >= len(buffer):
            return None
        digit = buffer[position]
        size |= (digit & 0x7F) << shift
        position += 1
        shift += 7
        if digit < 0x80:
            break
        if shift > 21:
            raise Malformed("remaining length of more than four bytes")
    if digit == 0 and position > at + 2:
        raise Malformed("remaining length of more bytes than it needs")
    return (position, position + size) if position + size <= len(buffer) else None


# --- connecting ------------------------------------------------------------------------------


def tls_context(certificate=None, version=None):
    """A client context that trusts the test CA. `certificate` is the name of a client certificate,
    `version` an ssl.TLSVersion to insist on."""
    paths = harness.certificates()
    context = ssl.create_default_context(cafile=paths["ca"])
    if certificate:
        context.load_cert_chain(paths[certificate], paths[certificate + "_key"])
    if version:
        context.minimum_version = context.maximum_version = version
    return context


def open_stream(address, receive_buffer=0, tls=None, protocols=("mqtt",), prefix=b"", headers=()):
    """Something with sendall, recv, settimeout and close, for any kind of listener. `prefix` goes
    in front of everything, as a proxy would send it; `headers` are lines of HTTP."""
    stream = harness.connect_socket(address, receive_buffer)
    try:
        if prefix:
            stream.sendall(prefix)
        if address.secure:
            context = tls or tls_context("client" if address.kind == "mtls" else None)
            stream = context.wrap_socket(stream, server_hostname="localhost",
                                         suppress_ragged_eofs=True)
        if address.websocket:
            stream = websocket.WebSocket(stream, f"localhost:{address.port}", protocols,
                                         headers=headers)
    except BaseException:
        stream.close()
        raise
    return stream


class Client:
    """One connection to the broker."""

    def __init__(self, address, version=4, client_id="", **stream_options):
        self.version, self.client_id = version, client_id
        self.stream = open_stream(address, **stream_options)
        self.buffer = bytearray()
        self.inbox = collections.deque()  # packets that arrived while another one was awaited
        self.last_pid = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # sending

    def send(self, data):
        self.stream.sendall(data)

    def send_hex(self, text):
        self.send(bytes.fromhex(text))

    def new_pid(self):
        self.last_pid = self.last_pid % 65535 + 1
        return self.last_pid

    def connect(self, reason=0, **options):
        """CONNECT and its answer, which must have this reason code. Options: connect_packet."""
        self.send(connect_packet(self.client_id, self.version, **options))
        connack = self.wait(CONNACK)
        assert connack.reason == reason, f"CONNACK {connack.reason:#x}, not {reason:#x}"
        return connack

    def subscribe(self, *filters, qos=0, options=0, props=None):
        """SUBSCRIBE to all filters alike; the answer, which must grant the QoS."""
        pid = self.new_pid()
        byte = qos | options
        self.send(subscribe_packet(pid, [(f, byte) for f in filters], self.version, props))
        suback = self.wait(SUBACK, pid)
        assert suback.reasons == [qos] * len(filters), suback
        return suback

    def unsubscribe(self, *filters):
        pid = self.new_pid()
        self.send(unsubscribe_packet(pid, filters, self.version))
        return self.wait(UNSUBACK, pid)

    def publish(self, topic, payload, qos=0, retain=False, props=None):
        """PUBLISH and the whole handshake; the first answer, or None at QoS 0."""
        pid = self.new_pid() if qos else None
        self.send(publish_packet(topic, payload, qos, retain, False, pid, self.version, props))
        if qos == 0:
            return None
        answer = self.wait(PUBACK if qos == 1 else PUBREC, pid)
        if qos == 2 and answer.reason < 0x80:
            self.send(ack_packet(PUBREL, pid))
            self.wait(PUBCOMP, pid)
        return answer

    def ping(self):
        """PINGREQ and PINGRESP: the broker has handled all that this client sent before."""
        self.send_hex("c0 00")
        self.wait(PINGRESP)

    def disconnect(self, reason=0, props=None):
        body = b""
        if self.version == 5 and (reason or props):
            body = bytes([reason]) + properties(props)
        self.send(packet(DISCONNECT, 0, body))
        self.close()

    def close(self):
        self.stream.close()

    # receiving

    def next(self, seconds=10):
        """The next packet, whatever it is."""
        if self.inbox:
            return self.inbox.popleft()
        return self._read(time.monotonic() + seconds * harness.PATIENCE)

    def _read(self, deadline):
        while not (frame := frame_at(self.buffer, 0)):
            chunk = self._receive(deadline)
            if not chunk:
                raise Closed("the broker closed the connection")
            self.buffer += chunk
        start, end = frame
        first, body = self.buffer[0], self.buffer[start:end]
        del self.buffer[:end]
        return Packet(first >> 4, first & 15, body, self.version)

    def _receive(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise harness.Timeout("no packet from the broker in time")
        self.stream.settimeout(left)
        try:
            return self.stream.recv(262144)
        except TimeoutError:
            raise harness.Timeout("no packet from the broker in time") from None
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError):
            return b""

    def wait(self, kind, pid=None, seconds=10):
        """The next packet of a kind (and packet identifier); others stay for later."""
        deadline = time.monotonic() + seconds * harness.PATIENCE
        for found in self.inbox:
            if found.kind == kind and pid in (None, found.pid):
                self.inbox.remove(found)
                return found
        while True:
            try:
                found = self._read(deadline)
            except harness.Timeout:
                raise harness.Timeout(f"no {NAMES[kind]} within {seconds * harness.PATIENCE} s; "
                                      f"other packets: {list(self.inbox)}") from None
            if found.kind == kind and pid in (None, found.pid):
                return found
            if found.kind == DISCONNECT:
                raise Closed(f"{found} instead of {NAMES[kind]}")
            self.inbox.append(found)

    def message(self, seconds=10):
        """The next PUBLISH, acknowledged in full."""
        message = self.wait(PUBLISH, seconds=seconds)
        if message.qos == 1:
            self.send(ack_packet(PUBACK, message.pid))
        elif message.qos == 2:
            self.send(ack_packet(PUBREC, message.pid))
            self.wait(PUBREL, message.pid)
            self.send(ack_packet(PUBCOMP, message.pid))
        return message

    def messages(self, count, seconds=10):
        return [self.message(seconds) for _ in range(count)]

    def expect_nothing(self):
        """Nothing has arrived and nothing was on its way before an answered PINGREQ."""
        self.ping()
        assert not self.inbox, f"unexpected: {list(self.inbox)}"

    def expect_closed(self, seconds=10):
        """Wait for the end of the connection; the packets that came before it."""
        deadline = time.monotonic() + seconds * harness.PATIENCE
        packets = list(self.inbox)
        self.inbox.clear()
        while True:
            try:
                packets.append(self._read(deadline))
            except Closed:
                return packets
            except harness.Timeout:
                raise harness.Timeout("the broker did not close the connection; packets: "
                                      f"{packets}") from None

    def expect_disconnect(self, reason, seconds=10):
        """The broker sends DISCONNECT with this reason code and closes (5.0 only)."""
        packets = self.expect_closed(seconds)
        assert packets and packets[-1].kind == DISCONNECT, f"no DISCONNECT but {packets}"
        assert packets[-1].reason == reason, packets[-1]
        return packets


def connected(address, client_id="", version=4, stream=None, **options):
    """A client whose CONNECT was accepted."""
    client = Client(address, version, client_id, **(stream or {}))
    client.connect(**options)
    return client


def wait_for_keep_alive(address):
    """An event that is 1.5 s away: the broker closes a silent client [MQTT5-3.1.2-22]
    [MQTT311-3.1.2-24]. For what must, or must not, have happened by then."""
    with connected(address, "silent", keepalive=1) as silent:
        silent.expect_closed()
