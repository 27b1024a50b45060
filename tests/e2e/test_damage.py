# SPDX-License-Identifier: MIT
"""A store that is damaged, or that is not ours to open: the broker starts with what can be read of it, says what is
lost, and leaves the rest as it was."""

import glob
import hashlib
import os

import harness
import wire
from harness import Broker, cases, noctule_only

PAGE = 4096
MESSAGES = 300


def fill(broker):
    """A session with messages, and a retained one; then the broker ends."""
    with wire.connected(broker.tcp, "sleeper", clean=False) as sleeper:
        sleeper.subscribe("a", qos=1)
    with wire.connected(broker.tcp) as publisher:
        publisher.publish("kept", "value", qos=1, retain=True)
        for number in range(MESSAGES):
            publisher.publish("a", f"message-{number:04}-" + "x" * 180, qos=1)


def data_file(broker):
    return os.path.join(broker.store_path, "data.mdb")


def change(broker, work):
    """`work` is given the file's bytes and returns others."""
    with open(data_file(broker), "r+b") as file:
        bytes_now = work(bytearray(file.read()))
        file.seek(0)
        file.write(bytes_now)
        file.truncate(len(bytes_now))


def overwrite_page(data):
    at = data.index(b"message-0150-") // PAGE * PAGE
    data[at:at + PAGE] = bytes(i * 31 + 7 & 255 for i in range(PAGE))
    return data


def truncate(data):
    return data[:len(data) // 2 // PAGE * PAGE]


def zero_meta_pages(data):
    data[:2 * PAGE] = bytes(2 * PAGE)
    return data


def flip_a_bit(data):
    data[data.index(b"message-0150-") + 20] ^= 4
    return data


def messages_of_sleeper(broker):
    """All that it gets, each as it was sent; and whether its session was there."""
    with wire.Client(broker.tcp, client_id="sleeper") as sleeper:
        present = sleeper.connect(clean=False).session_present
        sleeper.subscribe("end", "a", qos=1)
        with wire.connected(broker.tcp) as publisher:
            publisher.publish("end", "", qos=1)
        numbers = []
        while (message := sleeper.message()).topic != "end":
            name, rest = message.payload.decode().rsplit("-", 1)
            assert rest == "x" * 180, message
            numbers.append(int(name.removeprefix("message-")))
        return present, numbers


def retained(broker):
    with wire.connected(broker.tcp) as reader:
        reader.subscribe("kept", qos=1)
        reader.ping()
        return [packet.payload for packet in reader.inbox if packet.kind == wire.PUBLISH]


# What is done, and how many of the messages are there at least and at most.
DAMAGES = {"page": (overwrite_page, MESSAGES * 9 // 10, MESSAGES - 1),
           "truncated": (truncate, 0, MESSAGES - 1),
           "meta": (zero_meta_pages, 0, 0),
           "bit": (flip_a_bit, MESSAGES - 1, MESSAGES - 1)}


@noctule_only
@cases(what=list(DAMAGES), how=["kill", "stop"])
def test_what_can_be_read_of_a_damaged_store_is_kept(what, how):
    damage, least, most = DAMAGES[what]
    with Broker("tcp") as broker:
        fill(broker)
        broker.end(how)
        change(broker, damage)
        broker.start()
        broker.wait_log(r"is damaged.*data\.mdb\.damaged-\d{8}-\d{6}")
        said = broker.wait_log(r"Of it are kept: (\d+) sessions, .* (\d+) messages for them, .* lost of: (.*)\.")
        assert glob.glob(data_file(broker) + ".damaged-*")
        present, numbers = messages_of_sleeper(broker)
        assert least <= len(numbers) <= most, numbers
        assert numbers == sorted(set(numbers)) and set(numbers) <= set(range(MESSAGES)), numbers
        assert int(said[2]) == len(numbers), said[0]
        assert present == (int(said[1]) == 1), said[0]
        if what in ("page", "bit"):  # all that was elsewhere is whole
            assert present and retained(broker) == [b"value"]
            assert 150 not in numbers and {0, MESSAGES - 1} <= set(numbers), numbers
        broker.end("kill")
        broker.start()  # it is whole from now on
        broker.wait_log("storing in")
        assert broker.log().count("is damaged") == 1


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def of_a_newer_version(data):
    """Wherever the row about the store itself stands: checksum, version of rows, version of the store, the rest."""
    size, at, found = 4 + 1 + 4 + 8 + 8 + 4 + 8, 0, 0
    while (at := data.find(b"store", at) + 5) >= 5:
        row = data[at:at + size]
        if int.from_bytes(row[:4], "big") != crc32c(b"store" + row[4:]):
            continue
        row[8] += 1
        data[at:at + size] = crc32c(b"store" + row[4:]).to_bytes(4, "big") + row[4:]
        found += 1
    assert found
    return data


def digests(broker):
    found = {}
    for name in sorted(os.listdir(broker.store_path)):
        if name not in ("owner", "lock.mdb"):  # who uses it, and who reads
            with open(os.path.join(broker.store_path, name), "rb") as file:
                found[name] = hashlib.sha256(file.read()).hexdigest()
    return found


@noctule_only
@cases(how=["kill", "stop"])
def test_store_of_a_newer_version_is_refused_untouched(how):
    broker = Broker("tcp")
    broker.start()
    try:
        fill(broker)
        broker.end(how)
        change(broker, of_a_newer_version)
        before = digests(broker)
        try:
            broker.start()  # its listener may answer before the store is opened
        except AssertionError:
            pass
        assert broker.wait_exit() == 1
        broker.wait_log("a newer version of noctule has written it")
        assert digests(broker) == before
    finally:
        broker.process.kill()
    broker.check_log()


@noctule_only
def test_import_of_an_export_shrinks_a_store():
    """What has been deleted leaves room in the file; an export takes along only what is there."""
    with Broker("tcp") as broker:
        fill(broker)
        for _ in range(10):
            with wire.connected(broker.tcp) as publisher:
                for number in range(30):
                    publisher.publish(f"large/{number}", "y" * 50000, qos=1, retain=True)
        with wire.connected(broker.tcp) as publisher:
            for number in range(30):
                publisher.publish(f"large/{number}", "", qos=1, retain=True)
        export, moved = (os.path.join(harness.TEST_DIR, name) for name in ("export", "moved"))
        harness.run(harness.NOCTULE, "store", "export", broker.store_path, export)  # while it runs
        harness.run(harness.NOCTULE, "store", "import", moved, export)
        large, small = os.path.getsize(data_file(broker)), os.path.getsize(os.path.join(moved, "data.mdb"))
        assert large > 1_500_000 and small < 400_000, (large, small)
    with Broker("tcp", options=f"persistence_location {moved}\nuser root") as broker:
        present, numbers = messages_of_sleeper(broker)
        assert present and numbers == list(range(MESSAGES)) and retained(broker) == [b"value"]
