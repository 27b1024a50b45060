# SPDX-License-Identifier: MIT
"""Where a process's time goes, by perf, where there is one that may be used."""

import contextlib
import os
import re
import shutil
import subprocess


def is_possible():
    return shutil.which("perf") is not None


class Recorded:
    def __init__(self, path):
        self.path = path

    def shares(self, what):
        """(per cent, name) in order; what: dso (programs and libraries) or sym (functions)."""
        done = subprocess.run(["perf", "report", "-i", self.path, "--stdio", "--sort", what, "-q"], capture_output=True,
                              text=True, check=False)
        return [(float(share), name.strip()) for share, name in
                re.findall(r"^ *([\d.]+)% +(?:\[[.k]\] )?(.+?) *$", done.stdout, re.MULTILINE)]


@contextlib.contextmanager
def recorded(folder, pid):
    """Records while the block runs."""
    path = os.path.join(folder, "perf.data")
    perf = subprocess.Popen(["perf", "record", "-q", "-F", "1999", "-o", path, "-p", str(pid)],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield Recorded(path)
    finally:
        perf.terminate()
        perf.wait()
