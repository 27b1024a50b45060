# SPDX-License-Identifier: MIT
"""Where the store is, who may use it, and that what was acknowledged is there after SIGTERM and after kill -9."""

import json
import os
import re
import resource
import signal

import harness
import wire
from harness import NOCTULE, Broker, cases, noctule_only


@noctule_only
@cases(how=["stop", "kill"], workers=[1, 2])
def test_acknowledged_is_there_after_a_restart(how, workers):
    """[MQTT5-4.1.0-1]: the session with its subscription and messages, in order, and what is retained."""
    with Broker("tcp", workers=workers) as broker:
        with wire.connected(broker.tcp, "sleeper", clean=False) as sleeper:
            sleeper.subscribe("a/#", qos=2)
        with wire.connected(broker.tcp, "publisher") as publisher:
            publisher.publish("kept", "value", qos=1, retain=True)
            for number in range(20):
                publisher.publish("a/b", str(number), qos=1 + number % 2)
        broker.end(how)
        broker.start()
        with wire.Client(broker.tcp, client_id="sleeper") as sleeper:
            assert sleeper.connect(clean=False).session_present
            got = [sleeper.message() for _ in range(20)]
            assert [int(m.payload) for m in got] == list(range(20))
            assert [m.qos for m in got] == [1 + number % 2 for number in range(20)]
            sleeper.subscribe("kept", qos=1)
            assert sleeper.message().payload == b"value"


@noctule_only
@cases(how=["stop", "kill"], workers=[1, 2])
def test_wills_and_groups_are_there_after_a_restart(how, workers):
    """[MQTT5-3.1.2-8]: a will of a client that was connected is sent; and what a group's members had not done."""
    with Broker("tcp", workers=workers) as broker:
        with wire.connected(broker.tcp, "sleeper", clean=False) as sleeper:
            sleeper.subscribe("gone/#", qos=1)
        with wire.connected(broker.tcp, "member", clean=False) as member:
            member.subscribe("$share/group/work/#", qos=1)
        with wire.connected(broker.tcp, "publisher") as publisher:
            for number in range(5):
                publisher.publish("work/now", str(number), qos=1)
        device = wire.connected(broker.tcp, "device", clean=False,
                                will=wire.Will("gone/device", "yes", qos=1))
        broker.end(how)
        device.close()
        broker.start()
        with wire.Client(broker.tcp, client_id="sleeper") as sleeper:
            assert sleeper.connect(clean=False).session_present
            assert sleeper.message().payload == b"yes"
            sleeper.expect_nothing()
        with wire.Client(broker.tcp, client_id="member") as member:
            assert member.connect(clean=False).session_present
            assert [int(member.message().payload) for _ in range(5)] == list(range(5))


def needs_root():
    if os.geteuid() != 0:
        raise harness.Skip("only root may become another user, or mount")


def start_fails(options, why):
    broker = Broker("tcp", options=options)
    try:
        broker.start()  # its listener may answer before the store is opened
    except AssertionError:
        pass
    try:
        assert broker.wait_exit() == 1
    finally:
        broker.process.kill()
    assert re.search(why, broker.log()), broker.log()


@noctule_only
def test_persistence_location_is_used_and_named():
    folder = os.path.join(harness.TEST_DIR, "here")
    with Broker("tcp", options=f"persistence_location {folder}") as broker:
        broker.wait_log(f"storing in {folder}\n")
        assert os.path.exists(os.path.join(folder, "data.mdb"))


@noctule_only
def test_folder_of_the_supervisor_comes_first():
    """Of several that systemd names the first one."""
    named = os.path.join(harness.TEST_DIR, "named")
    with Broker("tcp", environment={"STATE_DIRECTORY": f"{named}:/nonexistent"}) as broker:
        broker.wait_log(f"storing in {named}\n")


def with_own_var_lib(command):
    """The command in front of a broker that has a /var/lib of its own, so that the machine's stays as it is."""
    needs_root()
    own = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs -o mode=755 none /var/lib && exec {command} "$@"', "sh"]
    if harness.run(*own, "true", check=False).returncode != 0:
        raise harness.Skip("mounting is not allowed here")
    return own


@noctule_only
def test_folder_of_the_system_comes_second():
    environment = {"STATE_DIRECTORY": "", "XDG_STATE_HOME": "/nonexistent"}
    with Broker("tcp", environment=environment, wrapper=with_own_var_lib("")) as broker:
        broker.wait_log("storing in /var/lib/noctule\n")


@noctule_only
@cases(variable=["XDG_STATE_HOME", "HOME"])
def test_folder_of_the_user_comes_last(variable):
    """Of one who may not write in /var/lib."""
    own = os.path.join(harness.TEST_DIR, "own")
    os.mkdir(own)
    os.chmod(own, 0o777)
    environment = {"STATE_DIRECTORY": "", "XDG_STATE_HOME": "", variable: own}
    nobody = with_own_var_lib("setpriv --reuid=65534 --regid=65534 --clear-groups")
    with Broker("tcp", environment=environment, wrapper=nobody) as broker:
        below = "noctule" if variable == "XDG_STATE_HOME" else ".local/state/noctule"
        broker.wait_log(f"storing in {own}/{below}\n")


@noctule_only
def test_autosave_options_are_accepted_and_said_to_be_unnecessary():
    with Broker("tcp", options="autosave_interval 60\nautosave_on_changes true") as broker:
        for key in ("autosave_interval", "autosave_on_changes"):
            broker.wait_log(f"{key} is ignored: it is unnecessary: what is acknowledged is stored already")


@noctule_only
def test_two_brokers_do_not_share_a_folder():
    folder = os.path.join(harness.TEST_DIR, "here")
    with Broker("tcp", options=f"persistence_location {folder}") as broker:
        broker.wait_log("storing in")
        start_fails(f"persistence_location {folder}", "another broker uses it")
        with wire.connected(broker.tcp) as client:
            client.publish("a", "x", qos=1)


@noctule_only
def test_folder_that_cannot_be_written_is_refused():
    start_fails("persistence_location /proc/noctule", "the folder of the store cannot be made: /proc/noctule")


@noctule_only
def test_folder_on_a_disk_that_is_only_read_is_refused():
    needs_root()
    folder = os.path.join(harness.TEST_DIR, "read")
    os.mkdir(folder)
    if harness.run("mount", "-t", "tmpfs", "-o", "ro", "none", folder, check=False).returncode != 0:
        raise harness.Skip("mounting is not allowed here")
    try:
        start_fails(f"persistence_location {folder}", f"the store .*{folder}.*: Read-only file system")
    finally:
        harness.run("umount", folder)


@noctule_only
def test_interval_acknowledges_at_once_and_what_was_written_is_there_after_a_crash():
    options = "durability interval 200\nsys_interval 1"
    with Broker("tcp", options=options) as broker:
        with wire.connected(broker.tcp, "sleeper", clean=False) as sleeper:
            sleeper.subscribe("a", qos=2)
        observer = wire.connected(broker.tcp, "observer")
        observer.subscribe("$SYS/broker/store/messages/written")
        with wire.connected(broker.tcp, "publisher", clean=False) as publisher:
            for number in range(10):
                publisher.publish("a", str(number), qos=1 + number % 2)
        while int(observer.message().payload) < 10:
            pass
        broker.end("kill")
        broker.start()
        with wire.Client(broker.tcp, client_id="sleeper") as sleeper:
            assert sleeper.connect(clean=False).session_present
            assert [int(sleeper.message().payload) for _ in range(10)] == list(range(10))


@noctule_only
def test_persistence_false_forgets_and_says_so():
    with Broker("tcp", options="persistence false") as broker:
        broker.wait_log("a restart forgets everything")
        with wire.connected(broker.tcp) as publisher:
            publisher.publish("kept", "value", qos=1, retain=True)
        broker.stop()
        broker.start()
        with wire.connected(broker.tcp) as reader:
            reader.subscribe("kept", qos=1)
            reader.expect_nothing()
        assert not os.path.exists(broker.store_path)


@noctule_only
def test_sigusr1_says_that_there_is_nothing_to_save():
    with Broker("tcp") as broker:
        broker.signal(signal.SIGUSR1)
        broker.wait_log("it is on disk already")


@noctule_only
def test_sys_says_how_the_store_is():
    with Broker("tcp", options="sys_interval 1") as broker:
        with wire.connected(broker.tcp, "sleeper", clean=False) as sleeper:
            sleeper.subscribe("a", qos=1)
        with wire.connected(broker.tcp) as client:
            client.publish("a", "x", qos=1)
            client.subscribe("$SYS/broker/store/#")
            values = {}
            while int(values.get("messages/written", 0)) < 1 or int(values.get("bytes/written/day", 0)) < 4096:
                message = client.message()
                values[message.topic.removeprefix("$SYS/broker/store/")] = message.payload.decode()
            assert values["state"] == "writes"
            assert int(values["commits"]) >= 1


@noctule_only
def test_full_disk_holds_acknowledgements_back_and_goes_on():
    """The disk is full: no file may grow beyond a size that is taken back later."""
    options = "store_full_timeout 1\nuser root"  # a limit of another user's process may not be changed
    with Broker("tcp", options=options) as broker:
        with wire.connected(broker.tcp, "sleeper", clean=False) as sleeper:
            sleeper.subscribe("a", qos=1)
        pid = broker.process.pid
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        with wire.connected(broker.tcp, "publisher", version=5) as publisher:
            publisher.send(wire.publish_packet("a", "refused", qos=1, pid=1, version=5))
            broker.wait_log("cannot be written .*: acknowledgements wait")
            assert publisher.wait(wire.PUBACK, 1, seconds=20).reason == 0x97
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            broker.wait_log("The store writes again")
            publisher.publish("a", "stored", qos=1)
        broker.end("kill")
        broker.start()
        with wire.Client(broker.tcp, client_id="sleeper") as sleeper:
            sleeper.connect(clean=False)
            assert sleeper.message().payload == b"stored"


@noctule_only
def test_store_command_beside_a_running_broker():
    """check, dump and backup while it runs; the backup and an import of the export are stores like it."""
    with Broker("tcp") as broker:
        with wire.connected(broker.tcp, "sleeper", clean=False) as sleeper:
            sleeper.subscribe("a", qos=1)
        with wire.connected(broker.tcp) as client:
            client.publish("a", "waits", qos=1)
            client.publish("kept", "value", qos=1, retain=True)
        store = broker.store_path
        assert "is whole" in harness.run(NOCTULE, "store", "check", store).stdout
        lines = [json.loads(line) for line in harness.run(NOCTULE, "store", "dump", store).stdout.splitlines()]
        assert {"store", "session", "subscription", "message", "retained"} == {line["kind"] for line in lines}
        assert [line["payload"] for line in lines if line["kind"] in ("message", "retained")] == ["waits", "value"]
        backup, export, moved = (os.path.join(harness.TEST_DIR, name) for name in ("backup", "export", "moved"))
        harness.run(NOCTULE, "store", "backup", store, backup)
        harness.run(NOCTULE, "store", "export", store, export)
        assert harness.run(NOCTULE, "store", "import", store, export, check=False).returncode == 1
    harness.run(NOCTULE, "store", "import", moved, export)
    for folder in (backup, moved):
        with Broker("tcp", options=f"persistence_location {folder}\nuser root") as broker:
            with wire.Client(broker.tcp, client_id="sleeper") as sleeper:
                assert sleeper.connect(clean=False).session_present
                assert sleeper.message().payload == b"waits"
                sleeper.subscribe("kept", qos=1)
                assert sleeper.message().payload == b"value"


@noctule_only
def test_store_command_says_what_is_wrong():
    for arguments, code, text in ((["check", "/nonexistent"], 1, "there is no store"), (["check"], 2, "Usage"),
                                  (["--help"], 0, "Usage"), (["dump", "/proc"], 1, "noctule store: /proc")):
        done = harness.run(NOCTULE, "store", *arguments, check=False)
        assert done.returncode == code and text in done.stdout, done.stdout


@noctule_only
def test_messages_that_the_store_let_go_are_not_counted_any_more():
    """The store's thread is the last to drop them. So few for each client that all are in memory."""
    names = [f"away-{number}" for number in range(100)]
    with Broker("tcp", options="sys_interval 1") as broker:
        for name in names:
            with wire.connected(broker.tcp, name, clean=False) as away:
                away.subscribe("for/" + name, qos=1)
        with wire.connected(broker.tcp, "publisher") as publisher:
            for number in range(1000):
                publisher.publish("for/" + names[number % len(names)], str(number), qos=1)
        with wire.connected(broker.tcp, "observer") as observer:
            observer.subscribe("$SYS/broker/store/messages/count")
            while int(observer.message().payload) < 1000:
                pass
            for name in names:
                with wire.connected(broker.tcp, name, clean=False) as away:
                    away.messages(1000 // len(names))
                    away.ping()
            while int(observer.message().payload) > 200:  # what $SYS itself retains is below
                pass
