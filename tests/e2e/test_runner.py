# SPDX-License-Identifier: MIT
"""The runner of these tests leaves nothing behind, however it ends."""

import os
import signal
import subprocess
import sys

import harness
from harness import NOCTULE, noctule_only, wait_until

ENDLESS = """
import signal
from harness import Broker

def test_endless():
    with Broker("tcp") as broker:
        with open({path!r}, "w") as file:
            file.write(f"{{broker.process.pid}} {{broker.config_path}}\\\\n")
        signal.pause()
"""


def content(path):
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return file.readline().rstrip("\n") or None


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@noctule_only
def test_killed_runner_takes_its_brokers_along():
    """A runner that is killed has no time to clean up: its brokers go, and its folder."""
    said = os.path.join(harness.TEST_DIR, "said")
    with open(os.path.join(harness.TEST_DIR, "test_endless.py"), "w", encoding="utf-8") as file:
        file.write(ENDLESS.format(path=said))
    with subprocess.Popen([sys.executable, os.path.join(harness.HERE, "run")],
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          env={**os.environ, "NOCTULE_E2E_FOLDER": harness.TEST_DIR,
                               "NOCTULE": NOCTULE}) as runner:
        try:
            pid, config = wait_until(lambda: content(said), "the broker of the other run").split()
            assert is_running(pid)
        finally:
            runner.send_signal(signal.SIGKILL)
    wait_until(lambda: not is_running(pid), "the end of the broker")
    wait_until(lambda: not os.path.exists(os.path.dirname(os.path.dirname(config))),
               "the end of its folder")
