# SPDX-License-Identifier: MIT
"""mosquitto_pub, mosquitto_sub and mosquitto_rr work unchanged: each version, QoS and listener."""

import signal

import wire
from harness import Broker, Lines, Skip, cases, certificates, have, run

VERSIONS = ("mqttv31", "mqttv311", "mqttv5")
FORMAT = "message %t %q %r %p"
V5_REQUEST = ["-D", "publish", "correlation-data", "number 7",
              "-D", "publish", "content-type", "text/plain"]


def subscribe(address, *options):
    """A running mosquitto_sub that has its SUBACK."""
    if not have("mosquitto_sub"):
        raise Skip("mosquitto-clients is not installed")
    # -d for the line that tells of the SUBACK.
    sub = Lines("mosquitto_sub", "-d", "-F", FORMAT, "-W", "30", *address.options(), *options)
    sub.wait_for(r"^Subscribed \(mid: 1\)")
    return sub


def publish(address, *options):
    if not have("mosquitto_pub"):
        raise Skip("mosquitto-clients is not installed")
    return run("mosquitto_pub", *address.options(), *options)


def received(text):
    """The messages in mosquitto_sub's output, without its debug lines."""
    return [line[len("message "):] for line in text.splitlines() if line.startswith("message ")]


@cases(version=VERSIONS, qos=("0", "1", "2"))
def test_publish_reaches_subscriber(version, qos):
    with Broker("tcp") as broker:
        sub = subscribe(broker.tcp, "-V", version, "-q", qos, "-t", "house/#", "-C", "3")
        for room in ("kitchen", "cellar", "attic"):
            publish(broker.tcp, "-V", version, "-q", qos, "-t", f"house/{room}", "-m", "21.5")
        assert received(sub.finish()) == [f"house/{room} {qos} 0 21.5"
                                          for room in ("kitchen", "cellar", "attic")]


@cases(kind=("tls", "mtls", "unix"), version=VERSIONS)
def test_publish_over(kind, version):
    with Broker(kind) as broker:
        address = broker.addresses[0]
        sub = subscribe(address, "-V", version, "-q", "2", "-t", "a/b", "-C", "1")
        publish(address, "-V", version, "-q", "2", "-t", "a/b", "-m", "over " + kind)
        assert received(sub.finish()) == ["a/b 2 0 over " + kind]


def test_client_without_certificate_is_refused():
    """require_certificate refuses a client that has none."""
    with Broker("mtls") as broker:
        done = run("mosquitto_pub", "-h", "127.0.0.1", "-p", str(broker.mtls.port),
                   "--cafile", certificates()["ca"], "-t", "a", "-m", "b", check=False)
        assert done.returncode != 0, done.stdout


@cases(version=VERSIONS)
def test_one_publisher_sends_many_lines(version):
    """mosquitto_pub -l: a message a line, all of them in order at QoS 2."""
    with Broker("tcp") as broker:
        lines = [f"line {number}" for number in range(500)]
        sub = subscribe(broker.tcp, "-V", version, "-q", "2", "-t", "log", "-C", str(len(lines)))
        run("mosquitto_pub", *broker.tcp.options(), "-V", version, "-q", "2", "-t", "log", "-l",
            input="\n".join(lines) + "\n")
        assert received(sub.finish()) == [f"log 2 0 {line}" for line in lines]


@cases(version=VERSIONS)
def test_retained_message(version):
    """A retained message waits for subscribers until an empty one clears it."""
    with Broker("tcp") as broker:
        publish(broker.tcp, "-V", version, "-q", "1", "-t", "state", "-m", "on", "-r")
        sub = subscribe(broker.tcp, "-V", version, "-q", "1", "-t", "state", "-C", "2")
        sub.wait_for(r"^message state 1 1 on$")
        publish(broker.tcp, "-V", version, "-q", "1", "-t", "state", "-n", "-r")
        # For the subscriber it is an ordinary message: the retain flag is for late subscribers.
        assert received(sub.finish()) == ["state 1 1 on", "state 1 0 "]
        with wire.connected(broker.tcp) as late:
            late.subscribe("state")
            late.expect_nothing()


@cases(version=VERSIONS)
def test_will_of_killed_subscriber(version):
    with Broker("tcp") as broker:
        watcher = subscribe(broker.tcp, "-V", version, "-q", "1", "-t", "will/+", "-C", "1")
        device = subscribe(broker.tcp, "-V", version, "-t", "x", "--will-topic", "will/device",
                           "--will-payload", "gone", "--will-qos", "1")
        device.process.send_signal(signal.SIGKILL)
        assert received(watcher.finish()) == ["will/device 1 0 gone"]


def test_persistent_session_is_kept():
    """mosquitto_sub -c comes back for what was published meanwhile."""
    with Broker("tcp") as broker:
        session = ["-V", "mqttv311", "-i", "keeper", "-c", "-q", "1", "-t", "jobs"]
        run("mosquitto_sub", *broker.tcp.options(), *session, "-E")
        for job in range(3):
            publish(broker.tcp, "-q", "1", "-t", "jobs", "-m", f"job {job}")
        sub = Lines("mosquitto_sub", *broker.tcp.options(), *session, "-F", FORMAT, "-C", "3",
                    "-W", "30")
        assert received(sub.finish()) == [f"jobs 1 0 job {job}" for job in range(3)]


@cases(version=("mqttv311", "mqttv5"))
def test_request_and_response(version):
    """mosquitto_rr: in version 5 the response topic and correlation data travel as properties."""
    if not have("mosquitto_rr"):
        raise Skip("mosquitto_rr is not installed")
    with Broker("tcp") as broker:
        with wire.connected(broker.tcp, "responder", 5 if version == "mqttv5" else 4) as responder:
            responder.subscribe("request", qos=1)
            requester = Lines("mosquitto_rr", *broker.tcp.options(), "-V", version, "-q", "1",
                              "-t", "request", "-e", "response", "-m", "ping", "-W", "20",
                              *(V5_REQUEST if version == "mqttv5" else []))
            request = responder.message()
            assert request.payload == b"ping", request
            props = {}
            if version == "mqttv5":
                assert request.props["response_topic"] == "response", request
                assert request.props["content_type"] == "text/plain", request
                props = {"correlation_data": request.props["correlation_data"]}
            responder.publish("response", "pong", qos=1, props=props)
            assert requester.finish().strip() == "pong"


def test_user_properties_and_expiry_are_forwarded():
    """-D properties of a version 5 publisher reach a version 5 subscriber [MQTT5-3.3.2-17]."""
    with Broker("tcp") as broker:
        with wire.connected(broker.tcp, version=5) as client:
            client.subscribe("p", qos=1)
            publish(broker.tcp, "-V", "mqttv5", "-q", "1", "-t", "p", "-m", "x",
                    "-D", "publish", "user-property", "b", "1",
                    "-D", "publish", "user-property", "a", "2",
                    "-D", "publish", "message-expiry-interval", "600")
            message = client.message()
            assert message.props["user_property"] == [("b", "1"), ("a", "2")], message
            assert message.props["message_expiry_interval"] in range(590, 601), message


def test_shared_subscription_splits_messages():
    with Broker("tcp") as broker:
        members = [subscribe(broker.tcp, "-V", "mqttv5", "-q", "1", "-t", "$share/group/work",
                             "-C", "10") for _ in range(2)]
        run("mosquitto_pub", *broker.tcp.options(), "-q", "1", "-t", "work", "-l",
            input="\n".join(str(number) for number in range(20)) + "\n")
        shares = [received(member.finish()) for member in members]
        assert sorted(shares[0] + shares[1]) == sorted(f"work 1 0 {n}" for n in range(20)), shares
