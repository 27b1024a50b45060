# SPDX-License-Identifier: MIT
"""The brokers that ./dev bench measures: how each is configured, started and told from the others."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time

COMMON = "allow_anonymous true\nmax_inflight_messages 1000\nconnection_messages false\nlog_type error\n"
FLASHMQ = """allow_anonymous true
thread_count {workers}
max_qos_msg_pending_per_client 65535
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_certificate(folder):
    """A key and a certificate that a broker presents; nobody checks it."""
    key, certificate = os.path.join(folder, "server.key"), os.path.join(folder, "server.crt")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
                   check=True, capture_output=True)
    os.chmod(key, 0o644)  # a broker started as root drops to another user


def mosquitto_listener(transport, port, folder):
    """Also noctule's. mosquitto 2.0.11 ends when all it has is WebSocket: so there is another listener."""
    lines = [f"listener {port} 127.0.0.1"]
    if transport in ("ws", "wss"):
        lines += ["protocol websockets"]
    if transport in ("tls", "wss"):
        lines += [f"certfile {folder}/server.crt", f"keyfile {folder}/server.key"]
    return "\n".join(lines) + "\n"


def flashmq_listener(transport, port, folder):
    lines = [f"protocol {'websockets' if transport in ('ws', 'wss') else 'mqtt'}", "inet_protocol ip4_only",
             "inet4_bind_address 127.0.0.1", f"port {port}"]
    if transport in ("tls", "wss"):
        lines += [f"fullchain {folder}/server.crt", f"privkey {folder}/server.key"]
    return "listen {\n  " + "\n  ".join(lines) + "\n}\n"


class Running:
    """A broker that runs. ports: by transport."""

    def __init__(self, process, ports):
        self.process, self.ports, self.pid = process, ports, process.pid

    def cpu(self):
        """Nanoseconds of all its threads."""
        total = 0
        for thread in os.listdir(f"/proc/{self.pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{self.pid}/task/{thread}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0])
        return total

    def memory(self):
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


class Broker:
    """One that can be measured. kind: noctule, mosquitto, flashmq, relay."""

    def __init__(self, kind, program, version):
        self.name = self.kind = kind
        self.program, self.version = program, version

    def is_relay(self):
        return self.kind == "relay"

    def _config(self, ports, folder, workers, limits):
        if self.kind == "flashmq":
            text = FLASHMQ.format(workers=workers)
            return text + "".join(flashmq_listener(kind, port, folder) for kind, port in ports.items())
        text = "".join(mosquitto_listener(kind, port, folder) for kind, port in ports.items())
        if self.kind == "noctule":
            # Options of a listener stand behind it.
            text = text.replace("\nlistener", "\nallow_anonymous true\nlistener")
            text = f"workers {workers}\n" + ("" if "persistence" in limits else "persistence false\n") + text
        return text + COMMON + limits

    def _command(self, ports, folder, relay, workers, limits):
        if self.is_relay():
            return [self.program, str(ports["tcp"]), relay]
        path = os.path.join(folder, f"{self.name}.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self._config(ports, folder, workers, limits))
        return [self.program, "--config-file" if self.kind == "flashmq" else "-c", path]

    @contextlib.contextmanager
    def running(self, folder, cores, *, transports=("tcp",), relay="all", workers=1,
                limits="max_queued_messages 0\n"):
        """Started anew on the cores (None: wherever), with a TCP listener at least; killed at the end."""
        ports = {kind: free_port() for kind in dict.fromkeys(("tcp", *transports))}
        log_path = os.path.join(folder, f"{self.name}.log")
        with open(log_path, "ab") as log:
            process = subprocess.Popen(self._command(ports, folder, relay, workers, limits), stdout=log, stderr=log,
                                       preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None)
        try:
            self._await(process, ports, log_path)
            yield Running(process, ports)
        finally:
            process.kill()
            process.wait()

    def _await(self, process, ports, log_path):
        until = time.monotonic() + 10
        for port in ports.values():
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if process.poll() is not None or time.monotonic() > until:
                        with open(log_path, encoding="utf-8", errors="replace") as log:
                            sys.exit(f"{self.name} does not start:\n{log.read()[-2000:]}")
                    time.sleep(0.02)


def first_line(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return ((done.stdout or done.stderr).splitlines() or ["?"])[0].strip()


def find_brokers(options):
    """Ours comes first, the relay last."""
    brokers = [Broker("noctule", options.noctule, first_line(options.noctule, "--version"))]
    mosquitto = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if mosquitto:
        brokers.append(Broker("mosquitto", mosquitto, first_line(mosquitto, "-h")))
    if options.flashmq:
        if not os.access(options.flashmq, os.X_OK):
            sys.exit(f"--flashmq: {options.flashmq} is not a program")
        brokers.append(Broker("flashmq", os.path.abspath(options.flashmq), first_line(options.flashmq, "--version")))
    brokers.append(Broker("relay", options.relay, "bare relay (tests/bench/relay.c)"))
    return brokers
