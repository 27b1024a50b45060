# SPDX-License-Identifier: MIT
"""acl_file: what mosquitto's files mean here, beside mosquitto itself, and what a reload changes."""

import os
import re
import shutil
import signal
import threading

import harness
import wire
from harness import (IS_MOSQUITTO, NOCTULE, Broker, Skip, cases, free_port, noctule_only, run,
                     wait_until)
from test_mosquitto import publish, received, subscribe

NOT_AUTHORIZED = 0x87

RULES = """\
# clients without a name
topic read public/#

user ann
topic readwrite house/#
topic deny house/safe
user bob
topic read house/+
topic write orders

pattern readwrite own/%u/%c/#
"""


def write_rules(text, name="acl"):
    path = os.path.join(harness.TEST_DIR, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o644)
    return path


def guarded(text, *listeners, options="", **more):
    return Broker(*(listeners or ("tcp",)), options=f"acl_file {write_rules(text)}\n{options}",
                  **more)


def connect(broker, user=None, client_id=None, version=5, address=None):
    return wire.connected(address or broker.addresses[0], client_id or f"{user}-{version}", version,
                          username=user)


# ---- real clients ----

@cases(version=("mqttv31", "mqttv311", "mqttv5"))
def test_mosquitto_clients_get_what_the_file_says(version):
    with guarded(RULES) as broker:
        ann = subscribe(broker.tcp, "-V", version, "-u", "ann", "-t", "#", "-C", "2", "-q", "1")
        bob = subscribe(broker.tcp, "-V", version, "-u", "bob", "-t", "#", "-C", "1", "-q", "1")
        options = ["-V", version, "-q", "1"]
        publish(broker.tcp, *options, "-u", "bob", "-t", "orders", "-m", "nobody may read it")
        if version == "mqttv5":
            done = run("mosquitto_pub", *broker.tcp.options(), *options, "-u", "bob", "-t",
                       "house/hall", "-m", "not by bob", check=False)
            assert "Not authorized" in done.stdout, done.stdout
        else:
            publish(broker.tcp, *options, "-u", "bob", "-t", "house/hall", "-m", "not by bob")
        publish(broker.tcp, *options, "-u", "ann", "-t", "house/safe", "-m", "no")
        publish(broker.tcp, *options, "-u", "ann", "-i", "x", "-t", "own/ann/x", "-m", "own")
        publish(broker.tcp, *options, "-u", "ann", "-t", "house/a/b", "-m", "for ann")
        publish(broker.tcp, *options, "-u", "ann", "-t", "house/hall", "-m", "for both")
        assert received(ann.finish()) == ["house/a/b 1 0 for ann", "house/hall 1 0 for both"]
        assert received(bob.finish()) == ["house/hall 1 0 for both"]


@noctule_only
@cases(version=(3, 4, 5), qos=(0, 1, 2))
def test_refused_publish_is_answered_as_the_version_can(version, qos):
    """0x87 for version 5; acknowledged and dropped for version 3; the connection goes on."""
    with guarded(RULES) as broker, connect(broker, "ann") as ann:
        ann.subscribe("#")
        with connect(broker, "bob", version=version) as bob:
            answer = bob.publish("house/hall", "no", qos=qos)
            if qos:
                assert answer.reason == (NOT_AUTHORIZED if version == 5 else 0), answer
            bob.publish("orders", "yes", qos=qos)
            bob.ping()
        ann.expect_nothing()
        log = broker.log()
        assert len(re.findall(r"user bob may not publish to house/hall", log)) == 1, log


@noctule_only
def test_refused_publishes_are_counted():
    with guarded(RULES + "user watcher\ntopic read $SYS/#\n", options="sys_interval 1\n") as broker:
        watcher = connect(broker, "watcher")
        with connect(broker, "bob") as bob:
            for _ in range(3):
                bob.publish("house/hall", "no", qos=1)
        watcher.subscribe("$SYS/broker/publish/messages/dropped/not authorised")
        wait_until(lambda: watcher.message().payload == b"3", "a count of 3")
        watcher.close()


@noctule_only
@cases(version=(4, 5))
def test_subscription_to_what_is_not_allowed(version):
    """Granted as in mosquitto; with acl_subscribe_check refused, where no topic is allowed."""
    for check in ("false", "true"):
        with guarded(RULES, options=f"acl_subscribe_check {check}\n") as broker:
            with connect(broker, "bob", version=version) as bob:
                pid = bob.new_pid()
                filters = [(f, 1) for f in ("orders", "house/+", "#", "own/ann/#")]
                bob.send(wire.subscribe_packet(pid, filters, version))
                refused = 1 if check == "false" else NOT_AUTHORIZED if version == 5 else 0x80
                assert bob.wait(wire.SUBACK, pid).reasons == [refused, 1, 1, refused]


@noctule_only
def test_listeners_have_rules_of_their_own():
    first, second = write_rules("topic a\n", "acl-1"), write_rules("topic b\n", "acl-2")
    options = "per_listener_settings true\n"
    with Broker("tcp", "ws", "unix", options=options) as broker:
        text = broker.config.replace("allow_anonymous true\n", "", 1)
        ports = [f"listener {broker.tcp.port} 127.0.0.1", "protocol websockets",
                 f"listener 0 {broker.unix.path}"]
        for place, rules in zip(ports, (f"acl_file {first}\n", f"acl_file {second}\n", "")):
            text = text.replace(place, f"{place}\n{rules}allow_anonymous true")
        broker.stop()
        broker.write_config(text)
        broker.start()
        for address, allowed in ((broker.tcp, "a"), (broker.ws, "b"), (broker.unix, "ab")):
            with connect(broker, address=address, client_id="c") as client:
                reasons = [client.publish(topic, "x", qos=1).reason for topic in ("a", "b")]
                assert [r == NOT_AUTHORIZED for r in reasons] == [t not in allowed for t in "ab"]


@noctule_only
@cases(line=("plugin", "global_plugin", "auth_plugin"))
def test_mosquittos_plugin_for_the_file_is_built_in(line):
    path = write_rules(RULES)
    option = "auth_opt_acl_file" if line == "auth_plugin" else "plugin_opt_acl_file"
    options = f"{line} /usr/lib/mosquitto/mosquitto_acl_file.so\n{option} {path}\n"
    with Broker("tcp", options=options) as broker, connect(broker, "bob") as bob:
        assert bob.publish("house/hall", "x", qos=1).reason == NOT_AUTHORIZED


@noctule_only
def test_other_plugins_are_an_error_that_says_so():
    path = os.path.join(harness.TEST_DIR, "plugin.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"listener {free_port()} 127.0.0.1\nplugin /usr/lib/mosquitto_dynamic_security.so\n")
    done = run(NOCTULE, "-c", path, check=False)
    assert done.returncode == 2, done
    assert f"{path}:2: plugin: /usr/lib/mosquitto_dynamic_security.so cannot be used" in done.stdout


# ---- a reload ----

@noctule_only
def test_reload_holds_for_connected_clients_and_a_bad_file_changes_nothing():
    with guarded(RULES, workers=2) as broker:
        path = os.path.join(harness.TEST_DIR, "acl")
        ann, bob = connect(broker, "ann"), connect(broker, "bob")
        bob.subscribe("house/#", qos=1)
        ann.publish("house/hall", "1", qos=1)
        assert bob.message().payload == b"1"

        write_rules("topik a\nuser bob\ntopic read house/#\ntopic reed house/+\n")
        broker.signal(signal.SIGHUP)
        broker.wait_log(re.escape(path) + r":1: \"topik\" is not topic, user or pattern")
        broker.wait_log(re.escape(path) + r":4: \"reed\" is not read")
        broker.wait_log("not reloaded, the old one stays in use")
        ann.publish("house/hall", "2", qos=1)
        assert bob.message().payload == b"2"

        write_rules("user ann\ntopic #\nuser bob\ntopic read house/cellar\n")
        broker.signal(signal.SIGHUP)
        broker.wait_log("Configuration reloaded")
        ann.publish("house/hall", "3", qos=1)
        ann.publish("house/cellar", "4", qos=1)
        assert bob.message().payload == b"4"
        assert bob.publish("orders", "x", qos=1).reason == NOT_AUTHORIZED
        bob.close()
        ann.close()


@noctule_only
@harness.limit(60)
def test_reload_under_load_drops_nobody():
    """Rules change again and again beneath a stream of messages that all of them allow."""
    rules = ["user p\ntopic write a/#\nuser s\ntopic read a/#\n",
             "user p\ntopic a/#\nuser s\ntopic #\ntopic deny b\n",
             "pattern write a/+\npattern read a/+\n"]
    count = int(3000 * harness.SCALE)
    with guarded(rules[0], options="max_queued_messages 0\n", workers=2) as broker:
        readers = [connect(broker, "s", f"s{n}", 5) for n in range(4)]
        for number, reader in enumerate(readers):
            reader.subscribe("a/+" if number % 2 else "#", qos=1)
        failures = []

        def stream():
            with connect(broker, "p", "p") as client:
                for number in range(count):
                    if client.publish(f"a/{number % 7}", str(number), qos=1).reason:
                        failures.append(number)
        publisher = threading.Thread(target=stream)
        publisher.start()
        reloads = 0
        while publisher.is_alive():
            reloads += 1
            write_rules(rules[reloads % 3])
            broker.signal(signal.SIGHUP)
            wait_until(lambda: broker.log().count("Configuration reloaded") >= reloads, "a reload")
        publisher.join()
        assert not failures and reloads > 2, (failures, reloads)
        for reader in readers:
            got = [int(reader.message().payload) for _ in range(count)]
            assert got == list(range(count))
            reader.close()


# ---- beside mosquitto ----

FILES = {
    "the usual": RULES,
    "deny anywhere": "user ann\ntopic house/#\ntopic deny house/safe/#\ntopic write house/safe/x\n"
                     "topic deny +/b\n",
    "parts in several places": "topic a\nuser ann\ntopic read b\nuser bob\ntopic a\nuser ann\n"
                               "topic write b\ntopic   read   with  blanks \n",
    "patterns": "pattern read c/%c\npattern write u/%u\npattern deny u/bob\npattern %u-%c/#\n"
                "user bob\ntopic u/bob\n",
    "names with slashes": "pattern readwrite u/%u/#\nuser a/b\ntopic deny u/a/b/c\n",
    "wildcards for names": "user +\ntopic own\npattern u/%u\npattern all/#\n",
    "dollars": "topic #\nuser ann\ntopic $x/#\ntopic +/hall\nuser bob\ntopic +/+\npattern $x/%u\n",
    "only deny": "user ann\ntopic deny a\nuser bob\ntopic deny #\npattern readwrite #\n",
    "nothing": "# empty\n",
    "words for topics": "topic read\nuser ann\ntopic readwrite deny\nuser bob\ntopic deny\n",
    "no words": "user ann\ntopic a/+/c\ntopic #\nuser bob\ntopic +\n",
    "wildcards at the end": "user ann\ntopic house/#\nuser bob\ntopic house/+/#\ntopic /\n",
}
CLIENTS = [(None, "id"), ("ann", "id"), ("bob", "id"), ("a/b", "id"), ("+", "id"), ("ann", "x+y"),
           ("bob", "bob")]
TOPICS = ["a", "b", "own", "all/x", "house", "house/hall", "house/safe", "house/safe/x", "house/b",
          "orders", "public/x", "c/id", "u/ann", "u/bob", "u/a/b", "u/a/b/c", "u/+", "ann-id/x",
          "bob-bob", "own/ann/id/x", "own/bob/bob", "with  blanks", "read", "deny", "$x/hall",
          "$x/ann", "/", "/hall", "a/b/c"]


def answers(broker):
    """What each client may publish, and what it gets of all that is published, as sets of topics."""
    table = {}
    topics = [topic for topic in TOPICS if "+" not in topic]
    with connect(broker, "root") as root:
        for user, client_id in CLIENTS:
            with connect(broker, user, client_id) as client:
                written = [t for t in topics if not client.publish(t, "w", qos=1).reason & 0x80]
                client.subscribe("#", "$x/#")
                for topic in topics:
                    root.publish(topic, "r", qos=1)
                client.ping()
                read = [packet.topic for packet in client.inbox if packet.kind == wire.PUBLISH]
                table[user, client_id] = written, read
    return table


@cases(name=tuple(FILES))
def test_every_answer_is_mosquittos(name):
    mosquitto = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    if not os.access(mosquitto, os.X_OK) or IS_MOSQUITTO:
        raise Skip("there is no mosquitto to compare with")
    rules = FILES[name] + "user root\ntopic #\ntopic $x/#\n"
    with guarded(rules, workers=1) as ours, guarded(rules, "tcp", program=mosquitto) as theirs:
        here, there = answers(ours), answers(theirs)
        assert name == "nothing" or any(write and read for write, read in there.values())
        for client, expected in there.items():
            assert here[client] == expected, (client, here[client], expected)


# ---- a restart ----

@noctule_only
@cases(how=("same", "stricter"), workers=(1, 2))
def test_sessions_keep_their_owner_over_a_restart(how, workers):
    """What comes for a session while its client is away is for the user that it belongs to, also
    when the broker has been started since; and what waits is looked at again under new rules."""
    rules = "user ann\ntopic #\nuser bob\ntopic read house/+\n"
    with guarded(rules, workers=workers) as broker:
        with wire.connected(broker.tcp, "bob", clean=False, username="bob") as bob:
            bob.subscribe("#", "house/hall", "$share/g/+/+", qos=1)
        broker.stop()
        if how == "stricter":
            write_rules("user ann\ntopic #\nuser bob\ntopic read house/hall\n")
        broker.start()
        with connect(broker, "ann") as ann:
            for topic in ("house/hall", "secret", "house/cellar", "house/a/b"):
                ann.publish(topic, topic, qos=1)
        broker.stop()
        write_rules("user ann\ntopic #\nuser bob\ntopic read house/cellar\n" if how == "stricter"
                    else rules)
        broker.start()
        with wire.Client(broker.tcp, client_id="bob") as bob:
            assert bob.connect(clean=False, username="bob").session_present
            shared = ["house/cellar", "house/hall"]  # of the group, which waits for its member
            expected = ["house/cellar"] if how == "stricter" else sorted(shared * 2)
            # What waits is read from the disk, so a PINGRESP may come before it.
            got = sorted(message.topic for message in bob.messages(len(expected)))
            assert got == expected, got
            with connect(broker, "ann") as ann:
                ann.publish("secret", "x", qos=1)
            bob.ping()
            assert not any(packet.kind == wire.PUBLISH for packet in bob.inbox), bob.inbox


@noctule_only
@cases(workers=(1, 2))
def test_retained_message_goes_with_its_authors_right_after_a_restart(workers):
    """Who has published a retained message is stored with it: under rules that no longer let him, nobody gets it."""
    rules = "user ann\ntopic #\nuser bob\ntopic #\nuser eve\ntopic read #\n"
    with guarded(rules, workers=workers) as broker:
        for user in ("ann", "bob"):
            with connect(broker, user) as client:
                client.publish(f"from/{user}", "x", qos=1, retain=True)
        broker.stop()
        write_rules(rules.replace("user bob\ntopic #", "user bob\ntopic read #"))
        broker.start()
        with connect(broker, "eve") as eve:
            eve.subscribe("from/#")
            assert [message.topic for message in eve.messages(1)] == ["from/ann"]
            eve.ping()
            assert not any(packet.kind == wire.PUBLISH for packet in eve.inbox), eve.inbox
