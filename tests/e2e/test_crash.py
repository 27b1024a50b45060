# SPDX-License-Identifier: MIT
"""The promise that an acknowledgement means stored, held against a broker that is killed at random
moments, or whose power is cut, while clients with sessions of their own publish and subscribe. A few
lives of it; `./dev crash` runs a thousand."""

import os
import sys

import harness
from harness import cases, limit, noctule_only

sys.path.append(os.path.join(os.path.dirname(harness.HERE), "crash"))

import crash  # noqa: E402  (its folder is known only now)
import storm  # noqa: E402


def need_power_library():
    harness.need("gcc")
    if harness.SANITIZED:
        raise harness.Skip("a sanitizer's library must be loaded before ours that cuts the power")


@noctule_only
@limit(180)
@cases(workers=(1, 3))
def test_kill_loses_nothing_that_was_acknowledged(workers):
    """Ten lives; QoS 1 and 2, retained, a shared group, subscribers that come seldom."""
    storm.run(rounds=10, seed=workers, workers=workers)


@noctule_only
@limit(180)
def test_power_cut_loses_nothing_that_was_acknowledged():
    need_power_library()
    storm.run(rounds=10, seed=7, power=True)


@noctule_only
@limit(180)
def test_a_disk_that_lies_is_found_out():
    """The negative control: where fdatasync does nothing, the same test must fail."""
    need_power_library()
    for seed in range(10):
        try:
            storm.run(rounds=10, seed=seed, power=True, lies=True)
        except (crash.Failure, AssertionError):
            return
    raise AssertionError("ten storms of power cuts on a disk that does not sync lost nothing")
