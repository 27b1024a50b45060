# SPDX-License-Identifier: MIT
"""The store with a long past: a hundred thousand sessions that are away, millions of messages for them, and a file of
which most has gone again. A part of ./dev bench store."""

import json
import os
import re
import shutil
import socket
import statistics
import struct
import subprocess
import threading
import time

from sections import finished, table

LIMITS = "max_queued_messages 0\nmax_queued_bytes 0\n"
EACH = 50      # messages that wait for a session
HEAVY = 50     # one of so many is for the first session instead
KEPT = 30      # of the churn: one in so many of all has stayed when it ends
TICK = os.sysconf("SC_CLK_TCK")
ONLINE = "fanin -q 1 --persistent -s 200 --window 100"

# figure, its unit, how it is spelled, the most that it may be
ROWS = (("start", "start after a clean end, s", "{:.2f}", 3),
        ("start_cpu", "of it processor time, s", "{:.2f}", None),
        ("again", "start after kill -9, s", "{:.2f}", 3),
        ("again_cpu", "of it processor time, s", "{:.2f}", None),
        ("memory", "memory for each that waits, bytes", "{:.1f}", 16),
        ("online", "CPU of online clients, over an empty store", "{:.2f}", 1.3),
        ("drain", "a client drains from disk, 1,000/s", "{:,.0f}", None),
        ("alone", "p99 of others before that, ms", "{:.2f}", None),
        ("beside", "p99 of others meanwhile, ms", "{:.2f}", None))


def fill(bench, *arguments):
    program = os.path.join(os.path.dirname(bench.options.noctule), "fill")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        bench.fail(f"fill: {done.stderr.strip()}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def filled(bench, name, sessions, messages, receivers, heavy):
    """A folder with such a store, that a broker started as root may use as another user."""
    folder = os.path.join(bench.folder, name)
    shutil.rmtree(folder, ignore_errors=True)
    fill(bench, folder, sessions, messages, receivers, heavy)
    os.chmod(folder, 0o777)
    for file in os.listdir(folder):
        os.chmod(os.path.join(folder, file), 0o666)
    return folder


def over(folder):
    return LIMITS + f"persistence true\npersistence_location {folder}/\n"


def connected(port, client):
    """A session that is there, once the broker serves."""
    sock = socket.create_connection(("127.0.0.1", port), 120)
    body = b"\0\4MQTT\4\0\0\0" + struct.pack(">H", len(client)) + client
    sock.sendall(bytes([0x10, len(body)]) + body)
    assert sock.recv(4)[:2] == b"\x20\2", "no CONNACK"
    return sock


def own_memory(pid):
    """Bytes, without those of the file that happen to be there."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(r"RssAnon:\s+(\d+) kB", file.read())[1]) * 1024


def cpu_seconds(pid):
    """With the child that has looked at the store."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return sum(int(ticks) for ticks in file.read().rsplit(")", 1)[1].split()[11:15]) / TICK


class Served:
    """A broker on this store from its start until it serves; seconds: how long that took."""

    def __init__(self, bench, broker, folder):
        self.began = time.monotonic()
        self.context = broker.running(bench.folder, bench.options.broker_cores, limits=over(folder))

    def __enter__(self):
        self.running = self.context.__enter__()
        connected(self.running.ports["tcp"], b"looks").close()
        self.seconds, self.cpu = time.monotonic() - self.began, cpu_seconds(self.running.pid)
        return self

    def __exit__(self, *error):
        return self.context.__exit__(*error)

    def end(self, how):
        getattr(self.running.process, how)()
        self.running.process.wait(120)


def drain(port, count, result):
    """Takes what waits for the first session, in order, and acknowledges it."""
    sock, data, left = connected(port, b"s1"), b"", count
    began = time.monotonic()
    while left:
        more = sock.recv(1 << 18)
        assert more, "the broker has ended the connection"
        data += more
        at, answers = 0, []
        while len(data) - at > 4 and left:
            length, head = data[at + 1], 2
            if length & 0x80:
                length, head = (length & 0x7F) | data[at + 2] << 7, 3
            if len(data) - at < head + length:
                break
            topic = data[at + head] << 8 | data[at + head + 1]
            answers.append(b"\x40\2" + data[at + head + 2 + topic:at + head + 4 + topic])
            at += head + length
            left -= 1
        data = data[at:]
        sock.sendall(b"".join(answers))
    result["rate"] = count / (time.monotonic() - began) / 1000
    sock.close()


def latency(bench, running):
    return bench.begin(running, "latency", urgent=True)


def p99(reports):
    return reports[0]["latency_us"]["p99"] / 1000 if reports else None


def drain_beside(bench, running, count, figures):
    """What others feel of it."""
    figures["alone"] = p99(finished(latency(bench, running)))
    others, result = latency(bench, running), {}
    time.sleep(0.2)
    drainer = threading.Thread(target=drain, args=(running.ports["tcp"], count, result))
    drainer.start()
    figures["beside"] = p99(finished(others))
    drainer.join()
    figures["drain"] = result.get("rate")


def online(bench, running):
    reports = bench.run(running, ONLINE)
    bench.judge("store, beside what waits", reports[0] if reports else None)
    return reports[0]["broker_cpu_us"] if reports else None


def online_over_empty(bench, broker, loaded):
    """Both in turn."""
    beside, empty = [], []
    folder = os.path.join(bench.folder, "empty")
    for _ in range(bench.options.rounds):
        beside.append(online(bench, loaded))
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        os.chmod(folder, 0o777)
        with broker.running(bench.folder, bench.options.broker_cores, limits=over(folder)) as running:
            empty.append(online(bench, running))
    return statistics.median(beside) / statistics.median(empty) if all(beside + empty) else None


def measure(bench, broker, entries, receivers, bare):
    """With so many that wait; `bare`: the memory of the same sessions when nothing does."""
    figures, sessions = {}, max(entries // EACH, 1)
    heavy = entries // EACH if receivers == 1 else 0
    folder = filled(bench, "backlog", sessions, entries // receivers, receivers, heavy)
    with Served(bench, broker, folder) as first:
        figures["start"], figures["start_cpu"] = first.seconds, first.cpu
        figures["memory"] = (own_memory(first.running.pid) - bare) / entries
        figures["online"] = online_over_empty(bench, broker, first.running)
        first.end("kill")
    with Served(bench, broker, folder) as second:
        figures["again"], figures["again_cpu"] = second.seconds, second.cpu
        if heavy:
            drain_beside(bench, second.running, heavy, figures)
    shutil.rmtree(folder)
    return figures


def bare_memory(bench, broker, entries):
    folder = filled(bench, "bare", max(entries // EACH, 1), 0, 1, 0)
    with Served(bench, broker, folder) as served:
        return own_memory(served.running.pid)


def row(key, label, form, bound, shapes):
    values = [figures.get(key) for figures in shapes]
    cells = ["–" if value is None else form.format(value) + (" ↑" if bound and value > bound else "") for value in values]
    return [label, *cells, f"{bound:g}" if bound else "–"]


def churn(bench, messages):
    """The size of the file over what is in it, while messages come and most go."""
    folder = os.path.join(bench.folder, "churn")
    steps = fill(bench, "--churn", folder, messages, messages // KEPT)
    shutil.rmtree(folder)
    return [f"Of {messages:,} messages nine of ten are acknowledged soon, and the tenth when {messages // KEPT:,} others have stayed after "
            "it. The size of the file over that of the messages in it:", "",
            *table(["messages", "in it, MB", "file, MB", "file : in it"],
                   [[f"{step['messages']:,}", f"{step['live'] / 1e6:.1f}", f"{step['file'] / 1e6:.1f}",
                     f"{step['file'] / step['live']:.2f}"] for step in steps])]


def backlog(bench, broker):
    entries = bench.options.queued
    bare = bare_memory(bench, broker, entries)
    shapes = [measure(bench, broker, entries, receivers, bare) for receivers in (1, 10)]
    return ["### With much that waits", "",
            f"{entries // EACH:,} sessions that are away and {entries:,} entries in their queues, 200 bytes each: of messages of their own, and "
            f"of messages for ten of them. The client that drains has {entries // EACH:,} messages that lie all over the file.", "",
            *table(["", "one receiver each", "ten receivers each", "at most"], [row(*figure, shapes) for figure in ROWS]),
            "### With much that has gone", "", *churn(bench, entries * 3 // 5)]
