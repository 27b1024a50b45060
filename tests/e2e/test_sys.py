# SPDX-License-Identifier: MIT
"""$SYS topics have mosquitto's names, so that its monitoring tools find them."""

import wire
from harness import Broker, limit

NAMES = ("version", "uptime", "clients/connected", "clients/total", "messages/received",
         "messages/sent", "bytes/received", "bytes/sent", "subscriptions/count",
         "retained messages/count", "messages/stored", "store/messages/count",
         "store/messages/bytes", "heap/current", "heap/maximum", "load/messages/received/1min", "publish/messages/dropped")


@limit(90)
def test_topics_of_mosquitto_are_there():
    with Broker("tcp", options="sys_interval 1", workers=2) as broker:
        with wire.connected(broker.tcp) as client:
            client.subscribe(*["$SYS/broker/" + name for name in NAMES])
            seen = {}
            # mosquitto sends most of them when they change only; the first ones are retained.
            while (len(seen) < len(NAMES) or int(seen["clients/connected"]) < 1
                   or int(seen["subscriptions/count"]) < len(NAMES)):
                message = client.message(seconds=30)
                seen[message.topic[len("$SYS/broker/"):]] = message.payload


def test_dollar_topics_are_not_matched_by_wildcards():
    """[MQTT5-4.7.2-1] [MQTT311-4.7.2-1]"""
    with Broker("tcp", options="sys_interval 1") as broker:
        with wire.connected(broker.tcp, "all") as everything, wire.connected(broker.tcp) as client:
            everything.subscribe("#", "+/broker/#")
            client.subscribe("$SYS/#")
            client.messages(10)
            everything.expect_nothing()
