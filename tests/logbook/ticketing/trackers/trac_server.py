"""A Trac of our own, made for the tests: an environment in a folder, and tracd on a free port."""

import base64
import hashlib
import importlib.util
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing

from tests.services import require

USER, PASSWORD = "bot", "s3cr3t"
REALM = "shop"
LIMIT = 60.0  # seconds


def _python():
    """Return the interpreter that has Trac."""
    own = os.environ.get("SPROCKETS_TEST_TRAC_PYTHON")
    if own:
        return own
    require(
        importlib.util.find_spec("trac") and importlib.util.find_spec("tracticketrpc"),
        "no Trac; pip install Trac trac-ticketrpc, or set SPROCKETS_TEST_TRAC_PYTHON",
    )
    return sys.executable


def _free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class TracServer:
    """Runs until it is closed.

    Args:
        folder: Where it is made.
        with_plug_in: Whether trac-ticketrpc is enabled.
        with_digest: Ask for Digest authentication, not for Basic.
    """

    def __init__(self, folder, *, with_plug_in=False, with_digest=False):
        self.python = _python()
        self.dialect = "auto"
        self.environment = folder / "trac"
        self._admin("initenv", "Shop", "sqlite:db/trac.db")
        settings = self.environment / "conf" / "trac.ini"
        text = re.sub(r"(?m)^default_language =.*$", "", settings.read_text())
        if with_plug_in:
            text += "\n[components]\ntracticketrpc.* = enabled\n"
        settings.write_text(text)
        users = folder / "users"
        if with_digest:
            secret = hashlib.md5(f"{USER}:{REALM}:{PASSWORD}".encode()).hexdigest()
            users.write_text(f"{USER}:{REALM}:{secret}\n")
        else:
            digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
            users.write_text(f"{USER}:{{SHA}}{digest}\n")
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        kind = "--auth" if with_digest else "--basic-auth"
        self._log = (folder / "tracd.log").open("wb")
        self._process = subprocess.Popen(
            [
                *(self.python, "-W", "ignore", "-m", "trac.web.standalone"),
                *("--hostname", "127.0.0.1", "-p", str(self.port), "--single-env"),
                *(f"{kind}=trac,{users},{REALM}", str(self.environment)),
            ],
            stdout=self._log,
            stderr=self._log,
            cwd=folder,
        )
        self._wait()

    def _admin(self, *command):
        subprocess.run(
            [self.python, "-W", "ignore", "-m", "trac.admin.console", self.environment, *command],
            check=True,
            capture_output=True,
            timeout=LIMIT,
            cwd=self.environment.parent,
        )

    def _wait(self):
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            assert self._process.poll() is None, "tracd ended"
            try:
                urllib.request.urlopen(self.url, timeout=5).close()
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
            else:
                return
        raise AssertionError("tracd does not answer")

    def rows(self, query, *arguments):
        """Return what is in its database."""
        with closing(sqlite3.connect(self.environment / "db" / "trac.db", timeout=LIMIT)) as db:
            return db.execute(query, arguments).fetchall()

    def comments(self, ticket):
        """Return the comments of one of its tickets, oldest first."""
        return [
            text
            for (text,) in self.rows(
                "SELECT newvalue FROM ticket_change WHERE ticket = ? AND field = 'comment'"
                " ORDER BY time",
                ticket,
            )
        ]

    def page(self, path):
        """Return one of its pages."""
        with urllib.request.urlopen(self.url + path, timeout=LIMIT) as answer:
            return answer.read().decode()

    def close(self):
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(LIMIT)
        self._log.close()
