# SPDX-License-Identifier: MIT
"""The stateful fuzzer for a few seeds; `./dev fuzz` runs it for longer. Under the sanitizers a report
of theirs is a failure."""

import os
import sys

import harness
from harness import Broker, cases, limit, noctule_only

sys.path.append(os.path.join(os.path.dirname(harness.HERE), "fuzz"))

import stateful  # noqa: E402  (its folder is known only now)


@noctule_only
@limit(120)
@cases(kind=("tcp", "unix"), workers=(1, 3))
def test_whole_after_valid_and_mutated_packets(kind, workers):
    options = "sys_interval 1\nmax_queued_messages 100\n"
    with Broker(kind, options=options, workers=workers) as broker:
        address = broker.addresses[0]
        descriptors = stateful.baseline(broker, address)
        for seed in range(2):
            fuzzer = stateful.Fuzzer(address, seed)
            fuzzer.run(300)
            stateful.check(broker, address, descriptors, fuzzer.client_ids)
