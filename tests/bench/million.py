# SPDX-License-Identifier: MIT
"""Many retained messages at once: stored, read again at the start, and fetched by somebody with "#" while another
client measures how long its own messages take. A part of ./dev bench store."""

import contextlib
import multiprocessing
import os
import socket
import threading
import time

from sections import table

COUNT = 1_000_000
AT_ONCE = 5_000  # sent before the acknowledgements of those before them have come
PAYLOAD = b"x" * 64
FETCHES = 3
WAIT = 300  # seconds
CONNECT = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x00\x00\x02"
ECHO = b"echo"


def connected(port, name):
    sock = socket.create_connection(("127.0.0.1", port), WAIT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(CONNECT + name)
    receive(sock, 4)
    return sock


def publish(number, qos):
    topic = b"plant/%02d/line/%02d/sensor/%07d" % (number % 50, number // 50 % 40, number)
    identifier = (number % 65535 + 1).to_bytes(2, "big") if qos else b""
    body = len(topic).to_bytes(2, "big") + topic + identifier + PAYLOAD
    return bytes((0x31 | qos << 1, len(body))) + body


def receive(sock, size):
    """So many bytes, which nobody looks at."""
    buffer = bytearray(min(size, 1 << 20))
    while size > 0:
        got = sock.recv_into(buffer, min(size, len(buffer)))
        if got == 0:
            raise OSError("the broker has closed the connection")
        size -= got


def store_all(port):
    """Sets them at QoS 1; messages a second, up to the last acknowledgement."""
    packets = [b"".join(publish(number, 1) for number in range(first, first + AT_ONCE))
               for first in range(0, COUNT, AT_ONCE)]
    with connected(port, b"p1") as sock:
        began = time.monotonic()
        for number, packet in enumerate(packets):
            sock.sendall(packet)
            if number:
                receive(sock, 4 * AT_ONCE)
        receive(sock, 4 * AT_ONCE)
        return COUNT / (time.monotonic() - began)


def fetch_all(port, size, pipe):
    """In a process of its own, whenever it is told to: "#" with all that is retained; when it began, and ended."""
    while pipe.recv():
        with connected(port, b"f1") as sock:
            began = time.monotonic()
            sock.sendall(b"\x82\x06\x00\x01\x00\x01#\x00")
            receive(sock, size + 5)
            pipe.send((began, time.monotonic()))


def round_trips(port, until):
    """(when it began, seconds) of messages to oneself, one after the other, until the event."""
    packet = b"\x30\x0a\x00\x04" + ECHO + b"ping"
    found = []
    with connected(port, b"e1") as sock:
        sock.sendall(b"\x82\x09\x00\x01\x00\x04" + ECHO + b"\x00")
        receive(sock, 5)
        while not until.is_set():
            began = time.monotonic()
            sock.sendall(packet)
            receive(sock, len(packet))
            found.append((began, time.monotonic() - began))
    return found


@contextlib.contextmanager
def urgent():
    """What is measured is the broker, not this program's waiting for a processor, where we may ask for that."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    yield
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@contextlib.contextmanager
def on_cores(cores):
    """This program, and what it starts, beside the broker."""
    all_cores = os.sched_getaffinity(0)
    if cores:
        os.sched_setaffinity(0, cores)
    yield
    os.sched_setaffinity(0, all_cores)


def during(port, work):
    """Milliseconds of round trips while `work` (which returns when it began and ended) is under way."""
    done, span = threading.Event(), []

    def run():
        try:
            span.extend(work())
        finally:
            done.set()
    thread = threading.Thread(target=run)
    thread.start()
    found = round_trips(port, done)
    thread.join()
    began, ended = span
    return [1000 * took for at, took in found if at + took >= began and at <= ended], ended - began


def idle():
    began = time.monotonic()
    time.sleep(1)
    return began, time.monotonic()


def percentile(values, share):
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def fetch_figures(running):
    """Rows of the table: what the other client waits without a fetch, and beside each of some."""
    port = running.ports["tcp"]
    size = sum(len(publish(number, 0)) for number in range(COUNT))
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=fetch_all, args=(port, size, there), daemon=True)
    process.start()

    def fetch():
        here.send(True)
        return here.recv()
    rows = []
    for label, work in [("nothing", idle)] + [(f"fetch {number + 1}", fetch) for number in range(FETCHES)]:
        with urgent():
            took, seconds = during(port, work)
        rows.append([label, f"{seconds:.2f}", f"{len(took):,}", *[f"{percentile(took, share):.2f}" for share in (.5, .99, 1)],
                     f"{running.memory() / 1e6:,.0f}"])
    here.send(False)
    process.join()
    return rows


def million(bench, broker, lines_of):
    """`lines_of`: the configuration for a store in a folder, emptied or as it is."""
    with broker.running(bench.folder, bench.options.broker_cores, limits=lines_of(True)) as running:
        before = running.cpu()
        with on_cores(bench.options.bench_cores):
            rate = store_all(running.ports["tcp"])
        each = (running.cpu() - before) / 1000 / COUNT
        running.process.kill()
    began = time.monotonic()
    with broker.running(bench.folder, bench.options.broker_cores, limits=lines_of(False)) as running:
        connected(running.ports["tcp"], b"w1").close()
        start, cpu = time.monotonic() - began, running.cpu() / 1e9
        with on_cores(bench.options.bench_cores):
            rows = fetch_figures(running)
    return [f"{COUNT:,} retained messages of {len(PAYLOAD)} bytes on topics of 29, set by one client at QoS 1: {rate:,.0f}/s, "
            f"{each:.2f} µs of CPU time each. Killed and started again it serves after {start:.1f} s ({cpu:.1f} s of CPU "
            "time). Round trips of another client on the same worker meanwhile, in milliseconds:", "",
            *table(["beside", "takes, s", "round trips", "p50", "p99", "longest", "memory, MB"], rows)]
