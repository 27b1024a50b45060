# SPDX-License-Identifier: MIT
"""The program itself: command line, mistakes in the configuration, addresses in use, defaults."""

import os
import re
import signal
import socket
import subprocess

import harness
import wire
from harness import (NOCTULE, Address, Broker, PATIENCE, Skip, cases, free_port, noctule_only, run,
                     wait_until)

MISTAKES = """\
# line 1
allow_anonymous perhaps
max_inflight_mesages 20
listener 99999
listener 1883
psk_file /etc/psk
acl_file /missing/acl
password_file /missing/passwd
"""


def write(name, text):
    path = os.path.join(harness.TEST_DIR, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


@noctule_only
@cases(way=("test", "start"))
def test_lists_all_mistakes(way):
    """Every mistake as `file:line: …`, at once, and exit code 2; nothing is started."""
    path = write("bad.conf", MISTAKES)
    options = ["--test-config"] if way == "test" else []
    done = run(NOCTULE, *options, "-c", path, check=False)
    assert done.returncode == 2, f"exit {done.returncode}\n{done.stdout}"
    errors = [line for line in done.stdout.splitlines() if "warning" not in line]
    lines = [int(line) for line in re.findall(re.escape(path) + r":(\d+):", "\n".join(errors))]
    assert lines == [2, 3, 4, 6, 7, 8], done.stdout  # each once, in their order
    assert "max_inflight_messages" in done.stdout, "no suggestion:\n" + done.stdout


@noctule_only
@cases(way=("test", "start"))
def test_lists_what_the_machine_does_not_have(way):
    """Users and usable certificates are looked for at once, too, with the line that asks for them."""
    if os.geteuid() != 0:
        raise Skip("only root becomes somebody else")
    broken = write("broken.crt", "no certificate")
    paths = harness.certificates()
    path = write("bad.conf", f"user nobody-of-that-name\nlistener {free_port()} 127.0.0.1\nallow_anonymous true\n"
                             f"certfile {broken}\nkeyfile {paths['server_key']}\nlistener {free_port()} 127.0.0.1\n"
                             f"keyfile {paths['client_key']}\ncertfile {paths['server']}\nmax_qos 3\n")
    options = ["--test-config"] if way == "test" else []
    done = run(NOCTULE, *options, "-c", path, check=False)
    assert done.returncode == 2, f"exit {done.returncode}\n{done.stdout}"
    assert list(map(int, re.findall(r":(\d+): (?!warning)", done.stdout))) == [1, 4, 8, 9], done.stdout


@noctule_only
@cases(user=("noctule", "mosquitto"))
def test_default_users_need_not_exist(user):
    """A mosquitto.conf that names mosquitto's user works where mosquitto is not installed."""
    if os.geteuid() != 0:
        raise Skip("only root becomes somebody else")
    with Broker("tcp", options=f"user {user}") as broker:
        broker.wait_log("Now running as user")
        with open(f"/proc/{broker.process.pid}/status", encoding="ascii") as file:
            assert not re.search(r"^Uid:\s+0\b", file.read(), re.M)


@noctule_only
def test_correct_configuration_passes():
    path = write("good.conf", f"allow_anonymous true\nlistener {free_port()} 127.0.0.1\n")
    done = run(NOCTULE, "--test-config", "-c", path)
    assert "rror" not in done.stdout, done.stdout


@noctule_only
def test_example_of_the_page_on_security_is_valid():
    page = os.path.join(harness.HERE, "..", "..", "conf", "SECURITY.md")
    with open(page, encoding="utf-8") as file:
        example = file.read().split("```")[1]
    done = run(NOCTULE, "--test-config", "-c", write("security.conf", "allow_anonymous true\n" + example))
    assert "error" not in done.stdout, done.stdout


@noctule_only
def test_missing_configuration_file():
    done = run(NOCTULE, "-c", os.path.join(harness.TEST_DIR, "missing.conf"), check=False)
    assert done.returncode == 2 and "missing.conf" in done.stdout, done


@noctule_only
def test_include_dir_is_read():
    """include_dir takes the .conf files of a folder; a mistake names the file it stands in."""
    folder = os.path.join(harness.TEST_DIR, "conf.d")
    os.mkdir(folder)
    write("conf.d/a.conf", "max_packet_size 3000\n")
    write("conf.d/b.conf", "max_kepalive 7\n")
    path = write("main.conf", f"include_dir {folder}\n")
    done = run(NOCTULE, "--test-config", "-c", path, check=False)
    assert done.returncode == 2 and "b.conf:1:" in done.stdout, done.stdout
    os.unlink(os.path.join(folder, "b.conf"))
    run(NOCTULE, "--test-config", "-c", path)


@noctule_only
def test_help_and_version():
    text = run(NOCTULE, "-h", check=False).stdout
    for option in ("-c", "-p", "-v", "-d", "--test-config"):
        assert option in text, text
    assert re.search(r"\d+\.\d+", run(NOCTULE, "--version", check=False).stdout)


def test_unknown_argument_is_refused():
    done = run(NOCTULE, "--frobnicate", check=False)
    assert done.returncode != 0 and "frobnicate" in done.stdout, done


def test_address_in_use():
    """A second broker on the same port says so and ends; the first one is not disturbed."""
    with Broker("tcp") as broker:
        second = run(NOCTULE, "-c", broker.config_path, check=False)
        assert second.returncode != 0
        assert "ddress" in second.stdout and "in use" in second.stdout, second.stdout
        wire.connected(broker.tcp).disconnect()


def test_port_by_command_line():
    """-p PORT without configuration: the port is open to this machine, anonymously."""
    address = Address("tcp", "127.0.0.1", free_port())
    with started("-p", str(address.port)) as process:
        wait_until(lambda: answers(address, process), "the port of the command line")
        wire.connected(address).disconnect()


def test_defaults_without_configuration():
    """MQTT on port 1883 and MQTT over WebSocket on 9001, of both loopback addresses only."""
    ports = {"tcp": 1883, "ws": 9001}
    for port in ports.values():
        if in_use(port):
            raise Skip(f"port {port} is in use")
    if harness.IS_MOSQUITTO:
        del ports["ws"]
    with started() as process:
        log = os.path.join(harness.TEST_DIR, "broker-args.log")
        for kind, port in ports.items():
            for host in ("127.0.0.1", "::1"):
                address = Address(kind, host, port)
                wait_until(lambda a=address: answers(a, process), f"{address.url}")
                with wire.connected(address) as client:
                    client.subscribe("t", qos=1)
                    client.publish("t", "x", qos=1)
                    client.message()
            for host in other_addresses():
                try:
                    socket.create_connection((host, port), 5).close()
                except OSError:
                    continue
                raise AssertionError(f"{host} answers on port {port}")
        if not harness.IS_MOSQUITTO:
            with open(log, encoding="utf-8") as file:
                said = file.read()
            for line in ("listening on mqtt 127.0.0.1:1883 and [::1]:1883",
                         "listening on websockets 127.0.0.1:9001 and [::1]:9001",
                         "try it: mosquitto_sub -p 1883 "):
                assert line in said, said


def in_use(port):
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return True
    return False


def other_addresses():
    """Addresses of this machine besides loopback."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None)}
    except OSError:
        return []
    return [host for host in found if not host.startswith("127.") and host != "::1"]


class started:
    """A broker with these arguments instead of a configuration; ends it cleanly."""

    def __init__(self, *arguments):
        self.arguments = arguments

    def __enter__(self):
        with open(os.path.join(harness.TEST_DIR, "broker-args.log"), "wb") as log:
            self.process = subprocess.Popen(
                [NOCTULE, *self.arguments], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                cwd=harness.TEST_DIR,
                env={**os.environ, "STATE_DIRECTORY": os.path.join(harness.TEST_DIR, "store")})
        return self.process

    def __exit__(self, kind, *_):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(5 * PATIENCE)
        assert kind or code == 0, f"exit {code}"


def answers(address, process):
    assert process.poll() is None, f"the broker ended with {process.returncode}"
    try:
        harness.connect_socket(address).close()
        return True
    except OSError:
        return False


@noctule_only
def test_configured_listener_allows_nobody_by_default():
    """[MQTT5-3.1.4-2]: refused with 0x87 (0x05 in version 3.1.1) until allow_anonymous says so."""
    broker = Broker("tcp")
    broker.write_config(broker.config.replace("allow_anonymous true\n", ""))
    with broker:
        for version, reason in ((5, 0x87), (4, 0x05), (3, 0x05)):
            with wire.Client(broker.tcp, version, "nobody") as client:
                client.connect(reason=reason)
                client.expect_closed()


@noctule_only
def test_pid_file_is_written_and_removed():
    path = os.path.join(harness.TEST_DIR, "noctule.pid")
    with Broker("tcp", options=f"pid_file {path}") as broker:
        def content():
            if not os.path.exists(path):
                return ""
            with open(path, encoding="ascii") as file:
                return file.read()
        harness.wait_until(content, "the pid file")  # it is made, and then written
        assert int(content()) == broker.process.pid
    assert not os.path.exists(path)


def test_log_lines_are_published():
    """log_dest topic: each line under $SYS/broker/log/, by the letter of its type."""
    with Broker("tcp", options="log_dest stderr\nlog_dest topic") as broker:
        with wire.connected(broker.tcp, "reader") as reader:
            reader.subscribe("$SYS/broker/log/N", qos=0)
            with wire.connected(broker.tcp, "someone"):
                while b"as someone" not in reader.message().payload:
                    pass


@noctule_only
def test_harmless_options_of_mosquitto_are_warned_about():
    """They are named and ignored; a mosquitto.conf of a plain installation so works."""
    with Broker("tcp", options="persistence false\nautosave_interval 1800") as broker:
        wire.connected(broker.tcp).disconnect()
