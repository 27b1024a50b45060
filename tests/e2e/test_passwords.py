# SPDX-License-Identifier: MIT
"""Password files as mosquitto's clients and its mosquitto_passwd use them."""

import os
import signal

import harness
import wire
from harness import Broker, cases, have, noctule_only, run, wait_until

BAD_USER_NAME_OR_PASSWORD = 0x86
NOT_AUTHORIZED = 0x87
ADMINISTRATIVE_ACTION = 0x98


def passwd(*arguments):
    """mosquitto_passwd, which comes with mosquitto itself; else ours, with what it makes."""
    if have("mosquitto_passwd"):
        run("mosquitto_passwd", *arguments)
    else:
        run(harness.NOCTULE, "passwd", "-H", "sha512-pbkdf2", *arguments)


def password_file(*users, name="passwords", kind=None):
    """A file of pairs of user and password, made by mosquitto_passwd where there is one; its path."""
    path = os.path.join(harness.TEST_DIR, name)
    choice = ["-H", kind] if kind else []
    open(path, "w", encoding="utf-8").close()
    for user, password in users:
        passwd(*choice, "-b", path, user, password)
    os.chmod(path, 0o644)  # a broker started as root drops to another user
    return path


def options(path, *more):
    return "\n".join(["allow_anonymous false", f"password_file {path}", *more]) + "\n"


def publish(broker, *arguments):
    return run("mosquitto_pub", *broker.tcp.options(), "-t", "a", "-m", "b", *arguments,
               check=False)


@cases(kind=("sha512", "sha512-pbkdf2"))
def test_mosquitto_pub_with_a_file_of_mosquitto_passwd(kind):
    harness.need("mosquitto_passwd")
    path = password_file(("alice", "wonderland"), ("bob", "über: all"), kind=kind)
    with Broker("tcp", options=options(path)) as broker:
        assert publish(broker, "-u", "alice", "-P", "wonderland").returncode == 0
        assert publish(broker, "-u", "alice", "-P", "wonderland", "-V", "mqttv5").returncode == 0
        assert publish(broker, "-u", "bob", "-P", "über: all").returncode == 0
        for wrong in (["-u", "alice", "-P", "Wonderland"], ["-u", "alice", "-P", ""],
                      ["-u", "alice"], ["-u", "carol", "-P", "wonderland"],
                      ["-u", "", "-P", "wonderland"]):
            done = publish(broker, *wrong)
            assert done.returncode == 4, (wrong, done.returncode, done.stdout)
            assert "bad user name or password" in done.stdout
            assert publish(broker, *wrong, "-V", "mqttv5").returncode == 134
        nobody = publish(broker)
        assert nobody.returncode == 5 and "not authorised" in nobody.stdout, nobody.stdout
        assert publish(broker, "-V", "mqttv5").returncode == 135


@noctule_only
@cases(version=(4, 5))
def test_packets_behind_connect_wait_for_the_password(version):
    path = password_file(("alice", "a"))
    with Broker("tcp", options=options(path)) as broker:
        with wire.Client(broker.tcp, version, "c") as client:
            client.send(wire.connect_packet("c", version, username="alice", password=b"a") +
                        wire.subscribe_packet(7, [("f", 0)], version) + b"\xc0\0")
            assert client.wait(wire.CONNACK).reason == 0
            assert client.wait(wire.SUBACK).pid == 7
            client.wait(wire.PINGRESP)


def login(broker, user, password, version=5, client_id=""):
    client = wire.Client(broker.tcp, version, client_id)
    client.connect(username=user, password=password.encode())
    return client


def refused(broker, user, password, reason=BAD_USER_NAME_OR_PASSWORD):
    with wire.Client(broker.tcp, 5, "r") as client:
        client.connect(reason, username=user, password=password.encode())
        client.expect_closed()


@noctule_only
def test_reload_ends_who_has_gone_and_keeps_the_others():
    path = password_file(("alice", "a"), ("bob", "b"), ("carol", "c"))
    with Broker("tcp", options=options(path), workers=2) as broker:
        alice, bob, carol = (login(broker, *who) for who in
                             (("alice", "a"), ("bob", "b"), ("carol", "c")))
        passwd("-D", path, "bob")
        passwd("-b", path, "carol", "new")
        passwd("-b", path, "dave", "d")
        os.chmod(path, 0o644)
        broker.signal(signal.SIGHUP)
        bob.expect_disconnect(ADMINISTRATIVE_ACTION)
        carol.expect_disconnect(ADMINISTRATIVE_ACTION)
        alice.ping()
        refused(broker, "bob", "b")
        refused(broker, "carol", "c")
        login(broker, "carol", "new").close()
        login(broker, "dave", "d").close()
        alice.ping()
        alice.close()


@noctule_only
def test_reload_of_a_bad_file_keeps_the_old_one_and_says_where():
    path = password_file(("alice", "a"))
    with Broker("tcp", options=options(path)) as broker:
        alice = login(broker, "alice", "a")
        with open(path, "a", encoding="utf-8") as file:
            file.write("bob:secret\n")
        broker.signal(signal.SIGHUP)
        broker.wait_log(f"{path}:2: the password of \"bob\" is not hashed; to hash all of them, "
                        f"run: noctule passwd -U {path}")
        broker.wait_log("The configuration was not reloaded, the old one stays in use")
        alice.ping()
        login(broker, "alice", "a").close()
        refused(broker, "bob", "secret")
        os.unlink(path)
        broker.signal(signal.SIGHUP)
        broker.wait_log(r"No such file or directory")
        alice.ping()
        alice.close()


@noctule_only
def test_start_with_a_bad_file_fails_and_says_where():
    path = password_file(("alice", "a"))
    with open(path, "a", encoding="utf-8") as file:
        file.write("\nbob:secret\n")
    broker = Broker("tcp", options=options(path))
    done = run(harness.NOCTULE, "-c", broker.config_path, check=False)
    assert done.returncode == 2
    assert f"{path}:3: the password of \"bob\" is not hashed" in done.stdout, done.stdout


@noctule_only
def test_per_listener_password_files():
    one, two = password_file(("one", "1"), name="one"), password_file(("two", "2"), name="two")
    with Broker("tcp", "ws", options="per_listener_settings true\n# allow_anonymous") as broker:
        text = broker.config.replace("protocol websockets", f"protocol websockets\npassword_file {two}")
        broker.stop()
        broker.write_config(text.replace("127.0.0.1\nlistener", f"127.0.0.1\npassword_file {one}\nlistener", 1))
        broker.start()
        for address, good, bad in ((broker.tcp, "one", "two"), (broker.ws, "two", "one")):
            with wire.Client(address, 5, "g") as client:
                client.connect(username=good, password=b"1" if good == "one" else b"2")
            with wire.Client(address, 5, "b") as client:
                client.connect(BAD_USER_NAME_OR_PASSWORD, username=bad,
                               password=b"1" if bad == "one" else b"2")


@noctule_only
def test_reload_under_load_drops_nobody():
    """Clients log in, publish and stay while the file is rewritten and read again and again."""
    users = [(f"user{n}", f"password {n}") for n in range(8)]
    path = password_file(*users)
    with Broker("tcp", options=options(path), workers=2) as broker:
        stay = [login(broker, *who) for who in users]
        for client in stay:
            client.subscribe("load")
        for number in range(20):
            passwd("-b", path, "other", str(number))
            os.chmod(path, 0o644)
            broker.signal(signal.SIGHUP)
            with login(broker, *users[number % len(users)]) as passer:
                passer.publish("load", b"%d" % number, qos=1)
        for client in stay:
            assert [m.payload for m in client.messages(20)] == [b"%d" % n for n in range(20)]
            client.close()


@noctule_only
@harness.limit(120)
def test_refused_connections_leak_nothing():
    """Ten thousand wrong passwords later there are as many descriptors as before."""
    path = password_file(("alice", "a"), kind="sha512")
    count = int(10000 * harness.SCALE)
    with Broker("tcp", options=options(path, "connection_messages false", "log_type error"),
                workers=2) as broker:
        refused(broker, "alice", "x")
        before, memory = broker.descriptors(), broker.memory()
        for number in range(count):
            with wire.Client(broker.tcp, 5, "r") as client:
                client.connect(BAD_USER_NAME_OR_PASSWORD, username=f"u{number % 7}", password=b"x")
        wait_until(lambda: broker.descriptors() <= before, "descriptors to be closed")
        assert harness.SANITIZED or broker.memory() < memory + (8 << 20)
        login(broker, "alice", "a").close()
