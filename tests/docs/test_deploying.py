"""The page about deployment says what holds: each piece of it is tried with the real thing."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.docs.walking import parts_of
from tests.http.serving.driver import (
    Pending,
    Service,
    free_port,
    get,
    processes,
    wait_until,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "howto" / "deploying.rst"
BLOCKS = {
    part.options.get("caption", part.argument): part.content
    for part in parts_of(PAGE)
    if part.kind == "code-block"
}

PROGRAM = """
import asyncio
import sys
import sprockets.http
from sprockets.http import health
from sprockets.http.app import Application
from sprockets.logbook import FileHandler, Logger
from tornado import web

class Slow(web.RequestHandler):
    async def get(self):
        Logger("shop").info("slow")
        await asyncio.sleep(float(self.get_query_argument("seconds")))
        self.write("done")

def make_app(**settings):
    return Application([("/slow", Slow), *health.handlers()], **settings)

if __name__ == "__main__":
    logs = [FileHandler(sys.argv[2], level="INFO")] if len(sys.argv) > 2 else []
    settings = {"number_of_procs": int(sys.argv[1]), "pid_file": "shop.pid", "drain_delay": 1}
    sprockets.http.run(make_app, settings, *logs)
"""


@pytest.fixture(name="program")
def _program(tmp_path: Path) -> str:
    path = tmp_path / "shop.py"
    path.write_text(PROGRAM)
    return str(path)


# -- numbers that must fit


def _seconds(pattern: str) -> int:
    found = re.search(pattern, PAGE.read_text("utf-8"))
    assert found, pattern
    return int(found[1])


def test_a_pod_has_more_time_than_the_service_takes():
    """Delay and limit, in the manifest as in the settings, and some seconds to spare."""
    drain = _seconds(r'SPROCKETS_DRAIN_DELAY, value: "(\d+)"')
    limit = _seconds(r'SPROCKETS_SHUTDOWN_LIMIT, value: "(\d+)"')
    grace = _seconds(r"terminationGracePeriodSeconds: (\d+)")

    assert (drain, limit) == (_seconds(r'"drain_delay": (\d+)'), _seconds(r'limit": (\d+)'))
    assert drain + limit + 3 <= grace
    assert _seconds(r"sleep: {seconds: (\d+)}") + limit + 3 <= grace
    assert drain + limit + 3 <= _seconds(r"TimeoutStopSec=(\d+)")


def test_a_readiness_probe_sees_the_end_in_time():
    """It asks, and has failed often enough, before the delay is over."""
    probe = BLOCKS["shop.yaml"].partition("readinessProbe")[2]
    period, failures = (
        int(re.search(rf"{name}: (\d+)", probe)[1])
        for name in ("periodSeconds", "failureThreshold")
    )

    assert period * failures < _seconds(r'"drain_delay": (\d+)')


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path):
    """Every key is one that systemd knows, in the section where it belongs."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze; install Debian's package systemd")
    unit = tmp_path / "shop.service"
    text = BLOCKS["/etc/systemd/system/shop.service"]
    unit.write_text(text.replace("/opt/shop/bin/python", sys.executable))

    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    complaints = [line for line in done.stderr.splitlines() if "shop.service" in line]
    assert complaints == []


# -- process 1


def _first_of_a_container() -> list[str]:
    """Return what starts a command as process 1 of a space of processes of its own."""
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if os.geteuid() != 0:
        command.append("--map-root-user")
    try:
        subprocess.run([*command, "true"], capture_output=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("no unshare, or it is not allowed here")
    return command


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_may_be_process_1(program: str, tmp_path: Path, workers: str):
    """SIGTERM reaches it, what is in flight is answered, /ready warns, the status is 0."""
    command = [*_first_of_a_container(), sys.executable, "-P", program, workers]
    port = free_port()
    with Service(
        command, port=port, env={"PORT": str(port)}, cwd=tmp_path, ready_path="/ready"
    ) as it:
        assert (tmp_path / "shop.pid").read_text().strip() == "1"
        (first,) = (each.pid for each in processes() if each.parent == it.pid)
        request = Pending(port, "/slow?seconds=2")
        wait_until(lambda: '"slow"' in it.output())

        it.signal(signal.SIGTERM, first)

        wait_until(lambda: get(port, "/ready").status == 503)
        assert request.result().body == b"done"
        assert it.wait() == 0


# -- logrotate


def test_logrotate_moves_the_file_and_all_workers_write_the_next(program: str, tmp_path: Path):
    """With the page's own configuration, paths aside; no line is lost."""
    logrotate = shutil.which("logrotate") or shutil.which("/usr/sbin/logrotate")
    if logrotate is None:
        pytest.skip("no logrotate; install Debian's package of that name")
    log = tmp_path / "shop.log"
    rules = BLOCKS["/etc/logrotate.d/shop"]
    rules = rules.replace("/var/log/shop/*.log", str(log)).replace("/run/shop.pid", "shop.pid")
    (tmp_path / "rules").write_text(f"{rules}\n")
    (tmp_path / "rules").chmod(0o644)
    tmp_path.chmod(0o755)
    command = [sys.executable, "-P", program, "2", str(log)]
    port = free_port()
    running = Service(
        command, port=port, env={"PORT": str(port)}, cwd=tmp_path, ready_path="/ready"
    )
    with running as service:
        get(port, "/slow?seconds=0")

        subprocess.run(
            [logrotate, "--force", "--state", str(tmp_path / "state"), str(tmp_path / "rules")],
            cwd=tmp_path,
            capture_output=True,
            timeout=60,
            check=True,
        )

        # A line may still go to the old file until the signal has come to every worker.
        wait_until(lambda: not any(map(_writes_to_the_old_one, service.worker_pids())))
        for _ in range(20):
            get(port, "/slow?seconds=0")
        assert (tmp_path / "shop.log.1").read_text().count("INFO: shop: slow") == 1
        assert log.read_text().count("INFO: shop: slow") == 20


def _writes_to_the_old_one(pid: int) -> bool:
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if "shop.log.1" in os.readlink(path):
                return True
    return False


# -- servers that fork


def test_the_file_for_gunicorn_works(tmp_path: Path):
    """Its workers write one file: what the application logs, and what other libraries do."""
    pytest.importorskip("gunicorn")
    (tmp_path / "gunicorn.conf.py").write_text(BLOCKS["gunicorn.conf.py"])
    (tmp_path / "wsgi.py").write_text(
        textwrap.dedent(
            """
            import logging
            from sprockets.logbook import Logger

            def application(environ, start_response):
                Logger("shop").info("sold")
                logging.getLogger("driver").warning("%d retries", 3)
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [b"sold"]
            """
        )
    )
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "--workers",
        "2",
        "--bind",
        "127.0.0.1:{port}",
        "wsgi",
    ]
    with Service(command, cwd=tmp_path) as service:
        for _ in range(9):
            assert get(service.address).body == b"sold"
        service.signal(signal.SIGTERM)
        # A worker that is just beginning misses it, and is killed half a minute later.
        service.wait(45)

    lines = (tmp_path / "shop.log").read_text().splitlines()
    assert sum(line.endswith("INFO: shop: sold") for line in lines) == 10
    assert sum(line.endswith("WARNING: driver: 3 retries") for line in lines) == 10


def test_the_manifest_is_yaml_that_kubernetes_takes(tmp_path: Path):
    """As far as a client can tell without a cluster."""
    yaml = pytest.importorskip("yaml")

    manifest = yaml.safe_load(BLOCKS["shop.yaml"])

    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert json.dumps(manifest)
    assert {probe for probe in container if probe.endswith("Probe")} == {
        "startupProbe",
        "readinessProbe",
        "livenessProbe",
    }
