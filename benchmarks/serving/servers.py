"""How each server is started: two workers, on a given port, with the same budget to stop.

Where a server has an option for what is asked of it, it is set: none is shown worse than it can.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
APPLICATION = "benchmarks.serving.app_asgi:app"
WORKERS = 2


@dataclass(frozen=True)
class Limits:
    """What a server is told; None leaves it to the server.

    Args:
        budget: Seconds that a stop may take.
        heartbeat: Seconds after which a worker that gives no sign is hung.
    """

    budget: int | None = 5
    heartbeat: int | None = 5


@dataclass(frozen=True)
class Server:
    """A server to be driven.

    Args:
        package: What tells its version.
        command: Makes the command from the interpreter, limits, and a directory to write to;
            ``{port}`` stands for the port.
    """

    package: str
    command: Callable[[str, Limits, Path], list[str]]


def _options(options: Mapping[str, object]) -> list[str]:
    return [f"{name}={value}" for name, value in options.items() if value is not None]


def _ours(_python: str, limits: Limits, _directory: Path) -> list[str]:
    # Ours is what this is run with, wherever the peers live.
    script = str(Path(__file__).with_name("ours.py"))
    options = {"--shutdown-limit": limits.budget, "--heartbeat-timeout": limits.heartbeat}
    return [sys.executable, "-P", script, "--port={port}", *_options(options)]


def _gunicorn(python: str, limits: Limits, _directory: Path) -> list[str]:
    options = {
        "--bind": "127.0.0.1:{port}",
        "--workers": WORKERS,
        "--worker-class": "asgi",
        "--graceful-timeout": limits.budget,
        "--timeout": limits.heartbeat,
    }
    # The control socket would be left in the home directory.
    return [python, "-m", "gunicorn", *_options(options), "--no-control-socket", APPLICATION]


def _uvicorn(python: str, limits: Limits, _directory: Path) -> list[str]:
    options = {
        "--host": "127.0.0.1",
        "--port": "{port}",
        "--workers": WORKERS,
        "--timeout-graceful-shutdown": limits.budget,
        "--timeout-worker-healthcheck": limits.heartbeat,
    }
    return [python, "-m", "uvicorn", *_options(options), APPLICATION]


def _hypercorn(python: str, limits: Limits, directory: Path) -> list[str]:
    # Two of its limits have no option on the command line.
    config = directory / "hypercorn.toml"
    settings = {
        "graceful_timeout": limits.budget,
        "shutdown_timeout": limits.budget,
        "startup_timeout": limits.heartbeat,
    }
    lines = (f"{name} = {value}\n" for name, value in settings.items() if value is not None)
    config.write_text("".join(lines))
    options = {"--bind": "127.0.0.1:{port}", "--workers": WORKERS, "--config": config}
    return [python, "-m", "hypercorn", *_options(options), APPLICATION]


def _granian(python: str, limits: Limits, _directory: Path) -> list[str]:
    options = {
        "--interface": "asgi",
        "--host": "127.0.0.1",
        "--port": "{port}",
        "--workers": WORKERS,
        "--workers-kill-timeout": limits.budget,
    }
    # Off unless asked for; then the end of one worker ends the server.
    respawn = "--respawn-failed-workers"
    return [python, "-m", "granian", *_options(options), respawn, APPLICATION]


SERVERS = {
    "ours": Server("sprockets.http", _ours),
    "gunicorn": Server("gunicorn", _gunicorn),
    "uvicorn": Server("uvicorn", _uvicorn),
    "hypercorn": Server("hypercorn", _hypercorn),
    "granian": Server("granian", _granian),
}
