# SPDX-License-Identifier: MIT
"""File descriptors: used up, and limits from small to absurdly large."""

import contextlib
import os
import resource
import socket
import time

import harness
import wire
from harness import (HERE, SANITIZED, Broker, Skip, cases, connect_socket, have, noctule_only, run,
                     wait_until)

# libwebsockets keeps 16 bytes per possible descriptor and context: the largest limit would cost
# 17 GB a worker.
MEMORY_BOUND = 60_000_000

@noctule_only
@cases(limit=(1024, 1048576, 1073741816))
def test_limit(limit):
    """The broker starts at once, stays small and serves, whatever limit it is started with."""
    with broker_with_limit(limit) as broker:
        size = broker.memory()
        assert size < MEMORY_BOUND or SANITIZED, f"{size // 1_000_000} MB resident"
        with wire.connected(broker.tcp) as client:
            client.subscribe("t", qos=1)
            client.publish("t", "x", qos=1)
            assert client.message().payload == b"x"


def broker_with_limit(limit):
    """A broker under this limit, or under the belief of it where the machine does not grant it."""
    try:
        old = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit, old[0]), limit))
        return Broker("tcp", workers=4, limits={resource.RLIMIT_NOFILE: (limit, limit)})
    except (ValueError, PermissionError):
        pass
    if not have("cc"):
        raise Skip(f"this machine does not grant {limit:,} descriptors, and there is no compiler")
    if SANITIZED:
        raise Skip(f"this machine does not grant {limit:,} descriptors, and a sanitizer's library "
                   "must be loaded before ours that claims them")
    library = os.path.join(harness.TEST_DIR, "fake_limit.so")
    run("cc", "-shared", "-fPIC", "-o", library, os.path.join(HERE, "fake_limit.c"), "-ldl")
    return Broker("tcp", workers=4,
                  environment={"LD_PRELOAD": library, "FAKE_NOFILE": str(limit)})


@noctule_only
@cases(kind=("tcp", "tls", "ws"))
def test_used_up(kind):
    """With no descriptor left the broker serves those it has, does not spin and does not flood its
    log; it accepts again when some have left."""
    with Broker(kind, "tcp", limits={resource.RLIMIT_NOFILE: (90, 90)}, workers=2) as broker:
        old = wire.connected(broker.tcp, "old")
        old.subscribe("t", qos=1)
        crowd = [connect_socket(broker.addresses[0]) for _ in range(200)]
        old.publish("t", "crowded", qos=1)
        assert old.message().payload == b"crowded"

        log_before, cpu_before, started = len(broker.log()), broker.cpu_seconds(), time.monotonic()
        # An event that takes its time: nobody accepts this one, or it is closed unserved.
        waiting = connect_socket(broker.tcp)
        waiting.settimeout(1)
        try:
            while waiting.recv(1):
                pass
            wait_until(lambda: time.monotonic() - started > 1, "the end of the second")
        except (TimeoutError, ConnectionResetError):
            pass
        spent = broker.cpu_seconds() - cpu_before
        assert spent < 0.3, f"{spent:.2f} s of CPU while the descriptors were used up"
        grown = len(broker.log()) - log_before
        assert grown < 5000, f"{grown} bytes of log while the descriptors were used up"
        old.ping()

        waiting.close()
        for sock in crowd:
            sock.close()
        wait_until(lambda: serves(broker), "a new client after the crowd has left")
        old.publish("t", "calm", qos=1)
        assert old.message().payload == b"calm"


def serves(broker):
    try:
        with wire.connected(broker.addresses[0], "new") as client:
            client.ping()
            return True
    except (ConnectionError, OSError):
        return False


@noctule_only
def test_max_connections_counts_its_listener():
    """More clients than max_connections allows are not served; the count goes down with them."""
    with Broker("tcp", listener_options="max_connections 3") as broker:
        first = wait_until(lambda: connected_at_once(broker, 3), "three clients")
        assert not serves(broker), "a fourth client was served"
        for client in first:
            client.ping()
        first[0].disconnect()
        wait_until(lambda: serves(broker), "a client in the place that became free")


def connected_at_once(broker, count):
    """So many clients, or None while the harness's own probe still takes a place."""
    clients = []
    try:
        for number in range(count):
            clients.append(wire.connected(broker.tcp, f"c{number}"))
        return clients
    except (ConnectionError, OSError):
        for client in clients:
            client.close()
        return None


@cases(kind=("tcp", "tls", "ws", "wss"))
def test_no_descriptor_leaks(kind):
    """A hundred connections of every kind of end leave no descriptor behind."""
    with Broker(kind) as broker:
        address = broker.addresses[0]
        wire.connected(address, "warm-up").disconnect()
        before = wait_until(lambda: settled(broker), "descriptors at rest")
        for number in range(25):
            wire.connected(address, f"a{number}").disconnect()
            wire.connected(address, f"b{number}").close()
            connect_socket(address).close()
            with connect_socket(address) as stray, contextlib.suppress(OSError):
                stray.sendall(b"\xff" * 20)
                stray.shutdown(socket.SHUT_WR)  # it may be closed already
        wait_until(lambda: broker.descriptors() <= before, f"{before} descriptors as before")


def settled(broker):
    """The number of descriptors when it does not change over a conversation."""
    count = broker.descriptors()
    with wire.connected(broker.addresses[0], "settle") as client:
        client.ping()
        if broker.descriptors() != count + 1:
            return 0
        client.disconnect()
    return count
