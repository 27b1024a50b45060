# SPDX-License-Identifier: MIT
"""What connections may cost before they are let in: limits by address, deadlines, bans, and the
lines in the log that fail2ban reads. Each limit is tried without it as well."""

import concurrent.futures
import configparser
import os
import re
import select
import socket
import time

import harness
import wire
from harness import Broker, cases, connect_socket, noctule_only, run, wait_until

FILTER = os.path.join(harness.HERE, "..", "..", "conf", "fail2ban", "filter.d", "noctule.conf")
KINDS = ("tcp", "tls", "ws", "wss")


def is_closed(sock, seconds=10):
    """Whether the broker has closed a connection that nothing was sent on; else it stays open."""
    sock.settimeout(seconds * harness.PATIENCE)
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def lets_in(address, **options):
    """Whether a client gets a CONNACK."""
    try:
        wire.connected(address, **options).close()
        return True
    except (wire.Closed, OSError, AssertionError):
        return False


def crowd(address, count):
    return [connect_socket(address) for _ in range(count)]


def select_all(sockets):
    """Those with something to read, or closed."""
    poll = select.poll()
    for sock in sockets:
        poll.register(sock, select.POLLIN)
    return poll.poll(0)


def close_all(sockets):
    for sock in sockets:
        sock.close()


def established(broker):
    """How many connections of its first listener the kernel has."""
    port, count = f":{broker.addresses[0].port:04X}", 0
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(path, encoding="ascii") as file:
            for line in file:
                _, local, _, state, *_ = line.split()
                count += local.endswith(port) and state == "01"
    return count


@noctule_only
@cases(kind=KINDS, limited=(True, False))
def test_connections_of_one_address(kind, limited):
    options = "max_connections_per_ip 5\n" if limited else ""
    with Broker(kind, options=options, workers=2) as broker:
        address = broker.addresses[0]
        wait_until(lambda: lets_in(address), "a free place")
        clients = []
        while len(clients) < 5:  # the harness's own may still be on their way out
            try:
                clients.append(wire.connected(address))
            except (wire.Closed, OSError):
                continue
        assert lets_in(address) != limited
        if limited:
            broker.wait_log(r"Refused 127\.0\.0\.1:\d+: too many connections from its address")
            clients.pop().close()
            wait_until(lambda: lets_in(address), "the place of one that has gone")
        for client in clients:
            client.ping()
            client.close()


@noctule_only
@cases(limited=(True, False))
def test_connections_too_fast(limited):
    with Broker("tcp", options="accept_rate 20\n" if limited else "") as broker:
        sockets = crowd(broker.tcp, 60)
        if limited:
            wait_until(lambda: len(select.select(sockets, [], [], 0)[0]) >= 20, "20 closed ones")
        else:
            assert lets_in(broker.tcp)
            assert not select.select(sockets, [], [], 0)[0]
        close_all(sockets)
        wait_until(lambda: lets_in(broker.tcp), "credit for one more")


@noctule_only
@cases(kind=KINDS, limited=(True, False))
def test_crowd_that_is_not_let_in(kind, limited):
    """Beyond the limit new ones are closed; clients are served, and do not count."""
    options = "max_unauthenticated 30\nconnect_timeout 60\n" if limited else ""
    with Broker(kind, options=options, workers=2) as broker:
        address = broker.addresses[0]
        clients = [wire.connected(address) for _ in range(40)]
        sockets = crowd(address, 60)
        assert lets_in(address) != limited
        clients[0].ping()
        close_all(sockets)
        wait_until(lambda: lets_in(address), "a place once they have gone")
        for client in clients:
            client.close()


@noctule_only
@cases(kind=("tls", "wss"), limited=(True, False))
def test_more_handshakes_than_the_budget_wait_and_hold_up_nobody_else(kind, limited):
    """All are let in, one after the other."""
    count, rate = 60, 20
    with Broker(kind, "tcp", workers=2,
                listener_options=f"handshake_rate {rate}" if limited else "") as broker:
        here = wire.connected(broker.tcp)
        begun = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            waiting = [pool.submit(wire.connected, broker.addresses[0]) for _ in range(count)]
            pings = 0
            while not all(one.done() for one in waiting):
                here.ping()
                pings += 1
        took = time.monotonic() - begun
        clients = [one.result() for one in waiting]
        if limited:  # a tenth of a second's worth begins at once
            assert took >= (count - rate / 10) / rate - 1.2, took
            assert pings > 100, pings
            assert broker.log().count("(handshake_rate)") == 1
        else:
            assert took < (count / rate - 1.2) * harness.PATIENCE, took
        for client in clients:
            client.ping()
            client.close()


@noctule_only
def test_who_is_refused_by_his_address_takes_no_handshake_from_the_budget():
    """A hundred in turn would take ten seconds."""
    with Broker("tls", options="max_connections_per_ip 3\n",
                listener_options="handshake_rate 10") as broker:
        wait_until(lambda: lets_in(broker.tls), "a free place")
        clients = []
        while len(clients) < 3:
            try:
                clients.append(wire.connected(broker.tls))
            except (wire.Closed, OSError):
                continue
        sockets = crowd(broker.tls, 100)
        wait_until(lambda: len(select.select(sockets, [], [], 0)[0]) == 100, "all to be refused", 5)
        close_all(sockets)
        for client in clients:
            client.ping()
            client.close()


@noctule_only
@cases(kind=KINDS, silent=(True, False))
def test_those_who_say_little_are_in_nobodys_way(kind, silent):
    """They are closed in time; until then a client is let in before any of them has gone."""
    with Broker(kind, workers=2) as broker:
        address = broker.addresses[0]
        sockets = crowd(address, 1500)
        for sock in sockets:
            sock.sendall(b"" if silent else b"GET / HTTP/1.1\r\n")
        if not silent and kind != "ws":  # what is neither MQTT nor TLS is closed at once
            assert all(is_closed(sock) for sock in sockets)
            close_all(sockets)
            sockets = []
        assert lets_in(address)
        assert not select_all(sockets), "it waited for their end"
        close_all(sockets)


@noctule_only
@cases(kind=("tcp", "ws"), sends=("", "1010"))
def test_connect_takes_too_long(kind, sends):
    """Nothing, or the beginning of a CONNECT; by default it would take ten seconds."""
    with Broker(kind, options="connect_timeout 1\n") as broker:
        client = wire.Client(broker.addresses[0])
        client.send_hex(sends)
        client.expect_closed(seconds=5)
        broker.wait_log(r"Refused 127\.0\.0\.1:\d+: no CONNECT within the time allowed \(0x80\); "
                        "client -, user -")


@noctule_only
@harness.limit(120)
def test_byte_after_byte_extends_no_deadline():
    """A CONNECT, and the headers of a WebSocket, that come a letter at a time: without TLS and in it."""
    connect = wire.connect_packet("x" * 60000)
    headers = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nX-Long: " + b"x" * 3000
    with Broker(*KINDS, workers=2) as broker:
        says = {}
        for address in broker.addresses:
            plain = harness.Address("tls" if address.secure else "tcp", address.host, address.port)
            says[wire.open_stream(plain)] = headers if address.websocket else connect
        begun, at = time.monotonic(), 0
        while says:
            for stream, text in list(says.items()):
                stream.settimeout(0.05)
                try:
                    stream.sendall(text[at:at + 1])
                    ended = not stream.recv(1)
                except TimeoutError:
                    ended = False
                except OSError:
                    ended = True
                if ended:
                    stream.close()
                    del says[stream]
            at += 1
            assert time.monotonic() - begun < 20 * harness.PATIENCE, f"{len(says)} are still there"
        assert at < 3000, "it was waited for all that they said"


def passwords():
    path = os.path.join(harness.TEST_DIR, "passwords")
    run(harness.NOCTULE, "passwd", "-c", "-b", path, "ann", "secret")
    os.chmod(path, 0o644)
    return path


@noctule_only
@cases(limited=(True, False), how=("password", "garbage"))
def test_repeated_failures_end_in_a_ban(limited, how):
    options = f"password_file {passwords()}\nallow_anonymous true\n"
    options += "ban_time 3600\nban_failures 3\n" if limited else ""
    with Broker("tcp", options=options, workers=2) as broker:
        here = wire.connected(broker.tcp, "here", username="ann", password="secret")
        for _ in range(3):
            stranger = wire.Client(broker.tcp, client_id="stranger")
            if how == "password":
                stranger.connect(reason=4, username="ann",
                                 password="wrong")
            else:
                stranger.send(b"GET / HTTP/1.1\r\n\r\n")
            stranger.expect_closed()
        if limited:
            broker.wait_log("The address of the last one is banned for 3600 seconds")
        assert lets_in(broker.tcp, username="ann", password="secret") != limited
        here.ping()  # those it has stay
        elsewhere = socket.create_connection((broker.tcp.host, broker.tcp.port),
                                             source_address=("127.0.0.2", 0))
        elsewhere.sendall(wire.connect_packet("c", username="ann", password="secret"))
        elsewhere.settimeout(10)
        assert elsewhere.recv(4) == bytes.fromhex("20 02 00 00")
        elsewhere.close()
        here.close()


def fail2ban_hosts(log):
    """What the shipped filter finds in a log: the addresses to be banned."""
    parser = configparser.ConfigParser()
    with open(FILTER, encoding="utf-8") as file:
        parser.read_file(file)
    prefix = parser.get("Definition", "prefix", raw=True)
    compiled = [re.compile(e.replace("%(prefix)s", prefix)
                           .replace("<HOST>", r"\[?(?P<host>[0-9a-f.:]+)\]?"))
                for e in parser.get("Definition", "failregex", raw=True).splitlines() if e]
    matches = [e.search(line) for line in log.splitlines() for e in compiled]
    found = [match["host"] for match in matches if match]
    if harness.have("fail2ban-regex"):
        path = os.path.join(harness.TEST_DIR, "fail2ban.log")
        with open(path, "w", encoding="utf-8") as file:
            # without a date it would take a number of the line for one
            file.writelines("1700000000: " + re.sub(r"^\d*: ", "", line) + "\n"
                            for line in log.splitlines())
        its = run("fail2ban-regex", "-o", "ip", path, os.path.abspath(FILTER)).stdout.split()
        assert sorted(its) == sorted(found), its
    return found


@noctule_only
@cases(name=("x\n1: Refused 192.0.2.1:1: y", "1: Refused 192.0.2.1:1: y", "Refused 192.0.2.1:1: y"),
       timestamp=("true", "false"))
def test_fail2ban_finds_the_refused_and_nobody_else(name, timestamp):
    options = (f"password_file {passwords()}\nallow_anonymous true\n"
               f"log_timestamp {timestamp}\nlog_type all\n")
    with Broker("tcp", "tls", ("tcp", "::1"), options=options) as broker:
        four, tls, six = broker.addresses
        for address in (four, six):
            client = wire.Client(address, client_id=name)
            client.connect(reason=4, username=name, password="wrong")
            client.expect_closed()
        sock = connect_socket(tls)
        sock.sendall(b"not TLS at all, not at all, not at all")
        assert is_closed(sock)
        broker.wait_log("TLS handshake with 127.0.0.1:.* failed")
        with wire.connected(four, name, version=5, username=None) as client:
            client.subscribe(name)
            client.publish(name, "x", qos=1)
            client.publish("$SYS/" + name, "x")
            client.ping()
        found = fail2ban_hosts(broker.log())
        assert set(found) == {"127.0.0.1", "::1"} and found.count("::1") == 1, broker.log()


@noctule_only
@cases(name=("x", "(0x89); client", "0x89) (0x97)"))
def test_fail2ban_bans_nobody_for_what_the_broker_is_short_of(name):
    """Nor does a name hide what its client has done."""
    with Broker("tcp", options=f"password_file {passwords()}\nauth_queue 1\nauth_threads 1\n") as broker:
        clients = [wire.Client(broker.tcp, 5, name) for _ in range(12)]
        for number, client in enumerate(clients):
            client.send(wire.connect_packet(name, 5, username=name, password=f"wrong {number}"))
        reasons = [client.wait(wire.CONNACK).reason for client in clients]
        assert set(reasons) == {0x86, 0x89}, "the queue was never full, or always"
        wait_until(lambda: broker.log().count("Refused") == 12, "a line for each")
        assert len(fail2ban_hosts(broker.log())) == reasons.count(0x86)
        for client in clients:
            client.close()


@noctule_only
@harness.limit(120)
def test_refused_connections_leave_nothing_behind():
    """Descriptors and memory after thousands that were refused in each way."""
    options = (f"password_file {passwords()}\nmax_connections_per_ip 50\n"
               "ban_time 1\nban_failures 100000\n")
    with Broker("tcp", "ws", options=options, workers=2) as broker:
        def round_of(count):
            for number in range(count):
                address = broker.addresses[number % 2]
                client = wire.Client(address, client_id="x") if number % 2 else None
                if client:
                    client.send_hex("c000")
                    client.expect_closed()
                    client.close()
                else:
                    sock = connect_socket(address)
                    sock.sendall(b"\x10\x00")
                    is_closed(sock)
                    sock.close()
        round_of(500)
        wait_until(lambda: not established(broker), "the end of all connections")
        descriptors, memory = broker.descriptors(), broker.memory()
        round_of(int(10000 * harness.SCALE))
        wait_until(lambda: broker.descriptors() <= descriptors, "their descriptors")
        assert broker.memory() < memory + 3_000_000 or harness.SANITIZED
        with wire.connected(broker.tcp, username="ann", password="secret") as client:
            client.ping()
