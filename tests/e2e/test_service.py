# SPDX-License-Identifier: MIT
"""The broker under a service manager: what it says and when, and the unit file that is shipped."""

import contextlib
import ctypes
import os
import re
import signal
import socket

import harness
import wire
from harness import Broker, noctule_only

ROOT = os.path.dirname(os.path.dirname(harness.HERE))


class Manager:
    """The receiving end of NOTIFY_SOCKET."""

    def __init__(self):
        self.path = os.path.join(harness.TEST_DIR, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o777)  # a broker started as root speaks as another user
        self.socket.settimeout(10 * harness.PATIENCE)

    def next(self):
        return self.socket.recv(4096).decode()

    def wait_for(self, state):
        """Skips signs of life."""
        while (said := self.next()) == "WATCHDOG=1" != state:
            pass
        assert said.split("\n")[0] == state, said

    def environment(self, **more):
        return {"NOTIFY_SOCKET": self.path, **more}


@noctule_only
def test_is_ready_when_it_serves_and_says_that_it_stops():
    manager = Manager()
    with Broker("tcp", environment=manager.environment()) as broker:
        manager.wait_for("READY=1")
        with wire.connected(broker.tcp, "client"):
            broker.signal(signal.SIGHUP)
            manager.wait_for("RELOADING=1")
            manager.wait_for("READY=1")
            broker.signal(signal.SIGTERM)
            manager.wait_for("STOPPING=1")
        assert broker.wait_exit() == 0


@noctule_only
def test_gives_signs_of_life_for_all_workers():
    manager = Manager()
    with Broker("tcp", workers=3, environment=manager.environment(WATCHDOG_USEC="30000")):
        manager.wait_for("READY=1")
        for _ in range(5):
            manager.wait_for("WATCHDOG=1")


class Frozen:
    """A thread of the broker that does not go on, as one that hangs; the others do."""

    SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17

    def __init__(self, pid, name):
        tasks = f"/proc/{pid}/task"
        self.thread = next(int(task) for task in os.listdir(tasks)
                           if open(f"{tasks}/{task}/comm", encoding="ascii").read().strip() == name)

    def ask(self, what):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(what, self.thread, None, None) != 0:
            raise harness.Skip(f"ptrace: {os.strerror(ctypes.get_errno())}")

    def wait(self):
        os.waitpid(self.thread, 0x40000000)  # __WALL: until it has stopped

    def __enter__(self):
        self.ask(self.SEIZE)
        self.ask(self.INTERRUPT)
        self.wait()
        return self

    def __exit__(self, *_):
        self.ask(self.DETACH)


@noctule_only
def test_gives_no_sign_of_life_while_a_worker_hangs():
    if harness.SANITIZED:
        raise harness.Skip("a sanitizer's threads are traced by itself")
    manager = Manager()
    with Broker("tcp", workers=3, environment=manager.environment(WATCHDOG_USEC="300000")) as broker:
        manager.wait_for("READY=1")
        with Frozen(broker.process.pid, "noctule-2"):
            broker.wait_log("Worker 2 does not answer")
            manager.socket.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while manager.next():  # those of before
                    pass
            manager.socket.settimeout(1.5)  # five periods of the watchdog
            with contextlib.suppress(TimeoutError):
                raise AssertionError(f"a sign of life of a broker that hangs: {manager.next()}")
            manager.socket.settimeout(10 * harness.PATIENCE)
        manager.wait_for("WATCHDOG=1")


@noctule_only
def test_without_a_watchdog_there_are_no_signs_of_life():
    manager = Manager()
    with Broker("tcp", environment=manager.environment()) as broker:
        manager.wait_for("READY=1")
        wire.wait_for_keep_alive(broker.tcp)
        broker.signal(signal.SIGTERM)
        assert manager.next() == "STOPPING=1"
        assert broker.wait_exit() == 0


@noctule_only
def test_the_unit_is_valid_and_exposes_little():
    """systemd-analyze finds nothing to say, and rates the exposure as OK (below 2.0)."""
    harness.need("systemd-analyze")
    with open(os.path.join(ROOT, "conf", "noctule.service.in"), encoding="utf-8") as file:
        unit = file.read()
    program = os.path.join(harness.TEST_DIR, "noctule")
    os.symlink(harness.NOCTULE, program)
    for name, value in (("BINDIR", harness.TEST_DIR), ("SYSCONFDIR", "/etc"),
                        ("DATADIR", "/usr/share")):
        unit = unit.replace(f"@CMAKE_INSTALL_FULL_{name}@", value)
    path = os.path.join(harness.TEST_DIR, "noctule.service")
    with open(path, "w", encoding="utf-8") as file:
        file.write(unit)
    said = harness.run("systemd-analyze", "verify", "--man=no", path, check=False).stdout
    mine = [line for line in said.splitlines() if "noctule" in line]
    assert not mine, mine
    rating = harness.run("systemd-analyze", "security", "--offline=true", path, check=False).stdout
    exposure = re.search(r"exposure level for noctule.service: ([0-9.]+)", rating)
    assert exposure and float(exposure.group(1)) < 2.0, rating
