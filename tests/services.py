"""The servers that tests talk to: where they are, and what happens if they are not there.

Each is found through an environment variable.  A test that needs one which is missing is skipped,
with the reason; where ``SPROCKETS_REQUIRE_SERVICES=1`` is set, it fails.
"""

import os
import socket
from urllib.parse import urlsplit

import pytest

REQUIRED = os.environ.get("SPROCKETS_REQUIRE_SERVICES") == "1"
TIMEOUT = 2.0  # seconds


def require(condition: object, reason: str) -> None:
    """Skip the test for *reason* unless *condition* holds; fail it where all servers must be."""
    if condition:
        return
    if REQUIRED:
        pytest.fail(f"{reason} (SPROCKETS_REQUIRE_SERVICES=1)")
    pytest.skip(reason)


def _address_of(url: str, port: int) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or port


def _answers(url: str, port: int) -> bool:
    try:
        socket.create_connection(_address_of(url, port), TIMEOUT).close()
    except OSError:
        return False
    return True


def _service(name: str, variable: str, default: str, port: int) -> str:
    url = os.environ.get(variable, default)
    require(_answers(url, port), f"no {name} at {url}; set {variable}")
    return url


def redis_url() -> str:
    """Return the URL of a Redis server."""
    return _service("Redis", "SPROCKETS_TEST_REDIS", "redis://127.0.0.1:6379/0", 6379)


def rabbitmq_url() -> str:
    """Return the URL of a RabbitMQ server."""
    return _service(
        "RabbitMQ", "SPROCKETS_TEST_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672//", 5672
    )


def nats_url() -> str:
    """Return the URL of a NATS server with JetStream."""
    return _service("NATS", "SPROCKETS_TEST_NATS", "nats://127.0.0.1:4222", 4222)


def postgresql_url() -> str:
    """Return the URL of a PostgreSQL database that tests may fill."""
    return _service(
        "PostgreSQL",
        "SPROCKETS_TEST_POSTGRESQL",
        "postgresql+psycopg://postgres@127.0.0.1:5432/test",
        5432,
    )


def mariadb_url() -> str:
    """Return the URL of a MariaDB database that tests may fill."""
    return _service(
        "MariaDB", "SPROCKETS_TEST_MARIADB", "mysql+pymysql://root@127.0.0.1:3306/test", 3306
    )
