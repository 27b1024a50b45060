# SPDX-License-Identifier: MIT
"""Client certificates as user names, revoked ones, and certificates that change under a running
broker."""

import os
import signal
import ssl

import harness
import wire
from harness import Broker, cases, certificates, noctule_only, run, wait_until

ADMINISTRATIVE_ACTION = 0x98


class Authority:
    """A CA of the test's own, whose files may be replaced."""

    def __init__(self):
        self.folder = os.path.join(harness.TEST_DIR, "ca")
        os.mkdir(self.folder)
        self.config = self.path("openssl.cnf")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(f"""[ca]
default_ca = test
[test]
database = {self.path("index")}
crlnumber = {self.path("number")}
default_md = sha256
default_crl_days = 2
""")
        open(self.path("index"), "w", encoding="utf-8").close()
        with open(self.path("number"), "w", encoding="utf-8") as file:
            file.write("01\n")
        self.issue("ca", "/CN=test CA", "basicConstraints=critical,CA:TRUE", issuer=None)
        self.issue("server", "/CN=localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        self.revoke()

    def path(self, name):
        return os.path.join(self.folder, name)

    def issue(self, name, subject, extension="extendedKeyUsage=clientAuth", issuer="ca", days=2,
              algorithm=("ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
        """Makes name.crt and name.key, replacing older ones at once."""
        command = ["openssl", "req", "-x509", "-newkey", *algorithm, "-nodes", "-days", str(days),
                   "-subj", subject, "-addext", extension, "-utf8",
                   "-keyout", self.path("fresh.key"), "-out", self.path("fresh.crt")]
        if issuer:
            command += ["-CA", self.path("ca.crt"), "-CAkey", self.path("ca.key"),
                        "-addext", "basicConstraints=critical,CA:FALSE"]
        run(*command)
        os.chmod(self.path("fresh.key"), 0o644)
        for end in (".key", ".crt"):
            os.rename(self.path("fresh" + end), self.path(name + end))

    def revoke(self, *names):
        """Writes ca.crl, with these certificates revoked as well."""
        for name in names:
            run("openssl", "ca", "-config", self.config, "-revoke", self.path(name + ".crt"),
                "-keyfile", self.path("ca.key"), "-cert", self.path("ca.crt"))
        run("openssl", "ca", "-config", self.config, "-gencrl", "-out", self.path("fresh.crl"),
            "-keyfile", self.path("ca.key"), "-cert", self.path("ca.crt"))
        os.rename(self.path("fresh.crl"), self.path("ca.crl"))

    def options(self, *more):
        return "\n".join([f"cafile {self.path('ca.crt')}", f"certfile {self.path('server.crt')}",
                          f"keyfile {self.path('server.key')}", *more])

    def client(self, name=None, version=None):
        """A client's TLS context, with a certificate."""
        context = ssl.create_default_context(cafile=self.path("ca.crt"))
        if name:
            context.load_cert_chain(self.path(name + ".crt"), self.path(name + ".key"))
        if version:
            context.minimum_version = context.maximum_version = version
        return context


def broker_with(authority, *options, kind="tcp", workers=2, before=""):
    """A broker whose one listener of that kind speaks TLS with the authority's files."""
    broker = Broker(kind, listener_options=authority.options(*options), workers=workers,
                    options=before)
    broker.addresses[0].kind = "wss" if kind == "ws" else "tls"
    return broker


def connect(broker, authority, name=None, version=5, reason=0, **options):
    address = broker.addresses[0]
    client = wire.Client(address, version, options.pop("client_id", ""),
                         tls=authority.client(name, options.pop("tls", None)))
    client.connect(reason, **options)
    return client


REFUSED = (ssl.SSLError, ConnectionError, wire.Closed, OSError)


def assert_refused(broker, authority, name):
    try:
        connect(broker, authority, name).close()
    except REFUSED:
        return
    raise AssertionError(f"{name} was let in")


# ---- who a client is ----


@noctule_only
@cases(kind=("tcp", "ws"))
def test_identity_is_the_user_name(kind):
    """Whatever CONNECT says; and with it the client identifier, if that is wanted."""
    authority = Authority()
    authority.issue("device", "/O=Example/CN=device-1")
    with broker_with(authority, "require_certificate true", "use_identity_as_username true",
                     before="use_username_as_clientid true\nallow_anonymous false",
                     kind=kind) as broker:
        first = connect(broker, authority, "device", username="admin", password=b"x")
        broker.wait_log(r"as device-1 \(p5, c1, k\d+, u'device-1'\)")
        second = connect(broker, authority, "device", client_id="other")
        first.expect_disconnect(0x8E)  # the same client: its session is taken over
        second.ping()
        second.close()


@noctule_only
def test_subject_is_the_user_name():
    authority = Authority()
    authority.issue("device", "/O=Example, Inc/CN=dévice")
    with broker_with(authority, "require_certificate true",
                     "use_subject_as_username true") as broker:
        connect(broker, authority, "device").close()
        broker.wait_log(r"u'CN=d\\+C3\\+A9vice,O=Example\\+, Inc'")


@noctule_only
def test_certificate_without_a_name_is_no_user():
    authority = Authority()
    authority.issue("nameless", "/O=Example")
    with broker_with(authority, "require_certificate true",
                     "use_identity_as_username true") as broker:
        connect(broker, authority, "nameless", reason=0x86).close()
        broker.wait_log("its certificate holds no name that could be a user name")


@noctule_only
def test_mosquitto_pub_with_a_certificate():
    authority = Authority()
    authority.issue("device", "/CN=device-1")
    with broker_with(authority, "require_certificate true",
                     "use_identity_as_username true") as broker:
        options = ["-h", "localhost", "-p", str(broker.tcp.port), "--cafile",
                   authority.path("ca.crt"), "-t", "a", "-m", "b"]
        run("mosquitto_pub", *options, "--cert", authority.path("device.crt"), "--key",
            authority.path("device.key"))
        broker.wait_log("u'device-1'")
        assert run("mosquitto_pub", *options, check=False).returncode != 0


# ---- who is no longer ----


@noctule_only
def test_revoked_certificate_is_refused_at_the_start():
    authority = Authority()
    authority.issue("good", "/CN=good")
    authority.issue("lost", "/CN=lost")
    authority.revoke("lost")
    with broker_with(authority, "require_certificate true",
                     f"crlfile {authority.path('ca.crl')}") as broker:
        connect(broker, authority, "good").close()
        assert_refused(broker, authority, "lost")
        broker.wait_log("certificate revoked")


def resumes(broker, context, session=None):
    """Whether a TLS session is resumed, and the session of this connection; None, None: refused."""
    sock = harness.connect_socket(broker.tcp)
    try:
        stream = context.wrap_socket(sock, server_hostname="localhost", session=session)
        stream.sendall(wire.connect_packet("", 5))
        if not stream.recv(100):
            return None, None
        return stream.session_reused, stream.session
    except REFUSED:
        return None, None
    finally:
        sock.close()


@noctule_only
@cases(version=(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3), how=("SIGHUP", "file"))
def test_revoked_certificate_does_not_resume_a_session(version, how):
    authority = Authority()
    authority.issue("device", "/CN=device-1")
    with broker_with(authority, "require_certificate true",
                     f"crlfile {authority.path('ca.crl')}") as broker:
        context = authority.client("device", version)
        _, session = resumes(broker, context)
        reused, session = resumes(broker, context, session)
        assert reused is True, "the session is not resumed, so this shows nothing"
        authority.revoke("device")
        if how == "SIGHUP":
            broker.signal(signal.SIGHUP)
        broker.wait_log("has read its certificate, key and authorities again")
        wait_until(lambda: resumes(broker, context, session) == (None, None),
                   "the session to be refused")


@noctule_only
@cases(kind=("tcp", "ws"), how=("SIGHUP", "file"))
def test_client_whose_certificate_is_revoked_is_disconnected_and_nobody_else(kind, how):
    """Also one that has shown its certificate and says nothing yet."""
    authority = Authority()
    authority.issue("good", "/CN=good")
    authority.issue("lost", "/CN=lost")
    with broker_with(authority, "require_certificate true",
                     f"crlfile {authority.path('ca.crl')}", kind=kind) as broker:
        good, lost = [[connect(broker, authority, name) for _ in range(4)] for name in ("good", "lost")]
        silent = wire.Client(broker.addresses[0], 5, tls=authority.client("lost"))
        authority.revoke("lost")
        if how == "SIGHUP":
            broker.signal(signal.SIGHUP)
        for client in lost:
            client.expect_disconnect(ADMINISTRATIVE_ACTION)
        if kind == "tcp":
            silent.send(wire.connect_packet("", 5))
        assert not silent.expect_closed(), "it was answered"
        broker.wait_log("its certificate has been revoked")
        for client in good:
            client.ping()
            client.close()
        connect(broker, authority, "good").close()
        assert_refused(broker, authority, "lost")


# ---- certificates that change ----


@noctule_only
def test_folder_of_authorities_is_watched():
    """capath: an authority that comes is accepted, and one that goes is not any more."""
    authority = Authority()
    authority.issue("device", "/CN=device-1")
    folder = authority.path("authorities")
    os.mkdir(folder)
    with open(authority.path("ca.crt"), encoding="utf-8") as file:
        text = file.read()

    def put(name, content):
        with open(os.path.join(folder, "." + name), "w", encoding="utf-8") as file:
            file.write(content)
        os.rename(os.path.join(folder, "." + name), os.path.join(folder, name))

    def lets_in():
        try:
            connect(broker, authority, "device").close()
            return True
        except REFUSED:
            return False
    name = run("openssl", "x509", "-hash", "-noout", "-in", authority.path("ca.crt")).stdout.strip()
    lines = [f"capath {folder}", "require_certificate true"]
    options = "\n".join(authority.options(*lines).split("\n")[1:])  # without cafile
    broker = Broker("tcp", listener_options=options)
    broker.addresses[0].kind = "tls"
    with broker:
        assert not lets_in()
        put(name + ".0", text)
        broker.wait_log("has read its certificate, key and authorities again")
        wait_until(lets_in, "the authority that is new")
        os.unlink(os.path.join(folder, name + ".0"))
        wait_until(lambda: not lets_in(), "the authority that has gone")


def serial(broker, authority):
    """The serial number of the certificate that a new connection is shown."""
    with authority.client().wrap_socket(harness.connect_socket(broker.tcp),
                                        server_hostname="localhost") as stream:
        return stream.getpeercert()["serialNumber"]


@noctule_only
@cases(how=("SIGHUP", "file"))
def test_new_certificate_is_for_new_connections_and_drops_nobody(how):
    authority = Authority()
    with broker_with(authority) as broker:
        clients = [connect(broker, authority) for _ in range(4)]
        before = serial(broker, authority)
        # another kind of key: nothing of the old one may be offered any more
        authority.issue("server", "/CN=localhost", "subjectAltName=DNS:localhost",
                        algorithm=("rsa:2048",))
        if how == "SIGHUP":
            broker.signal(signal.SIGHUP)
        wait_until(lambda: serial(broker, authority) != before, "the new certificate")
        wait_until(lambda: before not in {serial(broker, authority) for _ in range(6)},
                   "it on each worker")
        for client in clients:
            client.ping()
            client.close()
        connect(broker, authority).close()


@noctule_only
def test_bad_certificate_keeps_the_old_one_and_says_so():
    authority = Authority()
    with broker_with(authority) as broker:
        before = serial(broker, authority)
        with open(authority.path("server.crt"), "r+", encoding="utf-8") as file:
            good = file.read()
            file.truncate(100)
        broker.wait_log(r"Listener 127.0.0.1:\d+ keeps the certificate in use: certfile \S*server.crt")
        assert serial(broker, authority) == before
        broker.signal(signal.SIGHUP)
        wait_until(lambda: broker.log().count("keeps the certificate in use") >= 2, "two refusals")
        # only half of the pair is there at first
        authority.issue("other", "/CN=localhost", "subjectAltName=DNS:localhost")
        os.rename(authority.path("other.key"), authority.path("server.key"))
        wait_until(lambda: broker.log().count("keeps the certificate in use") >= 3, "three refusals")
        connect(broker, authority).close()
        assert good and serial(broker, authority) == before
        os.rename(authority.path("other.crt"), authority.path("server.crt"))
        wait_until(lambda: serial(broker, authority) != before, "the new certificate")


@noctule_only
def test_certificate_behind_a_link_that_is_replaced_is_noticed():
    """As certbot and Kubernetes do it."""
    authority = Authority()
    os.mkdir(authority.path("old"))
    for name in ("server.crt", "server.key"):
        os.rename(authority.path(name), authority.path("old/" + name))
        os.symlink("data/" + name, authority.path(name))
    os.symlink("old", authority.path("data"))
    with broker_with(authority) as broker:
        before = serial(broker, authority)
        os.mkdir(authority.path("new"))
        authority.issue("new/server", "/CN=localhost", "subjectAltName=DNS:localhost")
        os.symlink("new", authority.path("data.new"))
        os.rename(authority.path("data.new"), authority.path("data"))
        wait_until(lambda: serial(broker, authority) != before, "the new certificate")


@noctule_only
def test_many_new_certificates_leave_nothing_behind():
    """Old vhosts go with their last connection: descriptors and memory stay where they were."""
    authority = Authority()
    with broker_with(authority, workers=2) as broker:
        stay = connect(broker, authority)

        def round_of(number):
            seen = broker.log().count("has read its certificate")
            broker.signal(signal.SIGHUP)
            wait_until(lambda: broker.log().count("has read its certificate") > seen, "a reload")
            for _ in range(4):
                connect(broker, authority).close()
            stay.ping()
        for number in range(20):
            round_of(number)
        before, memory = broker.descriptors(), broker.memory()
        for number in range(int(200 * harness.SCALE)):
            round_of(number)
        wait_until(lambda: broker.descriptors() <= before, "descriptors to be closed")
        assert harness.SANITIZED or broker.memory() < memory + (4 << 20), "memory grows"
        stay.close()


@noctule_only
def test_days_until_expiry_stand_under_sys():
    authority = Authority()
    authority.issue("server", "/CN=localhost", "subjectAltName=DNS:localhost", days=100)
    with broker_with(authority, before="sys_interval 1") as broker:
        topic = f"$SYS/broker/listeners/127.0.0.1:{broker.tcp.port}/certificate/days until expiry"
        with connect(broker, authority) as client:
            client.subscribe(topic)
            assert client.message().payload == b"99"
            authority.issue("server", "/CN=localhost", "subjectAltName=DNS:localhost", days=10)
            broker.signal(signal.SIGHUP)
            assert client.message().payload == b"9"
        broker.wait_log("expires in 9 days")


@noctule_only
def test_key_is_read_before_privileges_are_dropped():
    if os.geteuid() != 0:
        raise harness.Skip("only root can drop privileges")
    authority = Authority()
    os.chmod(authority.path("server.key"), 0o600)
    with broker_with(authority) as broker:
        connect(broker, authority).close()
        # and cannot be read again afterwards, which is said
        broker.signal(signal.SIGHUP)
        broker.wait_log("keeps the certificate in use: keyfile .*Permission denied")
        connect(broker, authority).close()
