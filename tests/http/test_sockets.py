"""Sockets: what they are bound to, what is said if they cannot be, and what is left in the end."""

import contextlib
import errno
import os
import shutil
import socket
import ssl
import stat
import subprocess
import sys

import pytest

from sprockets.http._settings import Options
from sprockets.http._sockets import BindError, Listener, listen, load_certificates, make_ssl_context

HAS_IPV6 = socket.has_ipv6 and os.path.exists("/proc/net/if_inet6")


@pytest.fixture(name="bind")
def _bind():
    """Listen as options say; everything is closed in the end."""
    listeners = []

    def bind(environ=None, **options):
        options.setdefault("port", 0)
        listeners.append(listen(Options(**options), {} if environ is None else environ))
        return listeners[-1]

    yield bind
    for each in listeners:
        each.close()


def connects(family, address):
    with socket.socket(family) as client:
        client.settimeout(2)
        try:
            client.connect(address)
        except OSError:
            return False
        return True


# -- TCP


def test_port_0_takes_a_free_port_and_says_which(bind):
    """The sockets listen, do not block, and are not inherited by programs that are started."""
    listener = bind(address="127.0.0.1")

    (bound,) = listener.sockets
    assert listener.port == bound.getsockname()[1] > 0
    assert listener.describe() == f"port {listener.port}"
    assert not bound.getblocking()
    assert not bound.get_inheritable()
    assert connects(socket.AF_INET, ("127.0.0.1", listener.port))


@pytest.mark.skipif(not HAS_IPV6, reason="there is no IPv6 here")
def test_all_addresses_are_those_of_both_families_at_the_same_port(bind):
    """Also where any port would do."""
    listener = bind()

    assert {each.family for each in listener.sockets} == {socket.AF_INET, socket.AF_INET6}
    assert {each.getsockname()[1] for each in listener.sockets} == {listener.port}
    assert connects(socket.AF_INET, ("127.0.0.1", listener.port))


@pytest.mark.skipif(not HAS_IPV6, reason="there is no IPv6 here")
def test_a_machine_without_an_ipv6_address_is_served_all_the_same(bind, monkeypatch):
    """An address that cannot be had is passed over as long as another can."""
    found = [
        (family, socket.SOCK_STREAM, 6, "", address)
        for family, address in [
            (socket.AF_INET6, ("2001:db8::1", 0, 0, 0)),
            (socket.AF_INET, ("127.0.0.1", 0)),
        ]
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)

    listener = bind(address="localhost")

    assert [each.family for each in listener.sockets] == [socket.AF_INET]


def test_an_address_found_twice_is_bound_once(bind, monkeypatch):
    """As where ``localhost`` has an alias in ``/etc/hosts``."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found * 2)

    assert len(bind(address="localhost").sockets) == 1


@pytest.mark.rule("H5.3")
def test_a_port_that_is_taken_is_an_error_that_says_so(bind):
    """Nobody shares a port by mistake."""
    port = bind(address="127.0.0.1").port

    with pytest.raises(BindError) as info:
        bind(address="127.0.0.1", port=port)

    assert info.value.errno == errno.EADDRINUSE
    assert info.value.strerror == (
        f"cannot listen on 127.0.0.1:{port}: Address already in use; another process listens there"
    )


def test_a_port_that_is_taken_in_one_family_leaves_no_socket_open(bind):
    """Warnings about unclosed sockets are errors here."""
    port = bind(address="127.0.0.1").port

    with pytest.raises(BindError, match=f"cannot listen on \\*:{port}: Address already in use"):
        bind(port=port)


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="there is no SO_REUSEPORT here")
def test_services_that_are_told_to_share_a_port_do(bind):
    """Both of them have to be."""
    port = bind(address="127.0.0.1", reuse_port=True).port

    assert bind(address="127.0.0.1", port=port, reuse_port=True).port == port
    with pytest.raises(BindError):
        bind(address="127.0.0.1", port=port)


def test_an_address_of_another_machine_is_an_error_that_says_so(bind):
    """RFC 5737 keeps this one for documentation."""
    with pytest.raises(BindError) as info:
        bind(address="192.0.2.1")

    assert info.value.strerror == "cannot listen on 192.0.2.1:0: Cannot assign requested address"


@pytest.mark.skipif(not HAS_IPV6, reason="there is no IPv6 here")
def test_an_ipv6_address_of_another_machine_is_an_error_too(bind, monkeypatch):
    """There is none left to listen on."""
    found = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 0, 0, 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: found)

    with pytest.raises(BindError) as info:
        bind(address="2001:db8::1")

    assert info.value.strerror == "cannot listen on 2001:db8::1:0: no such address here"


def test_a_name_that_nobody_knows_is_an_error_that_says_so(bind, monkeypatch):
    """As the system's resolver words it."""

    def unknown(*args, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    with pytest.raises(BindError) as info:
        bind(address="nowhere.invalid", port=8000)

    assert info.value.strerror == (
        "cannot listen on nowhere.invalid:8000: Name or service not known"
    )


@pytest.mark.parametrize("address", ["x" * 64, "a..example"])
def test_a_name_that_can_be_no_name_is_an_error_that_says_so(bind, address):
    """It is not even asked for."""
    with pytest.raises(BindError, match="cannot listen on"):
        bind(address=address)


def test_a_port_that_is_not_ours_to_use_is_an_error_that_says_so(bind, monkeypatch):
    """As for those below 1024."""

    class Forbidding(socket.socket):
        def bind(self, address):
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket, "socket", Forbidding)

    with pytest.raises(BindError) as info:
        bind(address="127.0.0.1", port=80)

    assert info.value.strerror == "cannot listen on 127.0.0.1:80: Permission denied"


def test_closing_closes_every_socket_and_may_be_repeated(bind):
    """Nothing is accepted any longer."""
    listener = bind()
    port = listener.port

    listener.close()
    listener.close()

    assert listener.sockets == []
    assert not connects(socket.AF_INET, ("127.0.0.1", port))


# -- unix sockets


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666, 0o777])
def test_a_unix_socket_has_the_permissions_asked_for(bind, tmp_path, mode):
    """Whatever the process's own umask is, which stays what it was."""
    path = str(tmp_path / "s.sock")
    before = os.umask(0o027)
    try:
        listener = bind(unix_socket=path, unix_socket_mode=mode)
        kept = os.umask(0o027)
    finally:
        os.umask(before)

    assert stat.S_IMODE(os.stat(path).st_mode) == mode
    assert kept == 0o027
    assert listener.port is None
    assert listener.describe() == f"unix socket {path}"
    assert connects(socket.AF_UNIX, path)


def test_a_unix_socket_is_removed_in_the_end(bind, tmp_path):
    """By whoever made it."""
    path = tmp_path / "s.sock"
    listener = bind(unix_socket=str(path))

    listener.close()
    listener.close()

    assert not path.exists()


def test_a_unix_socket_of_another_instance_is_left_alone(bind, tmp_path):
    """It has taken the place of ours."""
    path = tmp_path / "s.sock"
    listener = bind(unix_socket=str(path))
    path.unlink()
    bind(unix_socket=str(path))

    listener.close()

    assert connects(socket.AF_UNIX, str(path))


def test_a_worker_does_not_remove_the_unix_socket_of_its_parent(bind, tmp_path):
    """Others go on listening there."""
    path = tmp_path / "s.sock"
    listener = bind(unix_socket=str(path))
    pid = os.fork()
    if pid == 0:
        listener.close()
        os._exit(0)
    os.waitpid(pid, 0)

    assert connects(socket.AF_UNIX, str(path))


def test_a_stale_unix_socket_is_replaced(bind, tmp_path):
    """Nobody listens there."""
    path = str(tmp_path / "s.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)

    bind(unix_socket=path)

    assert connects(socket.AF_UNIX, path)


def test_a_living_unix_socket_is_respected(bind, tmp_path):
    """Also where its queue is full, so that nobody answers."""
    path = str(tmp_path / "s.sock")
    with socket.socket(socket.AF_UNIX) as alive, socket.socket(socket.AF_UNIX) as waiting:
        alive.bind(path)
        alive.listen(0)
        waiting.connect(path)

        with pytest.raises(BindError) as info:
            bind(unix_socket=path)

    assert info.value.strerror == (
        f"cannot listen on unix socket {path}: another process listens there"
    )


def test_a_file_is_never_replaced(bind, tmp_path):
    """It may be somebody's; a link to nowhere is one too."""
    path = tmp_path / "precious"
    path.write_text("data")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "gone")

    for each in (path, link):
        with pytest.raises(BindError) as info:
            bind(unix_socket=str(each))
        assert info.value.strerror == f"cannot listen on unix socket {each}: a file is there"

    assert path.read_text() == "data"


def test_a_unix_socket_that_cannot_be_made_is_an_error_that_says_so(bind, tmp_path):
    """No such folder; a path that is too long, for which the system has no number."""
    gone = f"{tmp_path}/gone/s.sock"
    with pytest.raises(BindError) as info:
        bind(unix_socket=gone)
    assert info.value.strerror == (
        f"cannot listen on unix socket {gone}: No such file or directory"
    )

    with pytest.raises(BindError, match="cannot listen on unix socket .*: AF_UNIX path too long"):
        bind(unix_socket=str(tmp_path / ("x" * 120)))


# -- what systemd hands over


def test_sockets_that_systemd_hands_over_are_taken():
    """From descriptor 3 on; the variables go, so that no child takes them for its own."""
    script = """
import os, socket
from sprockets.http._settings import Options
from sprockets.http._sockets import listen

made = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)]
made[1].bind("")
made[1].listen()
ports = [made[0].getsockname()[1]]
for number, each in enumerate(made, 3):
    descriptor = each.detach()
    if descriptor != number:
        os.dup2(descriptor, number)
        os.close(descriptor)
environ = {"LISTEN_FDS": "2", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": "a:b", "X": "y"}
listener = listen(Options(port=1), environ)
assert environ == {"X": "y"}, environ
assert [each.fileno() for each in listener.sockets] == [3, 4]
assert [each.family for each in listener.sockets] == [socket.AF_INET, socket.AF_UNIX]
assert not any(each.getblocking() or each.get_inheritable() for each in listener.sockets)
assert [listener.port] == ports
listener.close()
"""

    subprocess.run([sys.executable, "-P", "-W", "error", "-c", script], check=True)


def test_a_descriptor_that_is_no_socket_is_an_error_that_says_so():
    """Number 3 is a file in this program."""
    script = """
import os
from sprockets.http._settings import Options
from sprockets.http._sockets import BindError, listen

descriptor = os.open(os.devnull, os.O_RDONLY)
if descriptor != 3:
    os.dup2(descriptor, 3)
try:
    listen(Options(), {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())})
except BindError as error:
    print(error.strerror)
"""

    done = subprocess.run(
        [sys.executable, "-P", "-c", script], check=True, capture_output=True, text=True
    )

    assert done.stdout == "descriptor 3 handed over by systemd is no socket\n"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_FDS": "1"},
        {"LISTEN_FDS": "1", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "one", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "-1", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_FDS": "", "LISTEN_PID": str(os.getpid())},
        {"LISTEN_PID": str(os.getpid())},
    ],
)
def test_what_is_not_meant_for_us_is_left_alone(bind, environ):
    """The options count, and the variables stay."""
    before = dict(environ)

    listener = bind(environ, address="127.0.0.1")

    assert listener.port
    assert environ == before


def test_none_handed_over_is_as_if_nothing_was_said(bind):
    """But for the variables, which were meant for us."""
    environ = {"LISTEN_FDS": "0", "LISTEN_PID": str(os.getpid())}

    assert bind(environ, address="127.0.0.1").port
    assert environ == {}


def test_a_listener_describes_sockets_without_a_name():
    """As one that somebody has handed over unbound."""
    with socket.socket(socket.AF_UNIX) as unnamed:
        assert Listener([unnamed]).describe() == "unix socket (unnamed)"


# -- TLS


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
    """Two certificates for localhost, each with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl command to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("one", "two"):
        subprocess.run(
            [
                *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt"),
                *("ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
                *("-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")),
            ],
            check=True,
            capture_output=True,
        )
    (folder / "nonsense").write_text("no certificate")
    return folder


def test_a_context_is_used_as_it_is():
    """And without one there is no TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    assert make_ssl_context(context) is context
    assert make_ssl_context(None) is None


def test_a_dict_makes_a_context_for_a_server(folder):
    """Clients are asked for a certificate, or not, as it says."""
    given = {"certfile": str(folder / "one.pem"), "keyfile": str(folder / "one.key")}

    plain = make_ssl_context(given)
    strict = make_ssl_context(
        {
            **given,
            "ca_certs": str(folder / "two.pem"),
            "cert_reqs": ssl.CERT_REQUIRED,
            "ciphers": "ECDHE+AESGCM",
        }
    )

    assert plain.protocol == ssl.PROTOCOL_TLS_SERVER
    assert (plain.verify_mode, strict.verify_mode) == (ssl.CERT_NONE, ssl.CERT_REQUIRED)
    assert strict.cert_store_stats()["x509"] == 1
    assert len(strict.get_ciphers()) < len(plain.get_ciphers())


def test_what_is_missing_or_unknown_is_named():
    """With what would be known."""
    with pytest.raises(ValueError, match="^ssl_options: certfile is missing$"):
        make_ssl_context({"keyfile": "x"})
    with pytest.raises(
        ValueError, match="^ssl_options: unknown cert, key; known: ca_certs, cert_reqs, certfile,"
    ):
        make_ssl_context({"key": "x", "cert": "y"})


@pytest.mark.parametrize(
    ("certfile", "keyfile"),
    [("gone", "one.key"), ("one.pem", "gone"), ("nonsense", "one.key"), ("one.pem", "two.key")],
    ids=["no certificate", "no key", "no certificate in it", "another's key"],
)
def test_files_that_do_not_do_are_named(folder, certfile, keyfile):
    """Both of them: either may be at fault."""
    given = {"certfile": str(folder / certfile), "keyfile": str(folder / keyfile)}

    with pytest.raises(ValueError) as info:
        make_ssl_context(given)

    assert str(info.value).startswith(
        f"ssl_options: cannot use {folder / certfile}, {folder / keyfile}: "
    )


def test_ciphers_that_nobody_knows_are_named(folder):
    """As files are."""
    given = {"certfile": str(folder / "one.pem"), "keyfile": str(folder / "one.key")}

    with pytest.raises(ValueError, match="ssl_options: .*ROT13"):
        make_ssl_context({**given, "ciphers": "ROT13"})


@pytest.fixture(name="replaced")
def _replaced(folder, tmp_path):
    """A context, and what it was made of; and a function that puts other files in their place."""
    given = {"certfile": str(tmp_path / "cert"), "keyfile": str(tmp_path / "key")}

    def replace(cert, key):
        shutil.copy(folder / cert, given["certfile"])
        shutil.copy(folder / key, given["keyfile"])

    replace("one.pem", "one.key")
    return make_ssl_context(given), given, replace


def test_a_context_can_be_told_to_read_its_files_again(replaced):
    """Connections made from then on see the new certificate."""
    context, given, replace = replaced
    assert b"one" in _certificate_of(context)
    replace("two.pem", "two.key")

    load_certificates(context, given)

    assert b"two" in _certificate_of(context)


@pytest.mark.parametrize(
    ("cert", "key"),
    [
        ("one.pem", "two.key"),
        ("nonsense", "two.key"),
        ("two.pem", "one.key"),
        ("two.pem", "nonsense"),
    ],
)
def test_files_that_do_not_do_leave_a_context_as_it_was(replaced, cert, key):
    """The service goes on with the old certificate, as its log says."""
    context, given, replace = replaced
    replace(cert, key)

    with pytest.raises(ValueError, match="cannot use"):
        load_certificates(context, given)

    assert b"one" in _certificate_of(context)


def _certificate_of(context):
    """Return what a server with *context* shows its clients."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    ends = [ssl.MemoryBIO() for _ in range(2)]
    client = trusting.wrap_bio(ends[0], ends[1])
    server = context.wrap_bio(ends[1], ends[0], server_side=True)
    for end in (client, server, client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    found = client.getpeercert(binary_form=True)
    assert found is not None
    return found
