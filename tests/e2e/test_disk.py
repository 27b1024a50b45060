# SPDX-License-Identifier: MIT
"""What clients see of a disk that is full, fails or stands still: nothing is acknowledged that is not stored,
reading and delivering go on, and when the disk works again so does everything else."""

import contextlib
import os
import selectors
import signal
import socket
import subprocess

import harness
import wire
from harness import Broker, cases, limit, noctule_only

WRITES, WAITS, REFUSES = "writes", "waits for the disk", "refuses: the disk is full or fails"


# ---- disks


class Disk:
    """A broker whose store is on a disk that obeys: "works", "eio", "full" or "stands still"."""

    def __init__(self):
        harness.need("cc")
        if harness.SANITIZED:
            raise harness.Skip("a sanitizer's library must be loaded before ours that is the disk")
        self.path = os.path.join(harness.TEST_DIR, "disk")
        library = os.path.join(harness.TEST_DIR, "fake_disk.so")
        harness.run("cc", "-shared", "-fPIC", "-I", harness.ROOT, "-o", library,
                    os.path.join(harness.HERE, "fake_disk.c"), "-ldl")
        self.environment = {"LD_PRELOAD": library, "DISK_CONTROL": self.path}
        self.becomes("works")

    def becomes(self, what):
        with open(self.path + ".new", "w", encoding="ascii") as file:
            file.write({"works": "w", "eio": "e", "full": "f", "stands still": "s"}[what])
        os.chmod(self.path + ".new", 0o644)
        os.rename(self.path + ".new", self.path)


@contextlib.contextmanager
def mounted(kind, megabytes=8):
    """A disk of its own of so many megabytes; its path."""
    if os.geteuid() != 0:
        raise harness.Skip("only root may mount a disk")
    folder = os.path.join(harness.TEST_DIR, "small")
    image = folder + ".img"
    os.mkdir(folder)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", folder]
    if kind == "ext4":
        harness.need("mkfs.ext4")
        with open(image, "wb") as file:
            file.truncate(megabytes << 20)
        harness.run("mkfs.ext4", "-q", "-m", "0", image)
        command = ["mount", "-o", "loop", image, folder]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise harness.Skip(f"mounting is not allowed here: {done.stdout.strip()}")
    try:
        os.chmod(folder, 0o777)
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=False)


def free_bytes(folder):
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize


# ---- who looks


class Watcher:
    """Knows from $SYS how the store is, and receives what others publish meanwhile."""

    def __init__(self, broker):
        self.client = wire.connected(broker.tcp, "watcher")
        self.client.subscribe("live", "a")
        self.client.subscribe("$SYS/broker/store/state")
        self.state, self.ticks, self.live = None, 0, 0

    def see(self):
        message = self.client.message(20)
        if message.topic == "live":
            self.live += 1
        elif message.topic != "a":
            self.state = message.payload.decode()
        return message.topic

    def wait_for(self, state):
        while self.state != state:
            self.see()


def is_held_back(client):
    """Nothing has come for it, and its connection stands."""
    client.stream.setblocking(False)
    try:
        found = client.stream.recv(1)
        assert not found, found
        raise AssertionError("its connection was closed")
    except BlockingIOError:
        return True
    finally:
        client.stream.setblocking(True)


def go_through_a_bad_time(broker, gets_bad, gets_well, payload=b"x" * 1000, for_all=True):
    """From the first message that is not acknowledged to the first that is again. Returns those that were. Unless
    it is bad for all, there is room for what is smaller than a message."""
    start_sleeper(broker)
    watcher = Watcher(broker)
    publisher = wire.connected(broker.tcp, "publisher", version=5)
    accepted, number = [], 0
    gets_bad()

    def send():
        nonlocal number
        number += 1
        publisher.send(wire.publish_packet("a", str(number).encode() + b" " + payload, 1, pid=number, version=5))

    while True:  # until it is not acknowledged any more
        send()
        answered = harness.wait_until(
            lambda: "acknowledgements wait" in broker.log() or publisher.stream in select_readable(publisher),
            "an acknowledgement, or that the store says why there is none")
        if "acknowledgements wait" in broker.log():
            break
        assert publisher.wait(wire.PUBACK, number).reason == 0 and answered
        accepted.append(number)
    held_back = number
    if publisher.stream in select_readable(publisher):  # it was acknowledged, and only then it got bad
        assert publisher.wait(wire.PUBACK, number).reason == 0
        accepted.append(number)
        send()
        held_back = number
    watcher.wait_for(WAITS)
    assert is_held_back(publisher)
    with wire.connected(broker.tcp, "talker") as talker:  # reading and delivering go on
        talker.publish("live", "x")
        while watcher.live == 0:
            watcher.see()
    assert publisher.wait(wire.PUBACK, held_back, seconds=20).reason == 0x97
    broker.wait_log("what must be stored is refused")
    if for_all:
        watcher.wait_for(REFUSES)
        number += 1
        publisher.send(wire.publish_packet("a", "refused", 1, pid=number, version=5))
        assert publisher.wait(wire.PUBACK, number, seconds=20).reason == 0x97
    gets_well()
    broker.wait_log("The store writes again", seconds=20)
    watcher.wait_for(WRITES)
    send()
    assert publisher.wait(wire.PUBACK, number).reason == 0
    accepted.append(number)
    return accepted


def select_readable(client):
    with selectors.DefaultSelector() as selector:
        selector.register(client.stream, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(0)]


def expect_after_a_crash(broker, accepted):
    """What was acknowledged is there, in order, and nothing that was refused came before it was."""
    broker.kill()
    broker.start()
    with wire.Client(broker.tcp, client_id="sleeper") as sleeper:
        assert sleeper.connect(clean=False).session_present
        got = [int(sleeper.message().payload.split()[0]) for _ in accepted]
        assert got == accepted, (got, accepted)
        sleeper.expect_nothing()


OPTIONS = "store_full_timeout 2\nsys_interval 1\nmax_queued_messages 0\nmax_queued_bytes 0\n"


def start_sleeper(broker):
    with wire.connected(broker.tcp, "sleeper", clean=False) as sleeper:
        sleeper.subscribe("a", qos=1)


# ---- tests


@noctule_only
@limit(120)
@cases(kind=["tmpfs", "ext4"])
def test_small_disk_that_is_full(kind):
    """A real one of 8 MB, of which another program takes all but what a few messages need."""
    with mounted(kind) as folder:
        filler = os.path.join(folder, "filler")
        options = OPTIONS + f"persistence_location {folder}/store\nstore_min_free 0\n"
        with Broker("tcp", options=options) as broker:
            def fill():
                with open(filler, "wb", buffering=0) as file:
                    with contextlib.suppress(OSError):
                        while free_bytes(folder) > 600_000:
                            file.write(bytes(65536))
                    os.fsync(file.fileno())

            accepted = go_through_a_bad_time(broker, fill, lambda: os.unlink(filler),
                                             b"x" * 50000, for_all=False)
            assert len(accepted) > 2, accepted
            expect_after_a_crash(broker, accepted)


@noctule_only
@limit(120)
def test_store_min_free_acts_before_the_disk_is_full():
    with mounted("tmpfs") as folder:
        filler = os.path.join(folder, "filler")
        options = OPTIONS + f"persistence_location {folder}/store\nstore_min_free 3MB\n"
        with Broker("tcp", options=options) as broker:
            def fill():
                with open(filler, "wb") as file:
                    file.write(bytes(free_bytes(folder) - 2_500_000))

            def make_room():
                assert free_bytes(folder) > 2_000_000, free_bytes(folder)  # others still have theirs
                os.unlink(filler)

            accepted = go_through_a_bad_time(broker, fill, make_room)
            expect_after_a_crash(broker, accepted)


@noctule_only
@limit(120)
@cases(how=["eio", "full"])
def test_disk_that_fails(how):
    disk = Disk()
    with Broker("tcp", options=OPTIONS, environment=disk.environment) as broker:
        accepted = go_through_a_bad_time(broker, lambda: disk.becomes(how), lambda: disk.becomes("works"))
        expect_after_a_crash(broker, accepted)


@noctule_only
@limit(120)
def test_nobody_is_disconnected_for_a_slow_disk():
    """Not by any limit that is shorter than backpressure_timeout: connect_timeout, or the keep-alive of who is not
    read."""
    disk = Disk()
    options = "backpressure_timeout 3600\nconnect_timeout 1\nsys_interval 1\nmax_inflight_messages 2\n"
    with Broker("tcp", options=options, environment=disk.environment) as broker:
        start_sleeper(broker)
        watcher = wire.connected(broker.tcp, "watcher")
        watcher.subscribe("$SYS/broker/uptime")
        publishers = [wire.connected(broker.tcp, f"publisher-{version}", version=version, keepalive=1)
                      for version in (4, 5)]
        subscriber = wire.connected(broker.tcp, "subscriber", clean=False)
        disk.becomes("stands still")
        for client, count in zip(publishers, (100, 2)):  # after which they are not read any more
            for pid in range(1, count + 1):
                client.send(wire.publish_packet("a", "x", 1, pid=pid, version=client.version))
        subscriber.send(wire.subscribe_packet(9, [("b", 1)]))
        newcomer = wire.Client(broker.tcp, client_id="newcomer")
        newcomer.send(wire.connect_packet("newcomer", clean=False))
        for _ in range(5):  # seconds
            watcher.message()
        for client in (*publishers, subscriber, newcomer):
            assert is_held_back(client)
        disk.becomes("works")
        assert newcomer.wait(wire.CONNACK).reason == 0
        assert subscriber.wait(wire.SUBACK, 9).reasons == [1]
        for client in publishers:
            assert [client.wait(wire.PUBACK, pid).reason for pid in (1, 2)] == [0, 0]


@noctule_only
@limit(120)
def test_takeover_disconnect_and_shutdown_while_a_commit_is_under_way():
    disk = Disk()
    with Broker("tcp", workers=2, environment=disk.environment) as broker:
        start_sleeper(broker)
        device = wire.connected(broker.tcp, "device", clean=False)
        leaver = wire.connected(broker.tcp, "leaver", clean=False)
        disk.becomes("stands still")
        device.send(wire.publish_packet("a", "of the device", 1, pid=1))
        leaver.send(wire.publish_packet("a", "of the leaver", 1, pid=1))
        leaver.send(wire.packet(wire.DISCONNECT, 0, b""))
        leaver.expect_closed()  # at once, and without an acknowledgement
        second = wire.Client(broker.tcp, client_id="device")
        second.send(wire.connect_packet("device", clean=False))
        device.expect_closed()
        assert is_held_back(second)  # CONNACK waits for what the old connection has stored
        disk.becomes("works")
        assert second.wait(wire.CONNACK).session_present
        disk.becomes("stands still")
        second.send(wire.publish_packet("a", "last", 1, pid=2))
        second.send(wire.packet(wire.PINGREQ, 0, b""))
        broker.wait_log("leaver")
        broker.signal(signal.SIGTERM)
        second.expect_closed()
        disk.becomes("works")
        assert broker.wait_exit() == 0
        broker.start()
        with wire.Client(broker.tcp, client_id="sleeper") as sleeper:
            sleeper.connect(clean=False)
            got = {sleeper.message().payload for _ in range(3)}
            assert got == {b"of the device", b"of the leaver", b"last"}, got


class Chatter:
    """Publishes to another one and takes what that one publishes; reads only when it is told to."""

    COUNT = 1500

    def __init__(self, broker, name, other):
        self.client = wire.connected(broker.tcp, name, clean=False, stream={"receive_buffer": 4096})
        self.client.subscribe("to/" + name, qos=1)
        self.client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        self.out = bytearray(b"".join(
            wire.publish_packet("to/" + other, b"%d " % n + b"x" * 4000, 1, pid=n + 1) for n in range(self.COUNT)))
        self.acknowledged, self.got = 0, set()
        self.client.stream.setblocking(False)

    def write(self):
        """Whether the socket took anything."""
        try:
            del self.out[:self.client.stream.send(self.out[:65536])]
            return True
        except BlockingIOError:
            return False

    def read(self):
        try:
            chunk = self.client.stream.recv(65536)
        except BlockingIOError:
            return
        assert chunk, "the broker closed the connection"
        self.client.buffer += chunk
        while frame := wire.frame_at(self.client.buffer, 0):
            start, end = frame
            packet = wire.Packet(self.client.buffer[0] >> 4, self.client.buffer[0] & 15, self.client.buffer[start:end], 4)
            del self.client.buffer[:end]
            if packet.kind == wire.PUBACK:
                self.acknowledged += 1
            elif packet.kind == wire.PUBLISH:
                self.got.add(int(packet.payload.split()[0]))
                self.out += wire.ack_packet(wire.PUBACK, packet.pid)

    def is_done(self):
        return self.acknowledged == self.COUNT and len(self.got) == self.COUNT


@noctule_only
@limit(120)
@cases(workers=[1, 2])
def test_two_that_publish_to_each_other_without_reading_go_on(workers):
    """The store stands still until neither socket takes any more; and then all moves again."""
    disk = Disk()
    options = "backpressure_timeout 3600\nmax_queued_messages 0\nmax_queued_bytes 0\n"
    with Broker("tcp", options=options, workers=workers, environment=disk.environment) as broker:
        chatters = [Chatter(broker, "one", "two"), Chatter(broker, "two", "one")]
        disk.becomes("stands still")
        with wire.connected(broker.tcp, "prober") as prober:
            stuck = 0
            while stuck < 20 and any(c.out for c in chatters):
                moved = [c.write() for c in chatters if c.out]
                prober.ping()  # the broker has turned
                stuck = 0 if any(moved) else stuck + 1
        assert stuck == 20, "nothing has stopped them"
        disk.becomes("works")

        def step():
            for chatter in chatters:
                if chatter.out:
                    chatter.write()
                chatter.read()
            return all(c.is_done() for c in chatters)

        harness.wait_until(lambda: any(step() for _ in range(2000)), "everything to have arrived", seconds=60)
