# SPDX-License-Identifier: MIT
"""What it costs that an acknowledgement means stored: the same load on noctule with and without a store, and on
mosquitto with its persistence, in turn. A section of ./dev bench, and ./dev bench store."""

import contextlib
import os
import re
import shutil
import socket
import statistics
import subprocess
import time

from backlog import backlog
from million import million
from sections import table

LIMITS = "max_queued_messages 0\nmax_queued_bytes 0\nsys_interval 1\n"

# label, arguments, line of the report
LOADS = (("online: 50 → 1 that acknowledges", "fanin -q 1 --persistent -s 200 --window 100", 0),
         ("offline: queue for 100 sessions", "offline --count 100 --messages 200000 -q 1 -s 200", 0),
         ("offline: drain them", "offline --count 100 --messages 200000 -q 1 -s 200", 1),
         ("100,000 retained, set", "retained --count 100000 -q 1", 0),
         ("nothing to keep: 50 → 1", "fanin -q 1 --window 400", 0))


def lines_of(kind, folder, *, empty=True):
    """Lines of the configuration: memory, or a folder of its own."""
    if kind == "memory":
        return LIMITS + "persistence false\n"
    if empty:
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        os.chmod(folder, 0o777)  # a broker started as root writes there as another user
    return LIMITS + f"persistence true\npersistence_location {folder}/\n"


def sys_value(running, topic):
    """A number of $SYS/broker/store, as it is a moment from now; None where the broker does not have it."""
    time.sleep(1.5)  # more than an interval of $SYS
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(["mosquitto_sub", "-h", "127.0.0.1", "-p", str(running.ports["tcp"]), "-t",
                               f"$SYS/broker/store/{topic}", "-C", "1", "-W", "3"],
                              capture_output=True, text=True, check=False)
        found = re.match(r"[0-9]+", done.stdout)
        return int(found.group()) if found else None
    return None


class Figures:
    """What the rounds of one load on one broker gave."""

    def __init__(self):
        self.cpu, self.rate, self.written, self.spared = [], [], [], []

    def add(self, report):
        self.cpu.append(report["broker_cpu_us"])
        self.rate.append(report["rate"])

    def look(self, report, running):
        """What the broker says of its store after it."""
        written, spared = sys_value(running, "messages/written"), sys_value(running, "messages/spared")
        if written is not None and spared is not None and written + spared:
            self.spared.append(spared / (written + spared))
            self.written.append(sys_value(running, "bytes/written") / report["done"])


def measure(bench, broker, kind, results):
    reports = {}
    for label, arguments, line in LOADS:
        if arguments not in reports:
            where = lines_of(kind, os.path.join(bench.folder, "store"))
            with broker.running(bench.folder, bench.options.broker_cores, limits=where) as running:
                reports[arguments] = bench.run(running, arguments)
                report = reports[arguments][0] if reports[arguments] else None
                take(bench, broker, kind, label, report, results, running)
        else:
            report = reports[arguments][line] if line < len(reports[arguments]) else None
            take(bench, broker, kind, label, report, results, None)


def take(bench, broker, kind, label, report, results, running):
    if broker.kind == "noctule":
        bench.judge(f"store, {kind}: {label}", report)
    if not report or report["failed"]:
        return
    figures = results.setdefault((label, broker, kind), Figures())
    figures.add(report)
    if running and broker.kind == "noctule" and kind == "disk":
        figures.look(report, running)


def start_again(bench, broker):
    """Seconds until a broker that was killed with 200,000 queued messages serves again."""
    folder = os.path.join(bench.folder, "store")
    where = lines_of("disk", folder)
    with broker.running(bench.folder, bench.options.broker_cores, limits=where) as running:
        queue = bench.begin(running, "offline --count 100 --messages 200000 -q 1 -s 200")
        first = queue.stdout.readline()  # queued; it is killed in the middle of the drain
        running.process.kill()
        queue.kill()
        queue.wait()
    if not first:
        bench.fail("store: nothing was queued")
    where = LIMITS + f"persistence true\npersistence_location {folder}/\n"
    began = time.monotonic()
    with broker.running(bench.folder, bench.options.broker_cores, limits=where) as running:
        with socket.create_connection(("127.0.0.1", running.ports["tcp"]), 60) as sock:
            sock.sendall(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01r")
            sock.settimeout(60)
            sock.recv(4)
        return time.monotonic() - began


def spelled(values, form="{:.2f}"):
    return form.format(statistics.median(values)) if values else "–"


def row(results, brokers, label):
    ours = brokers[0]
    disk, memory = (results.get((label, ours, kind), Figures()) for kind in ("disk", "memory"))
    cells = [label, spelled(memory.cpu), spelled(disk.cpu),
             f"{statistics.median(disk.cpu) / statistics.median(memory.cpu):.2f}" if disk.cpu and memory.cpu else "–",
             spelled([rate / 1000 for rate in disk.rate], "{:,.0f}"), spelled(disk.written, "{:.0f}"),
             spelled(disk.spared, "{:.0%}")]
    for other in brokers[1:]:
        cells += [spelled(results.get((label, other, "disk"), Figures()).cpu)]
    return cells


def store(bench, all_brokers):
    brokers = [broker for broker in all_brokers if broker.kind in ("noctule", "mosquitto")]
    results = {}
    for _ in range(bench.options.rounds):
        for broker in brokers:
            for kind in ("memory", "disk") if broker is brokers[0] else ("disk",):
                measure(bench, broker, kind, results)
    head = ["load", "memory, µs", "disk, µs", "disk : memory", "disk, 1,000/s", "bytes written each", "spared",
            *[f"{broker.name} with persistence, µs" for broker in brokers[1:]]]
    return ["## The store", "",
            "QoS 1, 200-byte payload; CPU time of the broker per message, the store's threads included. noctule acknowledges what "
            "is on disk; mosquitto saves every 30 minutes and at its end, so its figures have no disk in them. *Spared* messages were "
            "acknowledged by all their receivers before the commit and never touched the disk.", "",
            *table(head, [row(results, brokers, label) for label, _, _ in LOADS]),
            f"Killed with 200,000 queued messages, it serves again after {start_again(bench, brokers[0]):.2f} s.", "",
            *(backlog(bench, brokers[0]) if bench.options.queued else []),
            *million(bench, brokers[0],
                     lambda empty: lines_of("disk", os.path.join(bench.folder, "store"), empty=empty))]
