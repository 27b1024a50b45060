# SPDX-License-Identifier: MIT
"""Listeners: several at once, both address families, TLS versions, client certificates, and TLS
session resumption whichever worker a connection lands on."""

import os
import ssl

import harness
import wire
from harness import Broker, cases, certificates, limit, noctule_only, run


def exchange(publisher, subscriber):
    """A message of each QoS from one client to the other."""
    subscriber.subscribe("t", qos=2)
    for qos in (0, 1, 2):
        publisher.publish("t", f"{qos}", qos)
        assert subscriber.message().payload == b"%d" % qos


def test_all_kinds_at_once_share_topics():
    """Seven listeners of one broker: a message goes from each to each."""
    kinds = ("tcp", "tls", "mtls", "ws", "wss", "unix", ("tcp", "::1"))
    with Broker(*kinds, workers=2) as broker:
        clients = [wire.connected(address, f"c{number}", 4 + number % 2)
                   for number, address in enumerate(broker.addresses)]
        for client in clients:
            client.subscribe("all/#", qos=1)
        for number, client in enumerate(clients):
            client.publish("all/x", f"from {number}", qos=1)
        expected = sorted(b"from %d" % number for number in range(len(kinds)))
        for client in clients:
            assert sorted(m.payload for m in client.messages(len(kinds))) == expected
            client.disconnect()


@cases(kind=("tcp", "tls", "ws", "wss"))
def test_ipv6(kind):
    with Broker((kind, "::1")) as broker:
        with wire.connected(broker.addresses[0]) as one, wire.connected(broker.addresses[0]) as two:
            exchange(one, two)


def test_wildcard_address_serves_both_families():
    """A listener without bind address listens on IPv4 and IPv6."""
    broker = Broker("tcp")
    broker.write_config(broker.config.replace(f"listener {broker.tcp.port} 127.0.0.1",
                                              f"listener {broker.tcp.port}"))
    with broker:
        ipv6 = harness.Address("tcp", "::1", broker.tcp.port)
        with wire.connected(broker.tcp) as one, wire.connected(ipv6) as two:
            exchange(one, two)


@cases(family=("ipv4", "ipv6"))
def test_socket_domain_restricts_family(family):
    broker = Broker("tcp" if family == "ipv4" else ("tcp", "::1"))
    port = broker.tcp.port
    broker.write_config(broker.config.replace(f"listener {port} {broker.tcp.host}",
                                              f"listener {port}\nsocket_domain {family}"))
    with broker:
        wire.connected(broker.tcp).disconnect()
        other = harness.Address("tcp", "::1" if family == "ipv4" else "127.0.0.1", port)
        try:
            harness.connect_socket(other).close()
        except ConnectionRefusedError:
            return
        raise AssertionError(f"{other.url} answers though socket_domain is {family}")


@cases(kind=("tls", "wss"), version=("TLSv1_2", "TLSv1_3"))
def test_tls_version(kind, version):
    with Broker(kind) as broker:
        tls = wire.tls_context(version=ssl.TLSVersion[version])
        with wire.connected(broker.addresses[0], stream={"tls": tls}) as client:
            exchange(client, client)


def test_tls_1_1_is_refused():
    with Broker("tls") as broker:
        done = run("openssl", "s_client", "-connect", f"127.0.0.1:{broker.tls.port}", "-tls1_1",
                   "-cipher", "ALL:@SECLEVEL=0", check=False)
        assert done.returncode != 0 and "Cipher is (NONE)" in done.stdout, done.stdout


def test_tls_version_option_is_a_minimum():
    with Broker("tls", listener_options="tls_version tlsv1.3") as broker:
        old = wire.tls_context(version=ssl.TLSVersion.TLSv1_2)
        try:
            wire.Client(broker.tls, tls=old)
        except (ssl.SSLError, ConnectionResetError):
            pass
        else:
            raise AssertionError("TLS 1.2 was accepted")
        wire.connected(broker.tls).disconnect()


@cases(certificate=("none", "stranger"))
def test_client_certificate_is_required(certificate):
    """No certificate, or one of another CA: no MQTT conversation takes place."""
    with Broker("mtls") as broker:
        tls = wire.tls_context(None if certificate == "none" else certificate)
        try:
            client = wire.Client(broker.mtls, tls=tls)
            client.connect()  # TLS 1.3 tells a client only now
        except (ssl.SSLError, ConnectionResetError, BrokenPipeError, wire.Closed):
            pass
        else:
            raise AssertionError("accepted")
        wire.connected(broker.mtls).disconnect()


@cases(kind=("tls", "wss", "mtls"), version=("-tls1_2", "-tls1_3"))
def test_tls_session_resumes_on_every_worker(kind, version):
    """Tickets of one worker are taken by the others: they share keys and session id context."""
    with Broker(kind, workers=2) as broker:
        session = os.path.join(harness.TEST_DIR, "session")
        first = s_client(broker, version, "-sess_out", session)
        assert "New, TLSv1" in first, first
        for attempt in range(6):
            again = s_client(broker, version, "-sess_in", session)
            assert "Reused, TLSv1" in again, f"connection {attempt}:\n{again}"


def s_client(broker, version, *options):
    """The output of one openssl s_client that sends a PINGREQ, which makes the broker close.

    By then the tickets of TLS 1.3, which follow the handshake, have arrived."""
    paths = certificates()
    address = broker.addresses[0]
    return run("openssl", "s_client", "-connect", f"127.0.0.1:{address.port}", version,
               "-CAfile", paths["ca"], "-cert", paths["client"], "-key", paths["client_key"],
               "-ign_eof", *options, input="\xc0\x00" if not address.websocket
               else "GET / HTTP/1.0\r\n\r\n", check=False).stdout


def test_tls_record_of_16_kb():
    """One record that fills OpenSSL's buffer is delivered at once, not at the next event."""
    with Broker("tls", "tcp") as broker:
        with wire.connected(broker.tls) as secure, wire.connected(broker.tcp) as plain:
            plain.subscribe("t")
            secure.subscribe("t")
            head = len(wire.publish_packet("t", b"x" * 16000)) - 16000
            payload = os.urandom(16380 - head)
            for _ in range(50):
                packet = wire.publish_packet("t", payload)
                assert len(packet) == 16380
                secure.send(packet)
                assert plain.message().payload == payload
                assert secure.message().payload == payload


@cases(kind=("tcp", "tls", "ws", "wss", "unix"))
def test_packet_of_megabytes(kind):
    """A packet larger than any buffer on its way arrives whole."""
    with Broker(kind, options="max_packet_size 20000000") as broker:
        with wire.connected(broker.addresses[0]) as client:
            client.subscribe("big", qos=1)
            payload = os.urandom(5_000_000)
            client.send(wire.publish_packet("big", payload, 1, pid=7))
            assert client.message().payload == payload
            client.wait(wire.PUBACK, 7)


@limit(60)
def test_largest_packet_of_all():
    """A remaining length of 268,435,455: what may be sent to the broker can be sent to a subscriber."""
    head = bytes.fromhex("30 ff ff ff 7f 00 01 61")
    piece, left = bytes(1_000_000), 268_435_455 - 3
    with Broker("tcp", options="max_packet_size 268435460") as broker:
        with wire.connected(broker.tcp) as subscriber, wire.connected(broker.tcp) as publisher:
            subscriber.subscribe("a")
            publisher.send(head)
            for _ in range(left // len(piece)):
                publisher.send(piece)
            publisher.send(piece[:left % len(piece)])
            got = bytearray()
            while len(got) < len(head):
                got += subscriber.stream.recv(len(head) - len(got))
            assert got == head
            while left:
                got = subscriber.stream.recv(min(left, len(piece)))
                assert got and got == piece[:len(got)]
                left -= len(got)
            subscriber.expect_nothing()


def test_unix_socket_of_killed_broker_is_taken_over():
    """The file that a crash leaves behind does not keep the next broker from starting."""
    with Broker("unix") as broker:
        broker.kill()
        assert os.path.exists(broker.unix.path)
        broker.start()
        wire.connected(broker.unix).disconnect()


@cases(kind=("tcp", "tls", "ws", "unix"))
def test_packets_byte_by_byte(kind):
    """Packet boundaries mean nothing to the stream below."""
    with Broker(kind) as broker:
        client = wire.Client(broker.addresses[0], client_id="slow")
        conversation = (wire.connect_packet("slow") + wire.subscribe_packet(1, [("a", 1)])
                        + wire.publish_packet("a", "hello", 1, pid=2))
        for number in range(len(conversation)):
            client.send(conversation[number:number + 1])
        client.wait(wire.CONNACK)
        client.wait(wire.SUBACK)
        assert client.message().payload == b"hello"
        client.disconnect()


@noctule_only
def test_successive_connections_alternate_between_workers():
    """A connection goes to the worker with the fewest: two clients keep two threads busy."""
    with Broker("tcp", workers=2) as broker:
        clients = [wire.connected(broker.tcp, f"c{number}") for number in range(2)]
        before = thread_times(broker)
        for _ in range(2000):
            for client in clients:
                client.ping()
        used = sorted(time - before.get(thread, 0)
                      for thread, time in thread_times(broker).items())
        assert len(used) >= 2 and used[-2] > used[-1] / 4, f"nanoseconds a thread: {used}"


def thread_times(broker):
    """Nanoseconds on a CPU of each thread of the broker."""
    tasks = f"/proc/{broker.process.pid}/task"
    times = {}
    for task in os.listdir(tasks):
        with open(f"{tasks}/{task}/schedstat", encoding="ascii") as file:
            times[task] = int(file.read().split()[0])
    return times
