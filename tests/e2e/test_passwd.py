# SPDX-License-Identifier: MIT
"""noctule passwd: the same command lines as mosquitto_passwd, and files that both brokers read."""

import os
import pty
import signal
import stat
import subprocess
import termios

import harness
import wire
from harness import Broker, Skip, cases, have, noctule_only, run, wait_until

BAD_USER_NAME_OR_PASSWORD = 0x86


def passwd(*arguments, check=True, **kwargs):
    return run(harness.NOCTULE, "passwd", *arguments, check=check, **kwargs)


def new_path(name="pw"):
    return os.path.join(harness.TEST_DIR, name)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def assert_lets_in(broker, user, password, reason=0):
    with wire.Client(broker.tcp, 5, "p") as client:
        client.connect(reason, username=user, password=password.encode())


@noctule_only
@cases(kind=(None, "argon2id", "sha512-pbkdf2", "sha512"))
def test_file_made_here_lets_in_who_is_in_it(kind):
    path = new_path()
    choice = ["-H", kind] if kind else []
    passwd(*choice, "-c", "-b", path, "alice", "wonder:land")
    assert mode(path) == 0o600
    passwd(*choice, "-b", path, "bob", "-b")
    passwd(*choice, "-b", path, "alice", "new")
    prefix = {"sha512-pbkdf2": "$7$", "sha512": "$6$"}.get(kind, "$argon2id$v=19$m=")
    lines = read(path).splitlines()
    assert [line.split(":")[0] for line in lines] == ["alice", "bob"]
    assert all(line.split(":")[1].startswith(prefix) for line in lines), lines
    os.chmod(path, 0o644)
    with Broker("tcp", options=f"allow_anonymous false\npassword_file {path}\n") as broker:
        assert_lets_in(broker, "alice", "new")
        assert_lets_in(broker, "bob", "-b")
        assert_lets_in(broker, "alice", "wonder:land", BAD_USER_NAME_OR_PASSWORD)


@noctule_only
@cases(kind=("sha512-pbkdf2", "sha512"))
def test_mosquitto_reads_a_file_made_here(kind):
    mosquitto = "/usr/sbin/mosquitto"
    if not os.access(mosquitto, os.X_OK) or not have("mosquitto_pub"):
        raise Skip("mosquitto is not installed")
    path = new_path()
    passwd("-H", kind, "-I", "101", "-c", "-b", path, "alice", "wonderland")
    os.chmod(path, 0o644)
    port = harness.free_port()
    config = new_path("mosquitto.conf")
    with open(config, "w", encoding="utf-8") as file:
        file.write(f"listener {port} 127.0.0.1\npassword_file {path}\n")
    with open(new_path("mosquitto.log"), "wb") as log:
        process = subprocess.Popen([mosquitto, "-c", config], stdout=log, stderr=log)
    try:
        def publish(password):
            return run("mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), "-t", "a", "-m", "b",
                       "-u", "alice", "-P", password, check=False).returncode
        wait_until(lambda: publish("wonderland") == 0, "mosquitto to let alice in")
        assert publish("other") != 0
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@noctule_only
def test_password_from_a_pipe():
    path = new_path()
    passwd("-c", path, "alice", input="wonderland\n")
    passwd(path, "bob", input="b\nb\n")
    assert [line.split(":")[0] for line in read(path).splitlines()] == ["alice", "bob"]
    before = read(path)
    for bad in ("", "\n", "a\nb\n"):
        done = passwd(path, "carol", input=bad, check=False)
        assert done.returncode == 1, done.stdout
    assert read(path) == before


def ask(path, user, *answers):
    """Runs it on a terminal and answers its questions; exit code and what the terminal showed."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(harness.NOCTULE, [harness.NOCTULE, "passwd", "-c", path, user])
    shown = b""
    for question, answer in zip((b"Password: ", b"Again: "), answers):
        while not shown.endswith(question):
            shown += os.read(fd, 1024)
        wait_until(lambda: not termios.tcgetattr(fd)[3] & termios.ECHO, "the echo to be off")
        os.write(fd, answer)
    try:
        while True:
            shown += os.read(fd, 1024)
    except OSError:  # the other side has closed it
        pass
    _, status = os.waitpid(pid, 0)
    os.close(fd)
    return status, shown


@noctule_only
def test_password_on_a_terminal_is_asked_for_twice_and_not_shown():
    path = new_path()
    status, shown = ask(path, "alice", b"wonderland\n", b"wonderland\n")
    assert os.waitstatus_to_exitcode(status) == 0, shown
    assert b"wonderland" not in shown
    assert read(path).startswith("alice:$argon2id$")
    os.unlink(path)
    status, shown = ask(path, "alice", b"wonderland\n", b"wonderlamd\n")
    assert os.waitstatus_to_exitcode(status) == 1 and b"differ" in shown
    assert not os.path.exists(path)


@noctule_only
def test_interrupted_question_leaves_the_terminal_as_it_was():
    path = new_path()
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(harness.NOCTULE, [harness.NOCTULE, "passwd", "-c", path, "alice"])
    wait_until(lambda: not termios.tcgetattr(fd)[3] & termios.ECHO, "the echo to be off")
    os.write(fd, b"\x03")
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGINT
    assert termios.tcgetattr(fd)[3] & termios.ECHO
    assert not os.path.exists(path)
    os.close(fd)


@noctule_only
def test_upgrade_hashes_a_plain_file_and_removal_takes_out():
    path = new_path()
    with open(path, "w", encoding="utf-8") as file:
        file.write("# people\nalice:wonderland\nbob:b\n")
    done = passwd("-U", path)
    assert "Hashed 2 passwords" in done.stdout
    assert "wonderland" not in read(path) and read(path).startswith("# people\nalice:$argon2id$")
    before = read(path)
    passwd("-U", path)
    assert read(path) == before
    passwd("-D", path, "bob")
    assert len(read(path).splitlines()) == 2
    assert passwd("-D", path, "bob", check=False).returncode == 1
    os.chmod(path, 0o644)
    with Broker("tcp", options=f"allow_anonymous false\npassword_file {path}\n") as broker:
        assert_lets_in(broker, "alice", "wonderland")
        assert_lets_in(broker, "bob", "b", BAD_USER_NAME_OR_PASSWORD)


@noctule_only
def test_replaced_file_keeps_its_readers_its_link_and_leaves_nothing_behind():
    path, link = new_path(), new_path("link")
    passwd("-c", "-b", path, "alice", "a")
    os.chmod(path, 0o646)
    os.symlink(path, link)
    inode = os.stat(path).st_ino
    passwd("-b", link, "bob", "b")
    assert os.path.islink(link) and os.stat(path).st_ino != inode
    assert mode(path) == 0o640
    assert len(read(path).splitlines()) == 2
    assert not [name for name in os.listdir(harness.TEST_DIR) if name.startswith("pw.")]


@noctule_only
def test_what_cannot_be_done_is_said_and_changes_nothing():
    path = new_path()
    for arguments, code, said in (
            ([path, "alice"], 1, "-c makes a new one"),
            (["-D", path, "alice"], 1, "-c makes a new one"),
            (["-c", "-b", "/nowhere/pw", "alice", "a"], 1, "No such file or directory"),
            (["-c", "-b", path, "alice", ""], 1, "empty"),
            (["-c", "-b", path, "al:ice", "a"], 2, "user name"),
            (["-c", "-b", path, "", "a"], 2, "user name"),
            (["-c", "-b", path, "alice"], 2, "FILE USER PASSWORD"),
            (["-c", "-D", path, "alice"], 2, "only one of"),
            (["-H", "md5", "-c", path, "alice"], 2, "argon2id"),
            (["-I", "1001", "-c", "-b", path, "alice", "a"], 2, "at most 1000"),
            (["-x", path, "alice"], 2, "no option -x"),
            ([], 2, "Usage")):
        done = passwd(*arguments, check=False)
        assert done.returncode == code and said in done.stdout, (arguments, done)
        assert not os.path.exists(path)
    assert "Usage" in passwd("--help").stdout
