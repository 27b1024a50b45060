# SPDX-License-Identifier: MIT
"""A WebSocket client after RFC 6455 over any socket, small and strict about what the server sends.

`WebSocket` looks like a socket (sendall, recv, settimeout, close), so that the MQTT client does not
know what carries it; below that it lets a test send frames as it likes: fragments, single bytes,
text. What a server must not do (masked frames, unknown opcodes, reserved bits, text) raises
`BadFrame`. Permessage-deflate is never offered.
"""

import base64
import hashlib
import os
import struct
import time

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class BadFrame(AssertionError):
    """The server broke RFC 6455."""


class Refused(ConnectionError):
    """The server did not switch protocols; the text holds its answer, empty if it just closed."""


def encode_frame(opcode, payload, fin=True):
    """One masked frame, as every client frame has to be."""
    head = bytes([opcode | (0x80 if fin else 0)])
    size = len(payload)
    if size < 126:
        head += bytes([0x80 | size])
    elif size < 65536:
        head += struct.pack(">BH", 0x80 | 126, size)
    else:
        head += struct.pack(">BQ", 0x80 | 127, size)
    key = os.urandom(4)
    return head + key + mask(payload, key)


def mask(payload, key):
    size = len(payload)
    pattern = (key * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")
    return masked.to_bytes(size, "big")


class WebSocket:
    """The client's end of one WebSocket connection."""

    def __init__(self, sock, host, protocols=("mqtt",), path="/mqtt", headers=()):
        self.sock = sock
        self.buffer = bytearray()
        self.data = bytearray()   # of the frames that were taken, not asked for yet
        self.deadline = None
        self.control = []         # (opcode, payload) of the pongs and closes that arrived
        self.closed = False
        self.in_message = False   # the last data frame was not final
        self.protocol = self._handshake(host, protocols, path, headers)
        self._take_frames()       # some may have come with the handshake

    def _handshake(self, host, protocols, path, more):
        key = base64.b64encode(os.urandom(16))
        lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket",
                 "Connection: Upgrade", f"Sec-WebSocket-Key: {key.decode()}",
                 "Sec-WebSocket-Version: 13", *more]
        if protocols:
            lines.append("Sec-WebSocket-Protocol: " + ", ".join(protocols))
        self.sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
        while b"\r\n\r\n" not in self.buffer:
            try:
                chunk = self.sock.recv(4096)
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                raise Refused(self.buffer.decode("latin-1"))
            self.buffer += chunk
        head, _, rest = bytes(self.buffer).partition(b"\r\n\r\n")
        self.buffer = bytearray(rest)
        status, *fields = head.decode("latin-1").split("\r\n")
        if status.split()[1] != "101":
            raise Refused(head.decode("latin-1"))
        headers = {name.strip().lower(): value.strip()
                   for name, _, value in (field.partition(":") for field in fields)}
        expected = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
        if headers.get("sec-websocket-accept") != expected:
            raise BadFrame("wrong Sec-WebSocket-Accept")
        return headers.get("sec-websocket-protocol")

    def sendall(self, payload):
        self.send_frame(BINARY, payload)

    def send_frame(self, opcode, payload, fin=True):
        self.sock.sendall(encode_frame(opcode, payload, fin))

    def recv(self, size=65536):
        """The payload of the data frames that have arrived, at least one byte; b"" at the end."""
        while not self.data and not self.closed:
            self._read(size)
        data, self.data = bytes(self.data), bytearray()
        return data

    def wait_control(self):
        """The first pong or close that has not been asked for; None when the connection ends."""
        self.settimeout(10)
        while not self.control and not self.closed:
            self._read(65536)
        return self.control.pop(0) if self.control else None

    def _read(self, size):
        """One read from the socket, and what follows from it."""
        if self.deadline:  # of the whole call, however often frames trickle in
            self.sock.settimeout(max(self.deadline - time.monotonic(), 0.001))
        chunk = self.sock.recv(max(size, 65536))
        if not chunk:
            self.closed = True
        self.buffer += chunk
        self._take_frames()

    def _take_frames(self):
        while frame := self._take_frame():
            self.data += self._accept(*frame)

    def _take_frame(self):
        """The next whole frame of the buffer as (opcode, fin, payload), or None."""
        buffer = self.buffer
        if self.closed or len(buffer) < 2:
            return None
        size, start = buffer[1] & 0x7F, 2
        if size == 126:
            start = 4
        elif size == 127:
            start = 10
        if len(buffer) < start:
            return None
        if start > 2:
            size = int.from_bytes(buffer[2:start], "big")
        if buffer[0] & 0x70 or buffer[1] & 0x80:
            raise BadFrame(f"reserved bits or a masked frame: {bytes(buffer[:16]).hex(' ')}")
        if len(buffer) < start + size:
            return None
        payload = bytes(buffer[start:start + size])
        opcode, fin = buffer[0] & 0x0F, bool(buffer[0] & 0x80)
        del buffer[:start + size]
        return opcode, fin, payload

    def _accept(self, opcode, fin, payload):
        """Deal with one frame; return its data."""
        if opcode in (BINARY, CONTINUATION):
            if (opcode == CONTINUATION) != self.in_message:
                raise BadFrame("continuation out of place")
            self.in_message = not fin
            return payload
        if opcode == PING:
            self.send_frame(PONG, payload)
        elif opcode in (PONG, CLOSE):
            self.control.append((opcode, payload))
            self.closed = opcode == CLOSE
        else:
            raise BadFrame(f"opcode {opcode} from the server")
        return b""

    def settimeout(self, seconds):
        self.deadline = None if seconds is None else time.monotonic() + seconds
        self.sock.settimeout(seconds)

    def fileno(self):
        return self.sock.fileno()

    def shutdown(self, how):
        self.sock.shutdown(how)

    def close(self):
        self.sock.close()
