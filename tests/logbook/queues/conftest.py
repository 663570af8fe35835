"""Servers that tests of queues start themselves, to stop them in the middle."""

import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

ROOT = str(Path(__file__).parents[3])
if ROOT not in sys.path:
    # Last: what is tested is what is installed.
    sys.path.append(ROOT)

from tests.services import require  # noqa: E402 - found through the line above


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RedisServer:
    """A Redis server of our own: what it has acknowledged is on disk, whatever becomes of it."""

    def __init__(self, folder, *options):
        self.folder = folder
        self.port = free_port()
        self.options = options
        self.process = None

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self, **options):
        """Return a client that answers with text, and does not try again."""
        once = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        return redis.Redis(
            "127.0.0.1", self.port, **{"decode_responses": True, "retry": once, **options}
        )

    def start(self):
        self.process = subprocess.Popen(
            [
                "redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                "--appendonly", "yes", "--appendfsync", "always", "--dir", str(self.folder),
                *self.options,
            ],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 20.0
        while True:
            try:
                with self.client() as client:
                    client.ping()
                return self
            except (redis.AuthenticationError, redis.ResponseError):
                return self
            except redis.RedisError:
                assert time.monotonic() < deadline, "redis-server does not start"
                time.sleep(0.02)

    def stop(self, how=signal.SIGTERM):
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(20.0)
            self.process = None


@pytest.fixture(name="make_redis_server")
def _make_redis_server(tmp_path):
    require(shutil.which("redis-server"), "no redis-server is installed")
    made = []

    def make(*options):
        folder = tmp_path / f"redis-{len(made)}"
        folder.mkdir()
        made.append(RedisServer(folder, *options))
        return made[-1].start()

    yield make
    for server in made:
        server.stop(signal.SIGKILL)


@pytest.fixture(name="redis_server")
def _redis_server(make_redis_server):
    return make_redis_server()
