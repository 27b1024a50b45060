# SPDX-License-Identifier: MIT
"""How the broker ends, reloads, and shrugs off signals."""

import os
import signal

import harness
import wire
from harness import Broker, cases, noctule_only, wait_until

SERVER_SHUTTING_DOWN = 0x8B


@cases(number=("SIGTERM", "SIGINT"))
def test_ends_cleanly(number):
    """Exit code 0 and a closed connection, with clients of each kind connected."""
    with Broker("tcp", "tls", "ws", "wss", "unix", workers=2) as broker:
        clients = [wire.connected(address, f"c{n}", 4)
                   for n, address in enumerate(broker.addresses)]
        broker.signal(signal.Signals[number])
        for client in clients:
            assert not client.expect_closed()
        assert broker.wait_exit() == 0
        assert not os.path.exists(broker.unix.path) or harness.IS_MOSQUITTO


@noctule_only
@cases(kind=("tcp", "tls", "ws", "wss", "unix"))
def test_tells_version_5_clients(kind):
    """DISCONNECT with 0x8B before the connection closes."""
    with Broker(kind, workers=2) as broker:
        clients = [wire.connected(broker.addresses[0], f"c{n}", 5) for n in range(4)]
        broker.signal(signal.SIGTERM)
        for client in clients:
            client.expect_disconnect(SERVER_SHUTTING_DOWN)
        assert broker.wait_exit() == 0


@noctule_only
@cases(kind=("tcp", "tls", "ws", "wss"))
def test_flushes_what_was_queued(kind):
    """A reader that lags, by more than the kernel holds, gets all that the broker had taken for it,
    then DISCONNECT."""
    count, size = 3000, 2048
    options = "max_queued_messages 0\nmax_inflight_messages 65535\n"
    with Broker(kind, "tcp", options=options) as broker:
        reader = wire.connected(broker.addresses[0], "reader", 5,
                                stream={"receive_buffer": 4096})
        reader.subscribe("data", qos=1)
        with wire.connected(broker.tcp, "publisher") as publisher:
            for number in range(count):
                publisher.publish("data", b"%8d" % number * (size // 8), qos=1)
            broker.signal(signal.SIGTERM)
            publisher.expect_closed()
        packets = reader.expect_disconnect(SERVER_SHUTTING_DOWN)
        numbers = [int(p.payload[:8]) for p in packets if p.kind == wire.PUBLISH]
        assert numbers == list(range(len(numbers))), "gaps or disorder"
        assert numbers == list(range(count)), f"{len(numbers)} of {count} messages were flushed"
        assert broker.wait_exit() == 0


@noctule_only
def test_ends_in_time_though_a_reader_is_stuck():
    with Broker("tcp", options="max_queued_messages 0\n") as broker:
        stuck = wire.connected(broker.tcp, "stuck", 5, stream={"receive_buffer": 4096})
        stuck.subscribe("data", qos=1)
        with wire.connected(broker.tcp, "publisher") as publisher:
            for _ in range(3000):
                publisher.publish("data", b"x" * 4096, qos=1)
            broker.signal(signal.SIGTERM)
            assert broker.wait_exit() == 0
        stuck.close()


@noctule_only
@cases(workers=(1, 2))
def test_sends_wills_at_the_end(workers):
    """[MQTT5-3.1.2-8]: the end of the broker is no orderly DISCONNECT by the client."""
    with Broker("tcp", workers=workers) as broker:
        watcher = wire.connected(broker.tcp, "watcher", 5)
        watcher.subscribe("will/#", qos=1)
        devices = [wire.connected(broker.tcp, f"device{n}", 5, will=wire.Will(f"will/{n}", "gone"))
                   for n in range(4)]
        broker.signal(signal.SIGTERM)
        packets = watcher.expect_disconnect(SERVER_SHUTTING_DOWN)
        wills = sorted(p.topic for p in packets if p.kind == wire.PUBLISH)
        assert wills == [f"will/{n}" for n in range(4)], wills
        for device in devices:
            device.close()
        assert broker.wait_exit() == 0


@noctule_only  # Debian's mosquitto does not know SIGRTMIN
@cases(number=("SIGUSR1", "SIGUSR2", "SIGRTMIN", "SIGHUP", "SIGPIPE"))
def test_survives(number):
    with Broker("tcp") as broker:
        with wire.connected(broker.tcp) as client:
            for _ in range(3):
                broker.signal(getattr(signal, number))
                client.ping()
            client.subscribe("t", qos=1)
            client.publish("t", "x", qos=1)
            client.message()


def test_reload_reopens_log_file():
    """As logrotate does it: the file is moved away, and SIGHUP makes a new one."""
    path = os.path.join(harness.TEST_DIR, "noctule.log")
    with Broker("tcp", options=f"log_dest file {path}\n") as broker:
        wait_until(lambda: os.path.exists(path), "the log file")
        os.rename(path, path + ".1")
        broker.signal(signal.SIGHUP)
        wait_until(lambda: os.path.exists(path), "the new log file")
        wire.connected(broker.tcp, "after-reload").disconnect()
        wait_until(lambda: "after-reload" in read(path), "a line in the new log file")
        assert "after-reload" not in read(path + ".1")


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


@noctule_only
def test_reload_changes_live_option():
    """max_packet_size is told to a new client; the one that is connected stays so."""
    with Broker("tcp", options="max_packet_size 1000") as broker:
        with wire.connected(broker.tcp, "stays", 5) as stays:
            assert new_maximum(broker) == 1000
            broker.write_config(broker.config.replace("_size 1000", "_size 2000"))
            broker.signal(signal.SIGHUP)
            wait_until(lambda: new_maximum(broker) == 2000, "the new maximum packet size")
            stays.ping()


def new_maximum(broker):
    client = wire.Client(broker.tcp, 5, "asks")
    maximum = client.connect().props["maximum_packet_size"]
    client.disconnect()
    return maximum


@noctule_only
def test_reload_with_mistakes_changes_nothing():
    """A configuration with a mistake is refused as a whole, with the mistake in the log."""
    with Broker("tcp", options="max_packet_size 1000") as broker:
        broker.write_config(broker.config.replace("_size 1000", "_size 2000")
                            + "max_pocket_size 5\n")
        broker.signal(signal.SIGHUP)
        broker.wait_log("max_pocket_size")
        assert new_maximum(broker) == 1000


@noctule_only
def test_reload_names_what_needs_a_restart():
    with Broker("tcp", workers=1) as broker:
        broker.write_config(broker.config.replace("workers 1", "workers 2"))
        broker.signal(signal.SIGHUP)
        broker.wait_log("workers.*restart|restart.*workers")
        wire.connected(broker.tcp).disconnect()
