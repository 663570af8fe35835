"""A real service in processes of its own, for each test anew."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.http.serving.driver import Service, no_process_left

SCRIPT = Path(__file__).with_name("service.py")


class Marks:
    """What the service wrote down of itself."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self) -> list[tuple[str, int]]:
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text().splitlines():
            event, _, pid = line.rpartition(" ")
            found.append((event, int(pid)))
        return found

    def count(self, event: str) -> int:
        return sum(each == event for each, _ in self.lines())


@pytest.fixture(name="marks")
def _marks(tmp_path: Path) -> Marks:
    return Marks(tmp_path / "marks")


@pytest.fixture(name="start")
def _start(tmp_path: Path, marks: Marks) -> Iterator[Callable[..., Service]]:
    """Start the service with settings; keyword arguments in capitals are its environment."""
    with ExitStack() as stack:
        started = []

        def start(
            settings: dict[str, Any] | None = None, *, ready: str | None = "/", **options: Any
        ) -> Service:
            env = {name: str(value) for name, value in options.items() if name.isupper()}
            rest = {name: value for name, value in options.items() if not name.isupper()}
            wanted = {"number_of_procs": 2, "port": 0, "address": "127.0.0.1", **(settings or {})}
            path = wanted.get("unix_socket")
            service = Service(
                ["placeholder"],
                unix_socket=path,
                env={"MARK": str(marks.path), **env},
                cwd=tmp_path,
                ready_path=ready,
                **rest,
            )
            if path is not None:
                wanted.pop("port")
            elif wanted["port"] == 0:
                wanted["port"] = service.port
            command = [sys.executable, "-P", str(SCRIPT)]
            if "PLAIN" not in env:  # that one is told to derive its application from ours
                command[2:2] = ["-W", "error::DeprecationWarning"]
            service.command = [*command, json.dumps(wanted)]
            started.append(service)
            stack.enter_context(service)
            if ready is not None and not env.get("LOG") and not wanted.get("debug"):
                count = wanted["number_of_procs"]
                service.wait_output(f"with {count} workers" if count != 1 else "starting 1")
            return service

        yield start
    for service in started:
        assert no_process_left(service.session_id)


def records(service: Service, channel: str | None = None) -> list[dict[str, Any]]:
    """The JSON lines that *service* has written."""
    found = []
    for line in service.output().splitlines():
        if line.startswith("{"):
            record = json.loads(line)
            if channel is None or record["channel"] == channel:
                found.append(record)
    return found
