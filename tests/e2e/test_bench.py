# SPDX-License-Identifier: MIT
"""The load generator: every scenario runs to its end, and a lossy broker is found out."""

import json
import os

from harness import NOCTULE, TEST_DIR, Broker, cases, certificates, noctule_only, run

MESSAGES = 5000


TRANSPORT = {"tcp": [], "tls": ["--tls"], "ws": ["--ws"], "wss": ["--tls", "--ws"]}


def bench(broker, scenario, *arguments, check=True, transport="tcp"):
    address = getattr(broker, transport)
    done = run(NOCTULE, "bench", scenario, "-h", address.host, "-p", str(address.port),
               "--json", *TRANSPORT[transport], *arguments, seconds=50, check=check)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@cases(scenario=("fanin", "fanout", "p2p", "ingest", "shared"), qos=(0, 1, 2), version=("311", "5"))
@noctule_only
def test_messages_all_arrive(scenario, qos, version):
    with Broker("tcp", options="max_queued_messages 0") as broker:
        _, (report,) = bench(broker, scenario, "-q", str(qos), "-V", version, "--publishers", "4",
                             "--messages", str(MESSAGES), "--pid", str(os.getpid()))
        assert not report["failed"]
        assert report["sent"] == MESSAGES
        assert report["done"] == MESSAGES * (100 if scenario == "fanout" else 1)
        assert report["own_cpu_us"] > 0
        assert (report["latency_us"]["max"] > 0) == (scenario != "ingest")


@cases(transport=("tls", "ws", "wss"), scenario=("fanin", "fanout", "p2p", "ingest", "shared"),
       qos=(0, 1, 2))
@noctule_only
def test_messages_all_arrive_encrypted_and_in_frames(transport, scenario, qos):
    with Broker(transport, options="max_queued_messages 0") as broker:
        _, (report,) = bench(broker, scenario, "-q", str(qos), "-V", "5", "--publishers", "4",
                             "--messages", str(MESSAGES), transport=transport)
        assert report["transport"] == transport
        assert report["done"] == MESSAGES * (100 if scenario == "fanout" else 1)


@cases(transport=("tcp", "tls", "ws", "wss"), version=("311", "5"))
@noctule_only
def test_other_scenarios_over_every_transport(transport, version):
    with Broker(transport, options="max_queued_messages 0") as broker:
        def done(scenario, *arguments):
            _, reports = bench(broker, scenario, "-V", version, *arguments, transport=transport)
            return [report["done"] for report in reports]
        assert done("connect", "--messages", "50") == [50]
        assert done("idle", "--count", "20") == [20]
        assert done("retained", "--count", "500", "-q", "1") == [500, 500]
        assert done("subscriptions", "--count", "500", "--messages", "1000") == [1000]
        assert done("offline", "--count", "20", "-q", "2") == [2000, 2000]


@cases(transport=("tcp", "wss"))
@noctule_only
def test_large_messages_arrive(transport):
    with Broker(transport, options="max_queued_messages 0\nmax_packet_size 20MB\n"
                "max_queued_bytes 0") as broker:
        _, (report,) = bench(broker, "fanout", "--subscribers", "2", "-s", "16000000", "--window",
                             "2", "--messages", "3", "-q", "1", transport=transport)
        assert report["done"] == 6


@noctule_only
def test_tls_sessions_are_resumed():
    with Broker("tls") as broker:
        _, (report,) = bench(broker, "connect", "--messages", "50", "--publishers", "1", "--resume",
                             transport="tls")
        assert report["resumed"] == 49


@noctule_only
def test_certificate_is_checked_if_asked_for():
    with Broker("tls") as broker:
        status, _ = bench(broker, "fanin", "--cafile", certificates()["ca"], "--messages", "10",
                          transport="tls")
        assert status == 0
        done = run(NOCTULE, "bench", "fanin", "-p", str(broker.tls.port), "--cafile",
                   certificates()["stranger"], check=False)
        assert done.returncode == 1


@noctule_only
def test_offline_messages_beyond_the_queue_are_found_lost():
    with Broker("tcp", options="max_queued_messages 50") as broker:
        status, (queue, drain) = bench(broker, "offline", "--count", "10", check=False)
        assert status == 1
        assert not queue["failed"]
        assert drain["failed"] and drain["lost"] == 500


@cases(qos=(0, 1, 2))
@noctule_only
def test_open_loop_keeps_its_rate(qos):
    with Broker("tcp") as broker:
        _, (report,) = bench(broker, "latency", "--rate", "500", "--seconds", "1", "-q", str(qos))
        assert 400 <= report["sent"] <= 600
        assert report["done"] == report["sent"]


@noctule_only
def test_retained_messages_are_set_and_fetched():
    with Broker("tcp", options="max_queued_messages 0") as broker:
        _, (set_report, fetch_report) = bench(broker, "retained", "--count", "1000", "-q", "1")
        assert set_report["done"] == fetch_report["done"] == 1000


@noctule_only
def test_subscriptions_each_message_matches_one():
    with Broker("tcp", options="max_queued_messages 0") as broker:
        _, (report,) = bench(broker, "subscriptions", "--count", "500", "--messages", "1000")
        assert report["done"] == 1000


@noctule_only
def test_connections_come_and_go():
    with Broker("tcp") as broker:
        _, (report,) = bench(broker, "connect", "--messages", "200")
        assert report["done"] == 200
        _, (report,) = bench(broker, "idle", "--count", "50")
        assert report["done"] == 50


@noctule_only
def test_loss_fails_the_run():
    """The queue is too short for what is under way."""
    with Broker("tcp", options="max_queued_messages 1\nmax_inflight_messages 1") as broker:
        status, (report,) = bench(broker, "fanin", "-q", "1", "--messages", str(MESSAGES), check=False)
        assert status == 1
        assert report["failed"] and report["lost"] > 0


def expect_failure(code, said, *arguments):
    """The program ends with the code, and says so."""
    done = run(NOCTULE, "bench", *arguments, check=False)
    assert done.returncode == code
    assert said in done.stdout


@noctule_only
def test_no_broker_is_an_error():
    expect_failure(1, "no connection to the broker", "fanin", "-h", "127.0.0.1", "-p", "1")


@noctule_only
def test_mistake_in_arguments_is_named():
    expect_failure(2, "-q cannot be 3", "fanin", "-q", "3")


@cases(version=("311", "5"))
@noctule_only
def test_clients_have_a_name_and_a_password(version):
    path = os.path.join(TEST_DIR, f"passwords-{version}")
    run(NOCTULE, "passwd", "-c", "-b", path, "alice", "wonderland")
    with Broker("tcp", options=f"allow_anonymous false\npassword_file {path}\n") as broker:
        for scenario in ("fanin", "connect"):
            common = (scenario, "-V", version, "--messages", "20", "--publishers", "2", "-u", "alice", "-P")
            _, (report,) = bench(broker, *common, "wonderland")
            assert not report["failed"]
            done = run(NOCTULE, "bench", "-p", str(broker.tcp.port), *common, "rabbit", check=False)
            assert done.returncode == 1
            assert "not authorized" in done.stdout or "bad user name or password" in done.stdout


@noctule_only
def test_connections_that_are_refused_say_why():
    with Broker("tcp") as broker:
        expect_failure(1, "before it could say CONNECT",
                       "connect", "-p", str(broker.tcp.port), "--tls", "--messages", "20")


@noctule_only
def test_process_that_is_not_there_is_named():
    expect_failure(2, "there is no process", "fanin", "--pid", str(2 ** 31 - 1))


@noctule_only
def test_more_connections_than_descriptors_is_an_error_at_once():
    expect_failure(1, "limit of open files", "idle", "--count", "10000000")
