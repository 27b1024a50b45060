# SPDX-License-Identifier: MIT
"""The lines of the comparison: what is run, which figure of it counts, and the most that it may be."""

CPU = ("broker_cpu_us", "µs", 3)
EACH = ("memory_each", "bytes", 0)
P50 = ("p50", "µs", 0)
P99 = ("p99", "µs", 0)


class Row:
    """bound: the most that noctule's figure may be; times: the same as a multiple of the relay's, beside: of mosquitto's,
    where what both do is the kernel's or libcrypto's work. line: which report of the run. relay: how the relay is to
    work (None: it cannot)."""

    def __init__(self, label, arguments, bound, times=None, relay=None, figure=CPU, line=0, transport="tcp", beside=None):
        self.label, self.arguments, self.bound, self.times = label, arguments.split(), bound, times
        self.relay, self.figure, self.line, self.transport = relay, figure, line, transport
        self.beside = beside

    def multiples(self):
        """Kind of the broker → how much of its figure noctule's may be."""
        return {kind: times for kind, times in (("relay", self.times), ("mosquitto", self.beside)) if times}

    def run_key(self):
        """Rows that differ only in what they look at share a run."""
        return (*self.arguments, self.transport)

    def figure_of(self, report):
        key = self.figure[0]
        return report["latency_us"][key] if key.startswith("p") else report[key]

    def command(self, options, running):
        flags = {"tcp": [], "tls": ["--tls"], "ws": ["--ws"], "wss": ["--tls", "--ws"]}[self.transport]
        command = [options.noctule, "bench", *self.arguments, *flags, "-h", "127.0.0.1",
                   "-p", str(running.ports[self.transport]), "--json", "--pid", str(running.pid)]
        if self.arguments[0] in TIMED and "--messages" not in self.arguments:
            command += ["--seconds", str(options.seconds)]
        return command


TIMED = {"fanin", "fanout", "ingest", "p2p", "shared", "subscriptions", "connect", "latency"}
SUBSCRIPTIONS = "subscriptions --window 400 --subscribers "

# Bounds: µs of the broker's CPU time with 64-byte payloads on 3.1.1, as the machine gave them on which they were set.
ROWS = [
    Row("fan-in, 50 publishers → 1 subscriber, QoS 0", "fanin -q 0 --window 400", 0.10, 1.9, "all"),
    Row("fan-in, QoS 1", "fanin -q 1 --window 400", 0.16, 1.75, "all"),
    Row("fan-in, QoS 2", "fanin -q 2 --window 400", 0.35),
    Row("fan-in, QoS 0, MQTT 5", "fanin -q 0 -V 5 --window 400", 0.10, 1.9, "all"),
    Row("fan-out, 1 → 100, QoS 0", "fanout -q 0 --window 400", 0.11, 1.3, "all"),
    Row("fan-out, QoS 1", "fanout -q 1 --window 400", 0.10, 1.45, "all"),
    Row("ingest, 50 publishers, no subscriber, QoS 0", "ingest -q 0 --window 400", 0.06, 1.5, "all"),
    Row("ingest, QoS 1", "ingest -q 1 --window 400", 0.10, 1.6, "all"),
    Row("100 pairs, window 20, QoS 0", "p2p -q 0 --publishers 100 --window 20", 0.38, 1.3, "pairs"),
    Row("1,000 pairs, one message at a time, QoS 0", "p2p -q 0 --publishers 1000 --window 1", 10.8, 1.15, "pairs"),
    Row("1,000 pairs, one message at a time, QoS 1", "p2p -q 1 --publishers 1000 --window 1", 14.8, 1.12, "pairs"),
    Row("fan-in over TLS, QoS 0", "fanin -q 0 --window 400", 0.25, transport="tls"),
    Row("fan-in over WebSocket, QoS 0", "fanin -q 0 --window 400", 0.35, transport="ws"),
    Row("shared, 50 → 10, QoS 0", "shared -q 0 --window 400", 0.18),
    Row("shared, 50 → 10, QoS 1", "shared -q 1 --window 100", 0.30),
    Row("1,000 wildcard subscriptions, 1 match", SUBSCRIPTIONS + "10 --count 1000", 0.25),
    Row("100,000 wildcard subscriptions, 1 match", SUBSCRIPTIONS + "100 --count 100000", 0.35),
    Row("1,000,000 wildcard subscriptions, 1 match", SUBSCRIPTIONS + "1000 --count 1000000", 0.45),
    Row("1,000,000 wildcard subscriptions, bytes each", SUBSCRIPTIONS + "1000 --count 1000000", 130, figure=EACH),
    Row("100,000 retained messages, set", "retained --count 100000", 0.5),
    Row("100,000 retained messages, fetch", "retained --count 100000", 0.3, line=1),
    Row("1,000 offline sessions × 100 messages, queue", "offline --count 1000", 0.35),
    Row("1,000 offline sessions × 100 messages, drain", "offline --count 1000", 0.40, line=1),
    Row("connect and disconnect", "connect --publishers 10", 36, relay="all", beside=1.06),
    Row("connect and disconnect, TLS, full handshake", "connect --publishers 10", 265, transport="tls", beside=1.01),
    Row("connect and disconnect, TLS, resumed", "connect --publishers 10 --resume", 200, transport="tls", beside=0.93),
    Row("200 connects at once, p99", "connect --publishers 200 --messages 200", 50000, relay="all", figure=P99),
    Row("idle connection, bytes", "idle --count 10000", 1750, figure=EACH),
    Row("idle connection over TLS, bytes", "idle --count 1000", 18000, figure=EACH, transport="tls"),
    Row("latency at 2,000/s, p50", "latency", 48, 1.05, "all", figure=P50),
]
