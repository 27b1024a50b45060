# SPDX-License-Identifier: MIT
"""A broker that is killed at random moments, or whose power is cut, and started again on the same
store; what crash.py's clients see of it. Used by tests/crash/run and by the end-to-end test."""

import os
import random
import shutil
import signal
import subprocess
import tempfile

import crash
import harness

CONFIG = """allow_anonymous true
persistence true
persistence_location {store}/
max_queued_messages 0
max_queued_bytes 0
workers {workers}
log_type error
log_type warning
"""


class Doomed(harness.Broker):
    """A broker on a store of its own, for many lives."""

    def __init__(self, store, workers, options=""):
        super().__init__("tcp", options=CONFIG.format(store=store, workers=workers) + options)

    def was_cut_off(self):
        """Whether the power went: its connections end a moment before the process does."""
        if not self.environment:
            return False
        try:
            return self.process.wait(5 * harness.PATIENCE) == -signal.SIGKILL
        except subprocess.TimeoutExpired:
            return False


def power_library(folder):
    """Compiles the library that cuts the power; returns its path."""
    path = os.path.join(folder, "power.so")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "power.c")
    subprocess.run(["gcc", "-std=c17", "-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-I", harness.ROOT, "-o",
                    path, source, "-ldl", "-pthread"], check=True)
    return path


class Tally:
    """What storms have come to."""

    def __init__(self, lives=0, cuts=0, messages=0, packets=0):
        self.lives, self.cuts, self.messages, self.packets = lives, cuts, messages, packets

    def __add__(self, other):
        return Tally(self.lives + other.lives, self.cuts + other.cuts, self.messages + other.messages,
                     self.packets + other.packets)


def run(rounds, seed, power=False, workers=2, lies=False, options=""):
    """`rounds` lives, then everything has to arrive. Returns a Tally. Raises crash.Failure (or a
    time-out) with what went wrong; the store then stays for whoever looks."""
    chance = random.Random(seed)
    folder = tempfile.mkdtemp(prefix="noctule-crash-", dir=harness.RUN_DIR)
    store = os.path.join(folder, "store")
    os.mkdir(store)
    os.chmod(folder, 0o755)
    os.chmod(store, 0o777)
    storm = crash.Storm(seed)
    doomed = Doomed(store, workers, options)
    library = power_library(folder) if power else None
    cuts = 0
    try:
        doomed.start()
        storm.setup(doomed.tcp)
        doomed.kill()
        for _ in range(rounds):
            if power:
                doomed.environment = {
                    "LD_PRELOAD": library, "POWER_DIR": store + "/",
                    "POWER_AFTER": str(chance.randrange(1, 400)),
                    "POWER_SEED": str(chance.randrange(1 << 30)),
                    **({"POWER_NO_SYNC": "1"} if lies else {})}
            cuts += _live(storm, doomed, _moment(chance))
        doomed.environment = None
        doomed.start()
        storm.finish(doomed.tcp)
        doomed.stop()
        storm.check()
    finally:
        if doomed.process and doomed.process.poll() is None:
            doomed.kill()
    shutil.rmtree(folder)
    return Tally(rounds, cuts, sum(p.sent for p in storm.publishers), storm.packets)


def _moment(chance):
    """How many packets a life lasts: as often among the first ten as among the last ten thousand, so
    that what happens at the start is met as well."""
    return int(2 ** chance.uniform(0, 15.5))


def _live(storm, doomed, packets):
    """Returns whether the power went. That may be while the broker starts: it was a life as well.
    Nothing else ends it."""
    if doomed.environment:
        packets = 1 << 20  # it ends by itself
    try:
        doomed.start()
        storm.live(doomed, doomed.tcp, packets)
    except (AssertionError, ConnectionError, OSError) as end:
        if isinstance(end, crash.Failure) or not doomed.was_cut_off():
            raise
        return True
    return bool(doomed.environment)
