# SPDX-License-Identifier: MIT
"""Options that no other test turns: what each of them does in the running broker."""

import ctypes
import os
import shutil
import signal
import socket
import ssl

import harness
import wire
from harness import Broker, Skip, cases, certificates, free_port, noctule_only, run

MANY_ALIASES = {"topic_alias_maximum": 50}
PIDFD_GETFD = 438


@cases(kept=(True, False))
def test_upgrade_outgoing_qos(kept):
    """A subscriber gets its own QoS, also plainly published, retained and kept messages."""
    with Broker("tcp", options="upgrade_outgoing_qos true") as broker:
        with wire.connected(broker.tcp, "publisher") as publisher:
            subscriber = wire.connected(broker.tcp, "subscriber", clean=not kept)
            subscriber.subscribe("a/#", qos=2)
            if kept:
                subscriber.disconnect()
            publisher.publish("a/0", "plain", qos=0)
            publisher.publish("a/1", "plain", qos=1)
            publisher.publish("b", "retained", qos=0, retain=True)
            publisher.ping()
            if kept:
                subscriber = wire.connected(broker.tcp, "subscriber", clean=False)
            assert [m.qos for m in subscriber.messages(2)] == [2, 2]
            subscriber.subscribe("b", qos=1)
            assert subscriber.message().qos == 1
            subscriber.expect_nothing()


@noctule_only
@cases(most=(0, 2))
def test_max_topic_alias_broker(most):
    """So many aliases, for the first topics; none with 0, whatever the client allows."""
    with Broker("tcp", listener_options=f"max_topic_alias_broker {most}") as broker:
        with wire.connected(broker.tcp, "subscriber", 5, props=MANY_ALIASES) as subscriber:
            subscriber.subscribe("+")
            with wire.connected(broker.tcp, "publisher") as publisher:
                for topic in "abcabc":
                    publisher.publish(topic, "x")
            got = [(m.topic, m.props.get("topic_alias")) for m in subscriber.messages(6)]
            first = [(topic, n if n <= most else None) for n, topic in enumerate("abc", 1)]
            again = [("" if n <= most else topic, n if n <= most else None) for n, topic in enumerate("abc", 1)]
            assert got == first + again, got


def test_connection_messages_false():
    """Who comes and goes, also because of the broker, is not in the log."""
    with Broker("tcp", options="connection_messages false") as broker:
        wire.connected(broker.tcp, "polite").disconnect()
        with wire.connected(broker.tcp, "silent", keepalive=1) as silent:
            silent.expect_closed()
        wire.connected(broker.tcp, "last").close()
    assert "polite" not in broker.log() and "silent" not in broker.log(), broker.log()


@noctule_only
@cases(size=(0, 20_000), cookie=(100, 10_000))
def test_websockets_headers_size(size, cookie):
    """Large cookies need more than the library has by default."""
    with Broker("ws", options=f"websockets_headers_size {size}") as broker:
        headers = {"headers": ["Cookie: " + "x" * cookie]}
        if cookie < 4000 or size > cookie:
            wire.connected(broker.ws, stream=headers).disconnect()
            return
        try:
            wire.Client(broker.ws, **headers)
        except ConnectionError:
            return
        raise AssertionError("so many headers were taken")


def nodelay_of(broker):
    """TCP_NODELAY of each connection, asked of the broker's own sockets."""
    process, values = os.pidfd_open(broker.process.pid), []
    libc = ctypes.CDLL(None, use_errno=True)
    folder = f"/proc/{broker.process.pid}/fd"
    for number in os.listdir(folder):
        if not os.readlink(f"{folder}/{number}").startswith("socket:"):
            continue
        copy = libc.syscall(PIDFD_GETFD, process, int(number), 0)
        if copy < 0:
            raise Skip(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
        with socket.socket(fileno=copy) as sock:
            try:
                sock.getpeername()
            except OSError:
                continue  # it listens
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                values.append(bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
    os.close(process)
    return values


@noctule_only
@cases(value=("true", "false"))
def test_set_tcp_nodelay(value):
    if not hasattr(os, "pidfd_open"):
        raise Skip("this Python has no pidfd_open")
    with Broker("tcp", "tls", "ws", options=f"set_tcp_nodelay {value}") as broker:
        clients = [wire.connected(address) for address in broker.addresses]
        assert nodelay_of(broker) == [value == "true"] * 3
        for client in clients:
            client.disconnect()


@cases(certificate=("client", "stranger", None))
def test_capath(certificate):
    """Authorities in a folder count as those in cafile."""
    need_rehash = run("openssl", "rehash", "-help", check=False)
    if need_rehash.returncode != 0:
        raise Skip("openssl has no rehash")
    folder = os.path.join(harness.TEST_DIR, "authorities")
    os.mkdir(folder)
    shutil.copy(certificates()["ca"], os.path.join(folder, "ca.pem"))
    run("openssl", "rehash", folder)
    broker = Broker("mtls")
    broker.write_config(broker.config.replace(f"cafile {certificates()['ca']}", f"capath {folder}"))
    with broker:
        try:
            with wire.Client(broker.mtls, tls=wire.tls_context(certificate)) as client:
                client.connect()
            let_in = True
        except (wire.Closed, OSError):
            let_in = False
        assert let_in == (certificate == "client")


@cases(offered=("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"))
def test_ciphers(offered):
    """The client has to have one of them."""
    allowed = "ECDHE-ECDSA-AES128-GCM-SHA256"
    with Broker("tls", listener_options=f"ciphers {allowed}") as broker:
        context = wire.tls_context(version=ssl.TLSVersion.TLSv1_2)
        context.set_ciphers(offered)
        try:
            with wire.connected(broker.tls, stream={"tls": context}) as client:
                assert client.stream.cipher()[0] == allowed
            let_in = True
        except ssl.SSLError:
            let_in = False
        assert let_in == (offered == allowed)


def test_port_and_bind_address():
    """The listener of old files, with the options that stand before the first one."""
    address = harness.Address("tcp", "127.0.0.1", free_port())
    broker = Broker(options=f"port {address.port}\nbind_address 127.0.0.1\nmax_qos 1")
    broker.addresses.append(address)
    with broker:
        with wire.Client(address, 5) as client:
            assert client.connect().props["maximum_qos"] == 1
        try:
            harness.connect_socket(harness.Address("tcp", "::1", address.port)).close()
        except OSError:
            return
        raise AssertionError("it listens elsewhere as well")


@noctule_only
@cases(check=("true", "false"))
def test_check_retain_source(check):
    """Whose right to publish is gone, of him nothing retained is delivered, unless nobody asks."""
    rules = os.path.join(harness.TEST_DIR, "acl")
    write(rules, "topic readwrite #\n")
    with Broker("tcp", options=f"acl_file {rules}\ncheck_retain_source {check}") as broker:
        with wire.connected(broker.tcp, "author") as author:
            author.publish("t", "kept", qos=1, retain=True)
            write(rules, "topic read #\n")
            broker.signal(signal.SIGHUP)
            broker.wait_log("Configuration reloaded")
            author.subscribe("t")
            if check == "false":
                assert author.message().payload == b"kept"
            author.expect_nothing()


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o644)
