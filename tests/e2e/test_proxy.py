# SPDX-License-Identifier: MIT
"""The PROXY protocol: whom a trusted proxy speaks for, on every kind of listener; what anybody else
says is not believed."""

import socket
import struct

import harness
import wire
from harness import Broker, cases, connect_socket, noctule_only, run, wait_until
from test_strangers import fail2ban_hosts, is_closed

KINDS = ("tcp", "tls", "mtls", "ws", "wss")
CLIENT, PORT = "203.0.113.7", 4711


def version_1(client=CLIENT, port=PORT):
    family = "TCP6" if ":" in client else "TCP4"
    here = "::1" if ":" in client else "127.0.0.1"
    return f"PROXY {family} {client} {here} {port} 1883\r\n".encode()


def version_2(client=CLIENT, port=PORT, command=0x21):
    six = ":" in client
    family = socket.AF_INET6 if six else socket.AF_INET
    body = socket.inet_pton(family, client) + socket.inet_pton(family, "::1" if six else "127.0.0.1")
    body += struct.pack(">HH", port, 1883) + b"\x04\x00\x01x"
    return (b"\r\n\r\n\0\r\nQUIT\n" + struct.pack(">BBH", command, 0x21 if six else 0x11, len(body))
            + body)


def proxied(*kinds, value="true", options="", **more):
    return Broker(*kinds, options=f"trusted_proxies 127.0.0.1 192.0.2.0/24\n{options}",
                  listener_options=f"enable_proxy_protocol {value}", **more)


@noctule_only
@cases(kind=KINDS, header=("1", "2"), client=(CLIENT, "2001:db8::7"))
def test_client_is_who_the_proxy_says(kind, header, client):
    prefix = (version_1 if header == "1" else version_2)(client)
    with proxied(kind, workers=2) as broker:
        with wire.connected(broker.addresses[0], "c", stream={"prefix": prefix}) as mqtt:
            mqtt.subscribe("t", qos=1)
            mqtt.publish("t", "x", qos=1)
            assert mqtt.message().payload == b"x"
        place = f"[{client}]:{PORT}" if ":" in client else f"{client}:{PORT}"
        assert f"New client connected from {place} as c" in broker.log(), broker.log()


@noctule_only
@cases(header=("1", "2"))
def test_header_in_pieces(header):
    """Byte by byte, and in one piece with what follows it."""
    prefix = version_1() if header == "1" else version_2()
    with proxied("tcp", workers=2) as broker:
        sock = connect_socket(broker.tcp)
        for byte in prefix + wire.connect_packet("slow"):
            sock.sendall(bytes([byte]))
        assert sock.recv(4) == bytes.fromhex("20020000")
        sock.close()
        sock = connect_socket(broker.tcp)
        sock.sendall(prefix + wire.connect_packet("quick") + bytes.fromhex("c000"))
        got = b""
        while len(got) < 6:
            got += sock.recv(6 - len(got))
        assert got == bytes.fromhex("20020000 d000")
        sock.close()


@noctule_only
def test_version_that_is_not_wanted_is_refused():
    for value, prefix in (("1", version_2()), ("2", version_1()), ("true", b"\x10\x0c"),
                          ("true", b"GET / HTTP/1.1\r\n"), ("true", b"PROXY TCP4 1.2.3.4\r\n")):
        with proxied("tcp", value=value) as broker:
            sock = connect_socket(broker.tcp)
            sock.sendall(prefix)
            assert is_closed(sock), (value, prefix)
            broker.wait_log("The proxy 127.0.0.1:.* did not begin with the header")


@noctule_only
def test_proxy_that_says_nothing_is_not_waited_for():
    with proxied("tcp", options="connect_timeout 1\n") as broker:
        for sent in (b"", b"PROXY TCP4 "):
            sock = connect_socket(broker.tcp)
            sock.sendall(sent)
            assert is_closed(sock)
        broker.wait_log("did not say in time whom it speaks for")


@noctule_only
@cases(prefix=("local", "unknown"))
def test_proxy_may_speak_for_itself(prefix):
    """As its health checks do: it is the client then, and no limit holds for it."""
    text = version_2(command=0x20) if prefix == "local" else b"PROXY UNKNOWN\r\n"
    with proxied("tcp", options="max_connections_per_ip 1\n") as broker:
        clients = [wire.connected(broker.tcp, f"c{n}", stream={"prefix": text}) for n in range(3)]
        assert "New client connected from 127.0.0.1:" in broker.log()
        for client in clients:
            client.close()


@noctule_only
@cases(kind=("tcp", "wss"))
def test_nobody_else_is_believed(kind):
    """Not from an address that is no trusted proxy; and not where no proxy is expected."""
    with Broker(kind, options="trusted_proxies 127.0.0.2\n",
                listener_options="enable_proxy_protocol true") as broker:
        sock = connect_socket(broker.addresses[0])
        try:
            sock.sendall(version_1())
        except OSError:
            pass
        assert is_closed(sock)
        broker.wait_log(r"Refused 127\.0\.0\.1:\d+: it is none of trusted_proxies")
    with Broker(kind, options="trusted_proxies 127.0.0.1\n") as broker:
        sock = connect_socket(broker.addresses[0])
        sock.sendall(version_1() * 10)
        assert is_closed(sock)
        assert CLIENT not in broker.log()


@noctule_only
def test_limits_are_those_of_the_client():
    """One client too many is refused by its own address; others behind the proxy are not."""
    with proxied("tcp", "ws", options="max_connections_per_ip 2\n", workers=2) as broker:
        held = [wire.connected(broker.addresses[n], f"c{n}", stream={"prefix": version_1()})
                for n in range(2)]
        sock = connect_socket(broker.tcp)
        sock.sendall(version_2())
        assert is_closed(sock)
        wait_until(lambda: fail2ban_hosts(broker.log()) == [CLIENT], "a line about it")
        with wire.connected(broker.tcp, "other", stream={"prefix": version_1("203.0.113.8")}):
            pass
        for client in held:
            client.ping()
            client.close()


@noctule_only
def test_needs_to_know_whom_to_trust():
    path = f"{harness.TEST_DIR}/bad.conf"
    with open(path, "w", encoding="utf-8") as file:
        file.write("allow_anonymous true\nlistener 1883\nenable_proxy_protocol true\n"
                   "trusted_proxies 10.0.0.0/33\n")
    done = run(harness.NOCTULE, "--test-config", "-c", path, check=False)
    assert done.returncode == 2 and f'{path}:4: trusted_proxies: "10.0.0.0/33"' in done.stdout
    with open(path, "w", encoding="utf-8") as file:
        file.write("allow_anonymous true\nlistener 1883\nenable_proxy_protocol true\n")
    done = run(harness.NOCTULE, "--test-config", "-c", path, check=False)
    assert done.returncode == 2 and "enable_proxy_protocol needs trusted_proxies" in done.stdout
