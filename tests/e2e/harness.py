# SPDX-License-Identifier: MIT
"""What every end-to-end test needs: a broker process, free ports, certificates and deadlines.

A test starts brokers with `Broker` and talks to them over `broker.tcp`, `broker.ws`, … The broker
is the program named by NOCTULE; mosquitto works there as well, for comparing the two. Nothing here
knows MQTT: packets live in wire.py. Nothing here sleeps for a fixed time: `wait_until` polls a
condition up to a deadline and says what it waited for.
"""

import functools
import itertools
import mmap
import os
import random
import re
import resource
import signal
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
NOCTULE = os.environ.get("NOCTULE", "")
IS_MOSQUITTO = os.path.basename(NOCTULE) == "mosquitto"



def is_sanitized():
    """Whether the broker was built with a sanitizer, which makes it large and slow."""
    if not NOCTULE:
        return False
    with open(NOCTULE, "rb") as file, \
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as program:
        return program.find(b"__asan_init") >= 0 or program.find(b"__tsan_init") >= 0


# Share of the full load that the order tests run with, and by how much all deadlines are longer.
SANITIZED = is_sanitized()
SCALE = float(os.environ.get("NOCTULE_SCALE", "0.2" if SANITIZED else "1"))
PATIENCE = 6 if SANITIZED or SCALE < 1 else 1
# Seconds without a byte after which a load is given up: what is missing will not come any more.
STALL = float(os.environ.get("NOCTULE_STALL", 30 * PATIENCE))

# Set by the runner: a folder for all tests of a run, and one for the test that runs now.
RUN_DIR = os.environ.get("NOCTULE_E2E_RUN_DIR", "/tmp")
TEST_DIR = os.environ.get("NOCTULE_E2E_TEST_DIR", "/tmp")

SANITIZER_REPORT = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:")


class Skip(Exception):
    """Raised by a test that cannot run here; the text says why."""


class Timeout(AssertionError):
    """A deadline passed; the text says what was awaited."""


def cases(**choices):
    """Run a test once for each combination of the given values, passed as keyword arguments."""
    names = list(choices)
    combinations = [dict(zip(names, values)) for values in itertools.product(*choices.values())]

    def mark(function):
        function.cases = combinations
        return function
    return mark


def limit(seconds):
    """Give a test more time than the usual limit before the runner kills it."""
    def mark(function):
        function.limit = seconds
        return function
    return mark


def noctule_only(function):
    """The test shows what mosquitto does otherwise or not at all."""
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        if IS_MOSQUITTO:
            raise Skip("mosquitto differs here")
        return function(*args, **kwargs)
    return wrapper


def wait_until(condition, what, seconds=10):
    """Poll until `condition()` is true and return its value; fail with `what` at the deadline."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Timeout(f"waited {seconds * PATIENCE} s for {what}")
        time.sleep(0.01)


def have(program):
    """Whether a program is on PATH."""
    return any(os.access(os.path.join(folder, program), os.X_OK)
               for folder in os.environ["PATH"].split(":"))


def need(program):
    if not have(program):
        raise Skip(f"{program} is not installed")


def run(*command, seconds=20, check=True, **kwargs):
    """Run a command to its end and return the finished process with its output as text."""
    kwargs.setdefault("stdin", None if "input" in kwargs else subprocess.DEVNULL)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=seconds * PATIENCE, check=False, **kwargs)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}")
    return done


class Lines:
    """A running command whose output is read line by line, each wait with a deadline."""

    def __init__(self, *command, **kwargs):
        self.command = " ".join(command)
        self.path = os.path.join(TEST_DIR, f"output-{time.monotonic_ns()}")
        with open(self.path, "wb") as out:
            # Line buffering, or a waiting test would see nothing until the program ends.
            self.process = subprocess.Popen(["stdbuf", "-oL", *command], stdin=subprocess.DEVNULL,
                                            stdout=out, stderr=subprocess.STDOUT, **kwargs)

    def text(self):
        with open(self.path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_for(self, pattern, seconds=10):
        """Wait until the output matches; return the match."""
        def match():
            found = re.search(pattern, self.text(), re.MULTILINE)
            if not found and self.process.poll() is not None:
                found = re.search(pattern, self.text(), re.MULTILINE)
                if not found:
                    raise AssertionError(f"{self.command} ended without {pattern!r}:\n"
                                         + self.text())
            return found
        try:
            return wait_until(match, f"{pattern!r} from {self.command}", seconds)
        except Timeout as late:
            raise Timeout(f"{late}; its output so far:\n{self.text()}") from None

    def finish(self, code=0, seconds=15):
        """Wait for the end, check the exit code, return the whole output."""
        try:
            got = self.process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise Timeout(f"{self.command} still runs; its output:\n{self.text()}") from None
        if code is not None and got != code:
            raise AssertionError(f"{self.command}: exit {got}, not {code}\n{self.text()}")
        return self.text()


def free_port():
    """A port nobody uses, from below the range that outgoing connections take theirs from: one of
    those could otherwise sit on the port before the broker binds it."""
    for _ in range(200):
        port = random.SystemRandom().randrange(20000, 32000)
        try:
            for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
                with socket.socket(family) as probe:
                    if family == socket.AF_INET6:
                        probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                    probe.bind((host, port))
            return port
        except OSError:
            continue
    raise AssertionError("no free port between 20000 and 32000")


def certificates():
    """Paths of a CA, of certificates it signed for localhost and for a client, and of a
    client's that it did not sign; made once a run."""
    need("openssl")
    folder = os.path.join(RUN_DIR, "certificates")
    names = ("ca", "server", "client", "stranger")
    paths = {name: os.path.join(folder, name + ".crt") for name in names}
    paths.update({name + "_key": os.path.join(folder, name + ".key") for name in names})
    if os.path.exists(paths["stranger"]):
        return paths
    os.makedirs(folder, exist_ok=True)
    _make_certificate(paths, "ca", "noctule test CA", None, "basicConstraints=critical,CA:TRUE")
    _make_certificate(paths, "server", "localhost", "ca",
                      "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1")
    _make_certificate(paths, "client", "device-1", "ca", "extendedKeyUsage=clientAuth")
    _make_certificate(paths, "stranger", "stranger", None, "extendedKeyUsage=clientAuth")
    return paths


def _make_certificate(paths, name, common_name, issuer, extension):
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
               "-nodes", "-days", "2", "-subj", f"/CN={common_name}", "-addext", extension,
               "-keyout", paths[name + "_key"], "-out", paths[name]]
    if issuer:
        command += ["-CA", paths[issuer], "-CAkey", paths[issuer + "_key"],
                    "-addext", "basicConstraints=critical,CA:FALSE"]
    run(*command)
    os.chmod(paths[name + "_key"], 0o644)  # a broker started as root drops to another user


class Address:
    """Where a listener is and how a client reaches it.

    `kind` is tcp, tls, mtls (TLS with a client certificate), ws, wss or unix."""

    def __init__(self, kind, host, port=0, path=None):
        self.kind, self.host, self.port, self.path = kind, host, port, path

    @property
    def secure(self):
        return self.kind in ("tls", "mtls", "wss")

    @property
    def websocket(self):
        return self.kind in ("ws", "wss")

    @property
    def url(self):
        """As MQTT.js wants it."""
        scheme = {"tcp": "mqtt", "tls": "mqtts", "mtls": "mqtts"}.get(self.kind, self.kind)
        return f"{scheme}://{self.host}:{self.port}"

    def options(self):
        """As mosquitto_pub and its siblings want it."""
        if self.kind == "unix":
            return ["--unix", self.path]
        options = ["-h", self.host, "-p", str(self.port)]
        if self.secure:
            options += ["--cafile", certificates()["ca"]]
        if self.kind == "mtls":
            options += ["--cert", certificates()["client"], "--key", certificates()["client_key"]]
        return options


class Broker:
    """A broker process, its configuration and its addresses; a context manager that ends it.

    Each listener is a kind (see Address), or a pair of kind and host; its address becomes an
    attribute of that name and stands in `addresses`. Text in `options` goes in front of the
    listeners, text in `listener_options` below each of them. `program`: another one than NOCTULE.
    """

    counter = itertools.count(1)

    def __init__(self, *listeners, options="", listener_options="", workers=None, limits=None,
                 environment=None, wrapper=(), program=None):
        number = next(Broker.counter)
        self.program = program or NOCTULE
        is_mosquitto = os.path.basename(self.program) == "mosquitto"
        self.log_path = os.path.join(TEST_DIR, f"broker-{number}.log")
        self.config_path = os.path.join(TEST_DIR, f"broker-{number}.conf")
        self.store_path = os.path.join(TEST_DIR, f"store-{number}")
        self.addresses = []
        self.limits = limits or {}  # resource.RLIMIT_…: (soft, hard)
        self.environment = environment
        self.wrapper = list(wrapper)  # a command in front of the program's
        self.process = None
        text = [options] if options else []
        if "allow_anonymous" not in options:
            text.append("allow_anonymous true")
        if workers and not is_mosquitto:
            text.append(f"workers {workers}")
        if is_mosquitto and not {"tcp", "tls", "mtls", "unix"} & set(listeners):
            listeners += ("unix",)  # mosquitto 2.0.11 ends when it has WebSocket listeners only
        for listener in listeners:
            kind, host = (listener, "127.0.0.1") if isinstance(listener, str) else listener
            text += self._listener(kind, host)
            if listener_options:
                text.append(listener_options)
        self.write_config("\n".join(text) + "\n")

    def _listener(self, kind, host):
        if kind == "unix":
            path = os.path.join(TEST_DIR, f"s{len(self.addresses)}")
            address = Address(kind, host, path=path)
            lines = [f"listener 0 {path}"]
        else:
            address = Address(kind, host, free_port())
            lines = [f"listener {address.port} {host}"]
        if address.websocket:
            lines.append("protocol websockets")
        if address.secure:
            paths = certificates()
            lines += [f"cafile {paths['ca']}", f"certfile {paths['server']}",
                      f"keyfile {paths['server_key']}"]
        if kind == "mtls":
            lines.append("require_certificate true")
        self.addresses.append(address)
        setattr(self, kind, address)
        return lines

    def write_config(self, text):
        self.config = text
        with open(self.config_path, "w", encoding="utf-8") as file:
            file.write(text)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, kind, *_):
        if self.process and self.process.poll() is None:
            if kind is None:
                self.stop()
            else:
                self.kill()
        if kind is None:
            self.check_log()

    def start(self):
        def before_exec():
            for what, values in self.limits.items():
                resource.setrlimit(what, values)
        log = open(self.log_path, "ab")
        with log:
            self.process = subprocess.Popen(
                [*self.wrapper, self.program, "-c", self.config_path], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=before_exec,
                env={**os.environ, "STATE_DIRECTORY": self.store_path, **(self.environment or {})})
        for address in self.addresses:
            wait_until(lambda a=address: self._answers(a), f"a listener on {address.url}")

    def _answers(self, address):
        if self.process.poll() is not None:
            raise AssertionError(f"the broker ended with {self.process.returncode}")
        try:
            connect_socket(address).close()
            return True
        except OSError:
            return False

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_log(self, pattern, seconds=10):
        return wait_until(lambda: re.search(pattern, self.log()),
                          f"{pattern!r} in the broker's log", seconds)

    def signal(self, number):
        self.process.send_signal(number)

    def wait_exit(self, seconds=5):
        """Wait for the end of the process; return its exit code."""
        try:
            return self.process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            raise Timeout(f"the broker still runs after {seconds * PATIENCE} s") from None

    def stop(self):
        """End it as an administrator would; every test so checks the clean end as well."""
        self.signal(signal.SIGTERM)
        code = self.wait_exit()
        assert code == 0, f"the broker ended with {code} after SIGTERM"

    def kill(self):
        """Its end without a word, as by kill -9; nothing when it has ended already."""
        self.process.kill()
        self.process.wait()

    def end(self, how):
        """By "kill" or "stop"."""
        {"kill": self.kill, "stop": self.stop}[how]()

    def check_log(self):
        report = SANITIZER_REPORT.search(self.log())
        assert not report, f"the broker's log has a sanitizer report: {report.group()}"

    def cpu_seconds(self):
        """User and system time of all its threads so far."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def memory(self):
        """Resident bytes."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def connect_socket(address, receive_buffer=0, seconds=10):
    """A plain connected socket to a listener, whatever is spoken over it."""
    if address.kind == "unix":
        sock, target = socket.socket(socket.AF_UNIX), address.path
    else:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        sock, target = socket.socket(family), (address.host, address.port)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(seconds * PATIENCE)
        sock.connect(target)
    except OSError:
        sock.close()
        raise
    return sock


def node_modules():
    """The folder with MQTT.js and playwright-core, installed by `npm ci` when it is not there."""
    need("node")
    need("npm")
    folder = os.path.join(HERE, "node_modules")
    if not os.path.exists(os.path.join(folder, ".package-lock.json")):
        done = run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=HERE,
                   check=False, seconds=120)
        if done.returncode != 0:
            raise Skip("npm ci failed: " + done.stdout.strip().replace("\n", "; ")[-300:])
    return folder
