# SPDX-License-Identifier: MIT
"""What one client asks for costs the others nothing, however much it is."""

import wire
from harness import Broker, cases, limit

FILTERS = 100_000
AT_ONCE = 25_000  # in a packet


def subscribe_to_all(client, filters):
    pids = []
    for first in range(0, FILTERS, AT_ONCE):
        pids.append(client.new_pid())
        client.send(wire.subscribe_packet(pids[-1], [(text, 1) for text in filters[first:first + AT_ONCE]]))
    for pid in pids:
        assert client.wait(wire.SUBACK, pid).reasons == [1] * AT_ONCE


@limit(90)
@cases(full=(False, True))
def test_a_hundred_thousand_filters(full):
    """Each may bring retained messages, and is looked up when it comes again or goes: none of it takes longer
    the more of them there are, also while a full queue lets no retained message through. A minute would go by
    otherwise, where each answer is given ten seconds."""
    filters = [f"many/{number}/+" for number in range(FILTERS)]
    with Broker("tcp", options="max_inflight_messages 1\nmax_queued_messages 10\nsys_interval 0",
                workers=1) as broker:
        with wire.connected(broker.tcp, "other") as other, \
                wire.connected(broker.tcp, "many") as many:
            many.subscribe("full", qos=1)
            for number in range(10 if full else 0):
                other.publish("full", str(number), qos=1)
            subscribe_to_all(many, filters)
            subscribe_to_all(many, filters[::-1])
            other.ping()
            many.send(wire.unsubscribe_packet(9, filters))
            many.wait(wire.UNSUBACK, 9)
            other.ping()
