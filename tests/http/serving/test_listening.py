"""Where a service listens: ports, unix sockets, what systemd hands over, TLS."""

import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
from time import monotonic

import pytest

from tests.http.serving.driver import Connection, get, outcome_of, wait_until


@pytest.mark.rule("H5.3", "H5.2")
def test_the_log_says_where_the_service_listens(start):
    """With several processes and with one."""
    several = start()
    one = start({"debug": True})

    assert f"starting processes on port {several.port}" in several.output()
    assert f"starting 1 process on port {one.port}" in one.output()
    assert one.worker_pids() == []


def test_a_second_service_on_the_same_port_fails_at_once(start):
    """With one line and status 69; the first one does not notice."""
    first = start()
    began = monotonic()

    second = start(ready=None, port=first.port)

    assert second.wait(5) == 69
    assert monotonic() - began < 2.0
    lines = second.output().strip().splitlines()
    assert len(lines) == 1
    assert "another process listens there" in lines[0]
    assert get(first.address).status == 200


def test_a_service_can_be_started_again_at_once(start):
    """Connections of the one before, in TIME_WAIT, do not hold the port."""
    first = start()
    with Connection(first.address) as connection:
        connection.request("/")
        first.signal(signal.SIGTERM)
        assert first.wait(5) == 0

    second = start(port=first.port)

    assert get(second.address).status == 200


def test_port_0_takes_a_free_port_and_says_which(start):
    """In the log."""
    service = start({"port": 0, "address": None}, ready=None)

    wait_until(lambda: "serving on port" in service.output())
    text = service.output().partition("serving on port ")[2].split()[0]

    assert get(int(text)).status == 200


def test_a_unix_socket_has_the_permissions_asked_for_and_is_removed_in_the_end(start, tmp_path):
    """Nothing is bound to a port."""
    path = str(tmp_path / "s.sock")
    service = start({"unix_socket": path, "unix_socket_mode": "600"})

    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert get(path).status == 200
    service.signal(signal.SIGTERM)
    assert service.wait(5) == 0
    assert not os.path.exists(path)


def test_a_stale_unix_socket_is_replaced_and_a_living_one_respected(start, tmp_path):
    """A second service says who is there; a service after one that was killed starts."""
    path = str(tmp_path / "s.sock")
    first = start({"unix_socket": path})
    second = start({"unix_socket": path}, ready=None)
    assert second.wait(5) == 69
    assert "another process listens there" in second.output()
    first.kill_all()
    assert os.path.exists(path)

    third = start({"unix_socket": path})

    assert get(third.address).status == 200


def test_a_unix_socket_never_replaces_a_file(start, tmp_path):
    """It may be somebody's."""
    path = tmp_path / "precious"
    path.write_text("data")
    service = start({"unix_socket": str(path)}, ready=None)

    assert service.wait(5) == 69
    assert path.read_text() == "data"


def test_a_socket_that_systemd_hands_over_is_served(start, tmp_path):
    """``LISTEN_FDS`` and ``LISTEN_PID``, as in socket activation."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        # The descriptor must be number 3 and the process id that of the service.
        service = start(ready=None, port=port, pass_fds=[listening.fileno()])
        service.kill_all()
        script = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True);"
            "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()));"
            "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
        )
        service.command = [
            sys.executable,
            "-c",
            script,
            str(listening.fileno()),
            *service.command[1:],
        ]
        service.start()

        assert service.wait_ready().status == 200
        assert f"serving on port {port}" in service.wait_output("serving on")


def test_systemd_is_told_of_every_state(start, tmp_path):
    """READY when all workers are, RELOADING and READY around a reload, STOPPING; and WATCHDOG."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(path)
        notified.settimeout(10)
        service = start(NOTIFY_SOCKET=path, WATCHDOG_USEC="400000")
        heard = []

        def hear(word: str) -> None:
            while not any(word in message for message in heard):
                heard.append(notified.recv(4096).decode())

        hear("READY=1")
        assert f"MAINPID={service.pid}" in heard[-1]
        hear("WATCHDOG=1")
        heard.clear()
        service.signal(signal.SIGHUP)
        hear("RELOADING=1")
        assert "MONOTONIC_USEC=" in heard[-1]
        hear("READY=1")
        service.signal(signal.SIGTERM)
        hear("STOPPING=1")
        assert service.wait(5) == 0


def test_systemd_is_told_by_a_service_of_one_process_too(start, tmp_path):
    """READY once it serves, WATCHDOG from its loop, STOPPING."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(path)
        notified.settimeout(10)
        service = start({"number_of_procs": 1}, NOTIFY_SOCKET=path, WATCHDOG_USEC="400000")
        heard = set()

        while not {"READY=1", "WATCHDOG=1"} <= heard:
            heard.add(notified.recv(4096).decode().splitlines()[0])
        service.signal(signal.SIGTERM)
        while "STOPPING=1" not in heard:
            heard.add(notified.recv(4096).decode().splitlines()[0])

        assert service.wait(5) == 0


@pytest.fixture(name="certificates", scope="module")
def _certificates(tmp_path_factory):
    """Two certificates for localhost, each with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl command to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("one", "two"):
        subprocess.run(
            [
                *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
                *("-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost"),
                *("-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")),
            ],
            check=True,
            capture_output=True,
        )
    return folder


def _common_name(port: int) -> str:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 5) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert client.recv(64).startswith(b"HTTP/1.1 200")
            certificate = client.getpeercert(binary_form=True)
    assert certificate is not None
    return "one" if b"one" in certificate else "two"


@pytest.mark.parametrize("procs", [1, 2])
def test_certificates_are_read_again_on_sighup(start, tmp_path, certificates, procs):
    """New connections get the new one."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(certificates / "one.pem", cert)
    shutil.copy(certificates / "one.key", key)
    service = start(
        {"number_of_procs": procs, "ssl_options": {"certfile": str(cert), "keyfile": str(key)}},
        ready=None,
    )
    service.wait_output("serving on" if procs > 1 else "starting 1")
    wait_until(lambda: outcome_of(lambda: get(service.address)) != "refused")
    assert _common_name(service.port) == "one"
    shutil.copy(certificates / "two.pem", cert)
    shutil.copy(certificates / "two.key", key)

    service.signal(signal.SIGHUP)
    service.wait_output("all workers are replaced" if procs > 1 else "read the certificates again")

    assert _common_name(service.port) == "two"


@pytest.mark.parametrize("procs", [1, 2])
def test_a_certificate_that_is_missing_ends_the_start(start, tmp_path, procs):
    """The log names the file."""
    service = start(
        {"number_of_procs": procs, "ssl_options": {"certfile": str(tmp_path / "no.pem")}},
        ready=None,
    )

    assert service.wait(5) == 70
    assert "no.pem" in service.output()


@pytest.mark.parametrize("procs", [1, 2])
def test_a_service_runs_on_uvloop(start, procs):
    """With everything that threads and signals need."""
    pytest.importorskip("uvloop")
    service = start({"uvloop": True, "number_of_procs": procs})

    assert get(service.address, "/everywhere?name=it").status == 200
    service.signal(signal.SIGTERM)
    assert service.wait(5) == 0
