# SPDX-License-Identifier: MIT
"""MQTT over WebSocket: sub-protocols, and packets that ignore the frames they travel in."""

import websocket
import wire
from harness import Broker, cases, connect_socket, noctule_only
from websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT


@cases(offer=("mqtt", "mqttv3.1"))
def test_subprotocol_is_echoed(offer):
    """[MQTT5-6.0.0-3] [MQTT5-6.0.0-4] [MQTT311-6.0.0-3] [MQTT311-6.0.0-4]"""
    with Broker("ws") as broker:
        with wire.Client(broker.ws, protocols=(offer,)) as client:
            assert client.stream.protocol == offer, client.stream.protocol
            client.connect()
            client.ping()


def test_supported_subprotocol_is_chosen_among_several():
    with Broker("ws") as broker:
        with wire.connected(broker.ws, stream={"protocols": ("wamp", "mqtt")}) as client:
            assert client.stream.protocol == "mqtt", client.stream.protocol


@noctule_only
@cases(offer=("chat", "none"))
def test_other_subprotocol_is_refused(offer):
    with Broker("ws") as broker:
        try:
            wire.open_stream(broker.ws, protocols=() if offer == "none" else (offer,))
        except websocket.Refused:
            pass
        else:
            raise AssertionError(f"sub-protocol {offer} was accepted")
        wire.connected(broker.ws).disconnect()


@noctule_only
def test_text_frame_closes_connection():
    """[MQTT5-6.0.0-1] [MQTT311-6.0.0-1]"""
    with Broker("ws") as broker:
        with wire.connected(broker.ws) as client:
            client.stream.send_frame(TEXT, bytes.fromhex("c000"))
            packets = client.expect_closed()
            assert not packets, f"the text was answered: {packets}"


def test_text_frame_ends_the_client_at_once():
    """Its will does not wait until the close is answered, for which the library gives it five seconds."""
    with Broker("tcp", "ws") as broker:
        with wire.connected(broker.tcp, "watcher") as watcher:
            watcher.subscribe("will")
            client = wire.connected(broker.ws, "talker", will=wire.Will("will", "gone"))
            client.stream.send_frame(TEXT, b"x")
            assert watcher.message(3).payload == b"gone"
            client.close()


def test_packet_split_over_fragments():
    """[MQTT5-6.0.0-2] [MQTT311-6.0.0-2]: a packet may be spread over frames and fragments."""
    with Broker("ws") as broker:
        with wire.connected(broker.ws) as client:
            client.subscribe("a", qos=1)
            packet = wire.publish_packet("a", "in pieces", 1, pid=9)
            client.stream.send_frame(BINARY, packet[:3], fin=False)
            client.stream.send_frame(CONTINUATION, packet[3:4], fin=False)
            client.stream.send_frame(PING, b"between")
            client.stream.send_frame(CONTINUATION, packet[4:], fin=True)
            assert client.message().payload == b"in pieces"
            client.wait(wire.PUBACK, 9)
            assert client.stream.wait_control() == (PONG, b"between")


def test_many_packets_in_one_frame():
    with Broker("ws") as broker:
        with wire.connected(broker.ws) as client:
            client.subscribe("a", qos=1)
            client.send(b"".join(wire.publish_packet("a", f"{n}", 1, pid=n + 1)
                                 for n in range(1000)))
            assert [m.payload for m in client.messages(1000)] == [b"%d" % n for n in range(1000)]


def test_packet_and_a_half_in_one_frame():
    with Broker("ws") as broker:
        with wire.connected(broker.ws) as client:
            client.subscribe("a")
            two = wire.publish_packet("a", "first") + wire.publish_packet("a", "second")
            client.send(two[:-4])
            assert client.message().payload == b"first"
            client.send(two[-4:])
            assert client.message().payload == b"second"


@cases(kind=("ws", "wss"))
def test_frames_of_one_byte(kind):
    with Broker(kind) as broker:
        client = wire.Client(broker.addresses[0])
        conversation = (wire.connect_packet("tiny") + wire.subscribe_packet(1, [("a", 1)])
                        + wire.publish_packet("a", "x" * 500, 1, pid=2))
        # All frames in few segments: the broker sees hundreds of frames in one read.
        client.stream.sock.sendall(b"".join(
            websocket.encode_frame(BINARY, conversation[n:n + 1])
            for n in range(len(conversation))))
        client.wait(wire.CONNACK)
        client.wait(wire.SUBACK)
        assert client.message().payload == b"x" * 500
        client.wait(wire.PUBACK, 2)


def test_empty_frames_change_nothing():
    with Broker("ws") as broker:
        with wire.connected(broker.ws) as client:
            for _ in range(3):
                client.stream.send_frame(BINARY, b"")
            client.ping()


@cases(size=(0, 1, 125))
def test_ping_gets_pong(size):
    with Broker("ws") as broker:
        with wire.connected(broker.ws) as client:
            payload = bytes(range(size))
            client.stream.send_frame(PING, payload)
            assert client.stream.wait_control() == (PONG, payload)
            client.ping()


def test_close_is_answered():
    with Broker("ws") as broker:
        with wire.connected(broker.ws) as client:
            client.stream.send_frame(CLOSE, b"\x03\xe8")
            answer = client.stream.wait_control()
            assert answer and answer[0] == CLOSE, answer


def test_unmasked_frame_closes_connection():
    """RFC 6455, 5.1: a server closes the connection on an unmasked frame. One that overlooks it
    must at least not go on as if nothing had happened with the frames behind."""
    with Broker("ws") as broker:
        with wire.connected(broker.ws) as client:
            client.stream.sock.sendall(b"\x82\x02\xc0\x00")
            client.stream.send_frame(CLOSE, b"")
            client.expect_closed()
        wire.connected(broker.ws).disconnect()


def test_plain_http_request_is_answered_or_closed():
    """Somebody's browser on the port does not disturb the broker."""
    with Broker("ws") as broker:
        with wire.connected(broker.ws) as client:
            stray = connect_socket(broker.ws)
            stray.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            stray.recv(4096)
            stray.close()
            client.ping()
