# SPDX-License-Identifier: MIT
"""Signed tokens as passwords, made by another implementation (PyJWT), used by real clients."""

import json
import os
import signal
import time

import harness
import wire
from harness import Broker, Lines, Skip, cases, certificates, noctule_only, run

try:
    import jwt
except ImportError:
    jwt = None

BAD_USER_NAME_OR_PASSWORD = 0x86
ADMINISTRATIVE_ACTION = 0x98
MAXIMUM_CONNECT_TIME = 0xA0

ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")
MAKERS = {
    "RS256": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
    "ES256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "EdDSA": ["-algorithm", "ED25519"],
}


class Issuer:
    """Who signs: a private key, or a secret, and the file that the broker reads."""

    def __init__(self, algorithm, name="issuer"):
        if jwt is None:
            raise Skip("python3-jwt is not installed")
        self.algorithm = algorithm
        self.path = os.path.join(harness.TEST_DIR, name + ".pem")
        if algorithm == "HS256":
            self.key = f"the secret of {name}, which is long enough"
            with open(self.path, "w", encoding="utf-8") as file:
                file.write(self.key + "\n")
            return
        private = os.path.join(harness.TEST_DIR, name + ".key")
        run("openssl", "genpkey", *MAKERS[algorithm], "-out", private)
        run("openssl", "pkey", "-in", private, "-pubout", "-out", self.path)
        with open(private, encoding="utf-8") as file:
            self.key = file.read()

    def token(self, seconds=60, **claims):
        claims = {"sub": "alice", "exp": time.time() + seconds, **claims}
        return jwt.encode(claims, self.key, algorithm=self.algorithm)


def options(issuer, *more):
    return "\n".join(["allow_anonymous false", f"auth_jwt_keyfile {issuer.path}", *more]) + "\n"


def login(broker, token, reason=0, **more):
    client = wire.Client(broker.tcp, 5, "")
    client.connect(reason, password=token.encode(), **more)
    return client


@noctule_only
@cases(algorithm=ALGORITHMS)
def test_token_of_another_implementation_lets_in(algorithm):
    issuer, stranger = Issuer(algorithm), Issuer(algorithm, "stranger")
    with Broker("tcp", options=options(issuer)) as broker:
        login(broker, issuer.token()).close()
        broker.wait_log("u'alice'")
        login(broker, stranger.token(), BAD_USER_NAME_OR_PASSWORD).close()
        broker.wait_log("its token is not signed with a known key")
        login(broker, issuer.token(seconds=-5), BAD_USER_NAME_OR_PASSWORD).close()
        broker.wait_log("its token has expired")


@noctule_only
def test_mosquitto_pub_with_a_token():
    issuer = Issuer("ES256")
    with Broker("tcp", options=options(issuer)) as broker:
        for version in ("mqttv311", "mqttv5"):
            run("mosquitto_pub", *broker.tcp.options(), "-V", version, "-t", "a", "-m", "b",
                "-u", "anybody", "-P", issuer.token())
        done = run("mosquitto_pub", *broker.tcp.options(), "-t", "a", "-m", "b", "-u", "alice",
                   "-P", "guess", check=False)
        assert done.returncode == 4, done.stdout


@noctule_only
@cases(algorithm=("HS256", "EdDSA"))
def test_mqttjs_over_wss_with_a_token(algorithm):
    issuer = Issuer(algorithm)
    harness.node_modules()
    with Broker("wss", options=options(issuer)) as broker:
        def steps(token):
            page = Lines("node", os.path.join(harness.HERE, "token.js"),
                         f"wss://localhost:{broker.wss.port}", token, certificates()["ca"])
            return [json.loads(line) for line in page.finish().splitlines()]
        assert steps(issuer.token(seconds=3)) == [
            {"event": "connected"},
            {"event": "message", "topic": "page/news", "payload": "hello"},
            {"event": "disconnect", "code": MAXIMUM_CONNECT_TIME}]
        assert steps(issuer.token() + "x") == [
            {"event": "refused", "code": BAD_USER_NAME_OR_PASSWORD}]


@noctule_only
def test_token_ends_its_connection_when_it_expires():
    issuer = Issuer("HS256")
    with Broker("tcp", options=options(issuer)) as broker:
        with login(broker, issuer.token(seconds=2)) as client, login(broker, issuer.token()) as other:
            client.ping()
            client.expect_disconnect(MAXIMUM_CONNECT_TIME)
            other.ping()


@noctule_only
def test_claims_of_the_configuration_are_asked_for():
    issuer = Issuer("EdDSA")
    more = ["auth_jwt_issuer https://login.example.org", "auth_jwt_audience mqtt",
            "auth_jwt_username_claim client", "auth_jwt_leeway 30"]
    good = {"iss": "https://login.example.org", "aud": ["web", "mqtt"], "client": "dévice"}
    with Broker("tcp", options=options(issuer, *more)) as broker:
        login(broker, issuer.token(**good)).close()
        broker.wait_log("u'dévice'")
        login(broker, issuer.token(seconds=-10, **good)).close()
        for change in ({"iss": "other"}, {"aud": "web"}, {"client": None}, {"nbf": time.time() + 99}):
            login(broker, issuer.token(**{**good, **change}), BAD_USER_NAME_OR_PASSWORD).close()


@noctule_only
def test_topics_of_the_token_hold_instead_of_the_acl_file():
    issuer = Issuer("EdDSA")
    rules = os.path.join(harness.TEST_DIR, "rules")
    with open(rules, "w", encoding="utf-8") as file:
        file.write("topic readwrite anybody/#\n")
    os.chmod(rules, 0o644)
    topics = {"pub": ["%u/out"], "sub": ["%u/in/#"]}
    with Broker("tcp", options=options(issuer, f"acl_file {rules}")) as broker:
        with login(broker, issuer.token(acl=topics)) as one, \
                login(broker, issuer.token(sub="bob", acl={"all": ["#"]})) as other:
            one.subscribe("#")
            other.subscribe("alice/#")
            one.publish("alice/out", b"1", qos=1)
            assert other.message().payload == b"1"
            for topic in ("bob/out", "alice/in/x", "anybody/x"):
                one.send(wire.publish_packet(topic, b"2", qos=1, pid=99, version=5))
                assert one.wait(wire.PUBACK, 99).reason == 0x87
            other.publish("alice/other", b"3", qos=1)
            other.publish("alice/in/a", b"4", qos=1)
            assert one.message().payload == b"4"
            assert [m.payload for m in other.messages(2)] == [b"3", b"4"]


@noctule_only
def test_new_keys_are_read_and_old_ones_end_their_clients():
    old, new = Issuer("ES256", "old"), Issuer("RS256", "new")
    path = os.path.join(harness.TEST_DIR, "keys.pem")

    def write(*issuers):
        with open(path + ".new", "w", encoding="utf-8") as file:
            for issuer in issuers:
                with open(issuer.path, encoding="utf-8") as key:
                    file.write(key.read())
        os.rename(path + ".new", path)

    def reload(broker):
        seen = broker.log().count("reloaded")
        broker.signal(signal.SIGHUP)
        harness.wait_until(lambda: broker.log().count("reloaded") > seen, "the reload")
    write(old)
    old_path, old.path = old.path, path
    with Broker("tcp", options=options(old)) as broker:
        old.path = old_path
        client = login(broker, old.token())
        login(broker, new.token(), BAD_USER_NAME_OR_PASSWORD).close()
        write(old, new)
        reload(broker)
        client.ping()
        login(broker, old.token()).close()
        fresh = login(broker, new.token())
        with open(path, "a", encoding="utf-8") as file:
            file.write("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
        reload(broker)
        broker.wait_log("must hold public keys or certificates in PEM, and nothing else")
        client.ping()
        write(new)
        reload(broker)
        client.expect_disconnect(ADMINISTRATIVE_ACTION)
        fresh.ping()
        login(broker, old.token(), BAD_USER_NAME_OR_PASSWORD).close()
        fresh.close()


@noctule_only
@cases(how=(signal.SIGKILL, signal.SIGTERM))
def test_topics_of_the_token_hold_over_a_restart(how):
    """For what is queued while its client is away, and for a will that is sent meanwhile: both under
    the token with which the session was begun, though nothing else restricts anybody here."""
    issuer = Issuer("EdDSA")
    topics = {"pub": ["%u/out"], "sub": ["%u/in"]}
    kept = {"clean": False, "props": {"session_expiry_interval": 1000}}
    with Broker("tcp", options=options(issuer)) as broker:
        def client(name, **more):
            one = wire.Client(broker.tcp, 5, name)
            one.connect(password=issuer.token(**more.pop("claims", {})).encode(), **more)
            return one
        watcher = client("watcher", claims={"sub": "bob"}, **kept)
        watcher.subscribe("#", qos=1)
        watcher.close()
        bound = client("bound", claims={"acl": topics}, **kept)
        bound.subscribe("#", qos=1)
        bound.disconnect()
        wills = [client(f"will{number}", claims={"acl": topics}, **kept,
                        will=wire.Will(topic, topic.encode(), 1,
                                       props={"will_delay_interval": 1}))
                 for number, topic in enumerate(("elsewhere", "alice/out"))]
        broker.signal(how)
        broker.wait_exit()
        broker.start()
        with client("writer", claims={"sub": "bob"}) as writer:
            for topic in ("secret", "alice/in", "end"):
                writer.publish(topic, topic, qos=1)
        watcher = client("watcher", claims={"sub": "bob"}, **kept)
        seen = sorted(message.payload for message in watcher.messages(4))
        assert seen == [b"alice/in", b"alice/out", b"end", b"secret"], seen
        broker.wait_log("The will of will0 is not sent")
        watcher.expect_nothing()
        # with the same token, and with one that allows more: what was not for it is gone
        for claims in ({"acl": topics}, {"acl": {"all": ["#"]}}):
            bound = client("bound", claims=claims, **kept)
            if claims["acl"] is topics:
                assert bound.message().payload == b"alice/in"
            bound.expect_nothing()
            bound.close()
        watcher.close()
        for one in wills:
            one.close()
