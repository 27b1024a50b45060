# SPDX-License-Identifier: MIT
"""What a WebSocket connection says about itself: the page it comes from, and the proxies it came
through."""

import os

import harness
import websocket
import wire
from harness import Broker, cases, node_modules, noctule_only, run, wait_until
from test_strangers import fail2ban_hosts, lets_in

ALLOWED = ("websockets_origin https://www.example.org http://localhost:8080\n"
           "websockets_origin https://example.org\n")


def may_connect(address, origin):
    headers = [f"Origin: {origin}"] if origin else []
    try:
        wire.connected(address, stream={"headers": headers}).close()
        return True
    except websocket.Refused as refused:
        assert "403" in str(refused), refused
        return False


@noctule_only
@cases(kind=("ws", "wss"))
def test_pages_that_may_connect(kind):
    good = ("https://www.example.org", "http://localhost:8080", "https://example.org",
            "HTTPS://Example.org", None)
    bad = ("https://evil.example.org", "http://www.example.org", "https://www.example.org:444",
           "https://www.example.or", "https://www.example.orgy", "null", "x" * 600)
    with Broker(kind, listener_options=ALLOWED) as broker:
        for origin in good:
            assert may_connect(broker.addresses[0], origin), origin
        for origin in bad:
            assert not may_connect(broker.addresses[0], origin), origin
        said = "its page may not connect (websockets_origin)"
        wait_until(lambda: broker.log().count(said) == len(bad), "a line for each")
        wait_until(lambda: len(fail2ban_hosts(broker.log())) >= len(bad), "a host for each")
    with Broker(kind) as broker:
        for origin in (*good, *bad):
            assert may_connect(broker.addresses[0], origin), origin


@noctule_only
def test_mqttjs_is_no_page():
    node_modules()
    with Broker("ws", listener_options=ALLOWED) as broker:
        run("node", os.path.join(harness.HERE, "mqttjs.js"), broker.ws.url, "5")


def seen_as(broker, header, client_id="c"):
    """The address that the log has for a client with this X-Forwarded-For."""
    stream = {"headers": [f"X-Forwarded-For: {header}"]}
    with wire.connected(broker.addresses[0], client_id, stream=stream):
        pass
    line = [line for line in broker.log().splitlines() if f" as {client_id} " in line][-1]
    return line.split(" from ")[1].split(" as ")[0].rsplit(":", 1)[0]


@noctule_only
@cases(kind=("ws", "wss"))
def test_forwarded_client_is_who_a_trusted_proxy_saw(kind):
    with Broker(kind, options="trusted_proxies 127.0.0.1 10.0.0.0/8\n") as broker:
        assert seen_as(broker, "203.0.113.7") == "203.0.113.7"
        assert seen_as(broker, "2001:db8::7") == "[2001:db8::7]"
        assert seen_as(broker, "198.51.100.66, 203.0.113.7, 10.1.2.3") == "203.0.113.7"
        assert seen_as(broker, "nonsense, 203.0.113.7") == "203.0.113.7"
        assert seen_as(broker, "203.0.113.7, unknown") == "127.0.0.1"
        assert seen_as(broker, "10.1.2.3") == "127.0.0.1"
    with Broker(kind, options="trusted_proxies 127.0.0.2\n") as broker:
        assert seen_as(broker, "203.0.113.7") == "127.0.0.1"
    with Broker(kind) as broker:
        assert seen_as(broker, "203.0.113.7") == "127.0.0.1"


@noctule_only
def test_limits_are_those_of_the_forwarded_client():
    options = "trusted_proxies 127.0.0.1\nmax_connections_per_ip 2\n"
    with Broker("ws", options=options, workers=2) as broker:
        def headers(client):
            return {"headers": [f"X-Forwarded-For: {client}"]}
        held = [wire.connected(broker.ws, f"c{n}", stream=headers("203.0.113.7")) for n in range(2)]
        try:
            wire.connected(broker.ws, "one too many", stream=headers("203.0.113.7"))
            raise AssertionError("three of one address")
        except (websocket.Refused, wire.Closed, OSError):
            pass
        wait_until(lambda: fail2ban_hosts(broker.log()) == ["203.0.113.7"], "a line about it")
        wire.connected(broker.ws, "other", stream=headers("203.0.113.8")).close()
        for client in held:
            client.close()
        wait_until(lambda: lets_in(broker.ws, stream=headers("203.0.113.7")), "a place")
