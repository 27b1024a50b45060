# SPDX-License-Identifier: MIT
"""What ./dev bench measures beside the rows of the comparison: overload, several workers, WebSocket beside TCP, large
messages, instructions. Each section is a function that returns its text, and what went wrong."""

import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import time

import profile_with_perf as profile
from rows import Row

HERE = os.path.dirname(os.path.abspath(__file__))


class Bench:
    """How things are run: the options, a folder for files, the processors of broker and generator."""

    def __init__(self, options, folder, execute):
        self.options, self.folder, self.execute = options, folder, execute
        self.problems = []

    def run(self, running, arguments, transport="tcp"):
        """One run of the generator; its reports."""
        return self.execute(Row("", arguments, 0, transport=transport), running)

    def begin(self, running, arguments, transport="tcp", urgent=False):
        """The same in the background. urgent: never waits for the other generator, where we may ask for that: what it
        measures is then the broker alone."""
        command = Row("", arguments, 0, transport=transport).command(self.options, running)
        cores = self.options.bench_cores

        def before_exec():
            if cores:
                os.sched_setaffinity(0, cores)
            if urgent:
                with contextlib.suppress(OSError):
                    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=before_exec)

    def fail(self, text):
        self.problems.append(text)
        print(f"FAILED: {text}", file=sys.stderr)

    def judge(self, what, report, may_lose=False):
        """A report that says that something was lost, doubled or out of order fails the whole."""
        if report and (not report["failed"] or (may_lose and not report["doubled"] + report["out_of_order"])):
            return
        self.fail(f"{what}: " + ("no result" if not report else
                                 f"of {report['sent']:,} sent lost {report['lost']:,}, doubled {report['doubled']:,}, "
                                 f"out of order {report['out_of_order']:,}, refused {report['refused']:,}"))


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head),
            *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows), ""]


def finished(process):
    """The reports of a generator that was begun."""
    import json
    out, _ = process.communicate(timeout=120)
    return [json.loads(line) for line in out.splitlines()]


# ---- several workers --------------------------------------------------------------------------------------------

LOCKING = re.compile(r"mutex|futex|rwlock|lll_lock|lock_take|lock_give|native_queued_spin|worker_wake|eventfd")
FREEING = re.compile(r"\bfree\b|_int_free|cfree|unref|munmap|arena|malloc|_free$|slab_")


def crossing(bench, broker, arguments):
    """How much of the processor time goes into locks and wake-ups, and into getting and giving back memory."""
    with broker.running(bench.folder, bench.options.wide_cores, workers=2) as running:
        with profile.recorded(bench.folder, running.pid) as recorded:
            bench.run(running, arguments)
    shares = recorded.shares("sym")
    if not shares:
        return "no profile"
    locks = sum(share for share, name in shares if LOCKING.search(name))
    memory = sum(share for share, name in shares if FREEING.search(name))
    return f"locks and wake-ups {locks:.1f} %, allocating and freeing {memory:.1f} %"


def workers(bench, brokers):
    """CPU time per message with 1, 2 and 4 workers."""
    ours, rows = brokers[0], []
    for label, arguments, limit in (("fan-in QoS 0", "fanin --window 400", 1.25),
                                    ("fan-out QoS 0", "fanout --window 400", 1.25),
                                    ("100 pairs, window 20, QoS 0", "p2p --publishers 100 --window 20", 1.25),
                                    ("1,000 pairs, one message at a time, QoS 0", "p2p --publishers 1000 --window 1",
                                     None)):
        costs = {}
        for _ in range(bench.options.rounds):
            for count in (1, 2, 4):
                with ours.running(bench.folder, bench.options.wide_cores, workers=count) as running:
                    report = (bench.run(running, arguments) or [None])[0]
                bench.judge(f"{label}, {count} workers", report)
                if report and not report["failed"]:
                    costs.setdefault(count, []).append((report["broker_cpu_us"], report["rate"]))
        one, two, four = (tuple(map(statistics.median, zip(*costs[n]))) if n in costs else None for n in (1, 2, 4))
        spelled = [f"{cost[0]:.3f} ({cost[1] / 1e6:.2f} M/s)" if cost else "–" for cost in (one, two, four)]
        ratio = f"{two[0] / one[0]:.2f}" if one and two else "–"
        above = limit and one and two and two[0] > limit * one[0]
        rows.append([label, *spelled, ratio + (" ↑" if above else ""), limit or "reported"])
    where_time_goes = [f"- {label}, 2 workers: {crossing(bench, ours, arguments)}" for label, arguments in
                       (("fan-in QoS 0", "fanin --window 400"), ("fan-out QoS 0", "fanout --window 400"),
                        ("100 pairs", "p2p --publishers 100 --window 20"))] if profile.is_possible() else []
    cores = bench.options.wide_cores
    where = f"the broker on {len(cores)} cores" if cores else "the broker on all cores, where the generator is as well"
    return ["## Several workers", "",
            f"noctule's CPU time per message in µs, and its rate; {where}.", "",
            *table(["scenario", "1 worker", "2 workers", "4 workers", "2 : 1", "at most"], rows),
            *(["What two workers cost each other, in a profile:", "", *where_time_goes, ""] if where_time_goes else [])]


# ---- overload ---------------------------------------------------------------------------------------------------

def counted_drops(running):
    """What the broker says that it has dropped; None where it does not say."""
    time.sleep(2.2)  # two intervals of $SYS: the last one covers everything
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(["mosquitto_sub", "-h", "127.0.0.1", "-p", str(running.ports["tcp"]), "-t",
                               "$SYS/broker/publish/messages/dropped", "-C", "1", "-W", "5"],
                              capture_output=True, text=True, check=False)
        return int(done.stdout) if done.stdout.strip().isdigit() else None
    return None


def peak_memory(running):
    with open(f"/proc/{running.pid}/status", encoding="ascii") as file:
        return int(re.search(r"^VmHWM:\s+(\d+) kB$", file.read(), re.MULTILINE)[1]) * 1024


def overload_once(bench, broker, qos):
    """The best that a closed loop delivers, and what an open loop without mercy does, with somebody else beside it."""
    limits = "sys_interval 1\n" if broker.kind != "flashmq" else ""  # queues as they are by default
    with broker.running(bench.folder, bench.options.broker_cores, limits=limits) as running:
        best = max((report["rate"] for report in
                    (bench.run(running, f"fanin -q {qos} --window {window}")[0] for window in (16, 100))
                    if not report["failed"]), default=0)
        before = counted_drops(running) or 0
        beside = bench.begin(running, f"latency --rate 100 --messages {100 * (bench.options.seconds + 1)}",
                             urgent=True)
        reports = bench.run(running, f"fanin -q {qos} --rate 50000000")
        report, other = (reports or [None])[0], (finished(beside) or [None])[0]
        dropped = counted_drops(running)
        return best, report, other, None if dropped is None else dropped - before, peak_memory(running)


def overload(bench, brokers):
    rows = []
    for broker in brokers:
        if broker.is_relay():
            continue
        for qos in (0, 1):
            best, report, other, dropped, memory = overload_once(bench, broker, qos)
            if not report:
                rows.append([broker.name, qos, *["–"] * 6])
                continue
            share = report["rate"] / best if best else 0
            if broker.kind == "noctule":
                bench.judge(f"open loop QoS {qos}", report, may_lose=True)
                bench.judge(f"beside an open loop QoS {qos}", other)
                if dropped is None or report["lost"] > dropped:
                    bench.fail(f"open loop QoS {qos}: {report['lost']:,} lost, {dropped} counted")
            rows.append([broker.name, qos, f"{best / 1e6:.2f}", f"{report['rate'] / 1e6:.2f} ({share:.0%})"
                         + (" ↑" if broker.kind == "noctule" and share < 0.8 else ""),
                         f"{report['lost']:,}", "–" if dropped is None else f"{dropped:,}", f"{memory / 1e6:.0f}",
                         f"{other['latency_us']['max'] / 1000:.1f}" if other else "–"])
    return ["## Overload", "",
            "Fan-in, 50 publishers that do not wait (at QoS 1 for no more than 65,535 acknowledgements each), the broker's own "
            "limits (1,000 messages a queue). Delivered beside the best of a closed loop, which at least 80 % should be; "
            "what was lost and what the broker counted as dropped; and the longest that a message of another client took.", "",
            *table(["broker", "QoS", "closed loop, M/s", "open loop, M/s", "lost", "counted", "memory, MB",
                    "beside: longest, ms"], rows)]


# ---- WebSocket beside TCP ---------------------------------------------------------------------------------------

@contextlib.contextmanager
def crowd(bench, running, count):
    """Idle, slow and stalled clients of crowd.py, and busy ones."""
    ports = running.ports
    command = [sys.executable, os.path.join(HERE, "crowd.py"), str(ports["tcp"]), str(ports["ws"]), str(ports["wss"]),
               str(count)]
    cores = bench.options.bench_cores
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None) as helper:
        if helper.stdout.readline().strip() != "ready":
            bench.fail("WebSocket beside TCP: the crowd did not come")
        yield
        if helper.poll() is not None:
            bench.fail("WebSocket beside TCP: the crowd did not stay")
        helper.stdin.close()
        helper.wait(30)


def beside_once(bench, broker, plain, busy, count):
    """CPU time of the broker in seconds, and the plain clients' report, with the clients named."""
    seconds = bench.options.seconds + 1
    with broker.running(bench.folder, bench.options.broker_cores, transports=("ws", "wss")) as running:
        with crowd(bench, running, count) if busy else contextlib.nullcontext():
            begun = []
            before = running.cpu()
            if busy:
                begun.append(bench.begin(running, f"p2p --publishers 50 --rate 1000 --messages {1000 * seconds}", "ws"))
            if plain:
                begun.append(bench.begin(running, f"p2p --publishers 10 --rate 5000 --messages {5000 * seconds}",
                                         urgent=True))
            reports = [(finished(process) or [None])[0] for process in begun]
            cpu = (running.cpu() - before) / 1e9
    for report in reports:
        bench.judge("WebSocket beside TCP", report)
    return cpu, reports[-1]["latency_us"]["p99"] if plain and reports[-1] else 0


def websocket_beside(bench, brokers):
    rows = []
    for _ in range(bench.options.rounds):
        alone = beside_once(bench, brokers[0], True, False, 1000)
        others = beside_once(bench, brokers[0], False, True, 1000)
        both = beside_once(bench, brokers[0], True, True, 1000)
        rows.append((alone[0], both[0] - others[0], alone[1], both[1]))
    cpu_alone, cpu_beside, p99_alone, p99_beside = map(statistics.median, zip(*rows))
    messages = 5000 * (bench.options.seconds + 1)
    return ["## WebSocket beside TCP", "",
            "10 pairs over TCP at 5,000 messages a second, alone and beside 1,000 idle and 100 busy WebSocket clients, one "
            "that sends frames of one byte, and one over TLS that does not read. What the others cost by themselves is taken off. "
            "Both are times, and a machine with other things to do moves them by far more than a few per cent: the gate is on "
            "instructions (tests/e2e/test_websocket_beside.py), and there a plain message costs the same.",
            "", *table(["plain clients", "alone", "beside them", "ratio"],
                       [["CPU, µs a message", f"{cpu_alone / messages * 1e6:.2f}", f"{cpu_beside / messages * 1e6:.2f}",
                         f"{cpu_beside / cpu_alone:.2f}"],
                        ["p99, µs", f"{p99_alone:.0f}", f"{p99_beside:.0f}", f"{p99_beside / p99_alone:.2f}"]])]


# ---- large messages ---------------------------------------------------------------------------------------------

LARGE = (("16 KB", 16384, 20, "--window 8"), ("1 MB", 1 << 20, 10, "--window 4"), ("16 MB", 16777216, 4, "--window 2"))


def large(bench, brokers):
    rows = []
    for label, size, receivers, window in LARGE:
        row = [f"{label}, 1 → {receivers}"]
        for broker in brokers:
            if broker.is_relay() and size > 65536:
                row.append("–")
                continue
            limits = "max_queued_messages 0\n" + ("max_packet_size 20MB\n" if broker.kind == "noctule" else "")
            with broker.running(bench.folder, bench.options.broker_cores, limits=limits) as running:
                small = bench.begin(running, f"latency --rate 500 --messages {500 * (bench.options.seconds + 1)}",
                                    urgent=True) if not broker.is_relay() else None
                reports = bench.run(running, f"fanout --subscribers {receivers} {window} -s {size}")
                report, other = (reports or [None])[0], (finished(small) or [None])[0] if small else None
            if broker.kind == "noctule":
                bench.judge(f"large messages, {label}", report)
                bench.judge(f"small messages beside {label}", other)
            if not report or report["failed"]:
                row.append("failed")
                continue
            beside = f"; {other['latency_us']['p99'] / 1000:.1f} / {other['latency_us']['max'] / 1000:.1f}" if other else ""
            row.append(f"{report['broker_cpu_us'] / size * (1 << 20):.0f}{beside}")
        rows.append(row)
    return ["## Large messages", "",
            "CPU time of the broker in µs for each MB delivered at QoS 0; behind it p99 and the longest in ms that small messages "
            "(500 a second, of another client) took beside them.", "",
            *table(["message", *[broker.name for broker in brokers]], rows)]


# ---- instructions -----------------------------------------------------------------------------------------------

def instructions(bench, _brokers):
    if not shutil.which("valgrind"):
        return ["## Instructions", "", "valgrind is not installed.", ""]
    done = subprocess.run([os.path.join(HERE, "instructions"), "--build", os.path.dirname(bench.options.noctule)],
                          capture_output=True, text=True, check=False)
    rows = [[name, f"{float(now):,.0f}"] for name, now in
            re.findall(r"^(.{48}) +[\d.]+ +([\d.]+)  ", done.stdout, re.MULTILINE)]
    if not rows:
        return ["## Instructions", "", done.stdout.splitlines()[0] if done.stdout else "no result", ""]
    return ["## Instructions", "",
            "In user space, per message (or packet, or connection), as callgrind counts them over links that are buffers.", "",
            *table(["step", "instructions"], rows)]


SECTIONS = {"workers": workers, "overload": overload, "websocket": websocket_beside, "large": large,
            "instructions": instructions}
