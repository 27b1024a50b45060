# SPDX-License-Identifier: MIT
"""./dev bench: a short run makes its table, a FlashMQ that somebody has joins in, and a loss fails the whole."""

import os
import stat
import sys

import harness
from harness import NOCTULE, noctule_only, run

RUN = os.path.join(os.path.dirname(harness.HERE), "bench", "run")


def program(name, text):
    path = os.path.join(harness.TEST_DIR, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
    return path


def table(*arguments, noctule=NOCTULE, rows="^ingest, QoS 1", check=True):
    """The exit status and what was written."""
    out = os.path.join(harness.TEST_DIR, "RESULTS.md")
    relay = os.path.join(os.path.dirname(NOCTULE), "relay")
    done = run(sys.executable, RUN, "--noctule", noctule, "--relay", relay, "--rounds", "1", "--seconds", "1", "--rows",
               rows, "--sections", "", "--out", out, *arguments, seconds=60, check=check)
    with open(out, encoding="utf-8") as file:
        return done.returncode, file.read()


@noctule_only
def test_a_row_has_figures_and_ratios():
    status, text = table()
    assert status == 0
    row = next(line for line in text.splitlines() if line.startswith("| ingest, QoS 1"))
    cells = [cell.strip(" *\u2191") for cell in row.split("|")[1:-1]]
    head = next(line for line in text.splitlines() if line.startswith("| scenario"))
    names = [cell.strip() for cell in head.split("|")[1:-1]]
    values = dict(zip(names, cells))
    ours, relay = float(values["noctule"]), float(values["relay"])
    assert ours > 0 and relay > 0
    assert abs(float(values["× relay"]) - ours / relay) < 0.05 * ours / relay + 0.01
    assert values["at most"].startswith("0.1")


# What is called FlashMQ is a noctule that is given the port which FlashMQ's configuration names.
FLASHMQ = """#!/usr/bin/env python3
import os, re, sys
if sys.argv[1] == "--version":
    sys.exit(print("FlashMQ v1.26 (a stand-in)"))
assert sys.argv[1] == "--config-file", sys.argv
text = open(sys.argv[2]).read()
assert re.search(r"^thread_count 1$", text, re.MULTILINE) and text.count("{{") == text.count("}}"), text
port = re.search(r"^ *port ([0-9]+)$", text, re.MULTILINE)[1]
os.execv("{noctule}", ["{noctule}", "-p", port])
"""


@noctule_only
def test_flashmq_joins_in_where_somebody_has_it():
    status, text = table("--flashmq", program("flashmq", FLASHMQ.format(noctule=NOCTULE)))
    assert status == 0
    assert "- flashmq: FlashMQ v1.26 (a stand-in)" in text
    assert "× flashmq" in text
    assert "no result" not in text


@noctule_only
def test_flashmq_that_is_not_there_is_an_error():
    done = run(sys.executable, RUN, "--noctule", NOCTULE, "--flashmq", "/nowhere/flashmq", check=False)
    assert done.returncode == 1
    assert "/nowhere/flashmq is not a program" in done.stdout


# The broker is the real one; the generator's report says that a message was lost.
LIAR = """#!/bin/sh
[ "$1" = bench ] || exec "{noctule}" "$@"
"{noctule}" "$@" | sed 's/"lost": 0/"lost": 1/; s/"failed": false/"failed": true/'
"""


@noctule_only
def test_loss_fails_the_whole():
    status, text = table(noctule=program("noctule", LIAR.format(noctule=NOCTULE)), check=False)
    assert status == 1
    assert "FAILED" in text
    assert "- ingest, QoS 1: of " in text and "lost 1," in text
