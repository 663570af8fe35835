"""Settings: what a service can be told, from the caller's dict and from the environment."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_TRUE: Final = frozenset({"true", "yes", "on", "t", "y"})
_FALSE: Final = frozenset({"false", "no", "off", "f", "n"})


def parse_flag(text: str) -> bool:
    """Return what *text* says: an integer, or true/yes/on and false/no/off in any case.

    Raises:
        ValueError: *text* says neither.
    """
    word = text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    try:
        return int(word) != 0
    except ValueError:
        raise ValueError(f"expected a number, true/yes/on or false/no/off, got {text!r}") from None


def _flag(value: Any) -> bool:
    return parse_flag(value) if isinstance(value, str) else bool(value)


def _whole(least: int, most: int | None = None) -> Callable[[Any], int]:
    def convert(value: Any) -> int:
        try:
            number = int(value)
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"expected an integer, got {value!r}") from None
        if number < least or (most is not None and number > most):
            bounds = f"{least} to {most}" if most is not None else f"at least {least}"
            raise ValueError(f"expected {bounds}, got {number}")
        return number

    return convert


def _seconds(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"expected seconds, got {value!r}") from None
    if not 0 <= number < float("inf"):
        raise ValueError(f"expected seconds, 0 or more, got {number}")
    return number


def _text(value: Any) -> str:
    return str(value)


def _level(value: Any) -> str:
    from sprockets.logbook import lookup_level

    try:
        lookup_level(value.upper() if isinstance(value, str) else value)
    except (LookupError, TypeError):
        raise ValueError(f"expected a level such as error, got {value!r}") from None
    return str(value).upper()


def _mode(value: Any) -> int:
    try:
        mode = value if isinstance(value, int) else int(str(value), 8)
        if 0 <= mode <= 0o777:
            return mode
    except ValueError:
        pass
    raise ValueError(f"expected octal permissions such as 660, got {value!r}")


def _as_is(value: Any) -> Any:
    return value


def _option(
    default: Any,
    convert: Callable[[Any], Any],
    help: str,
    *,
    variable: str | None = None,
    stays: bool = False,
) -> Any:
    metadata = {"convert": convert, "help": help, "variable": variable, "stays": stays}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the runner can be told; every time is in seconds.

    Each is a key of ``settings`` and an environment variable, ``SPROCKETS_`` and its name in
    capitals (the port is ``PORT``, debug mode ``DEBUG``, the log format ``LOG_FORMAT``).
    """

    debug: bool = _option(
        False, _flag, "one process, tracebacks in answers", variable="DEBUG", stays=True
    )
    port: int = _option(8000, _whole(0, 65535), "TCP port; 0 takes a free one", variable="PORT")
    address: str | None = _option(None, _text, "host name or address to listen on; all by default")
    number_of_procs: int = _option(
        0, _whole(-(2**31)), "worker processes; 0 means one for each processor we may use"
    )
    unix_socket: str | None = _option(None, _text, "listen on a unix socket at this path instead")
    unix_socket_mode: int | None = _option(None, _mode, "permissions of the unix socket, octal")
    reuse_port: bool = _option(
        False, _flag, "let other services bind the same port (SO_REUSEPORT); hides mistakes"
    )
    backlog: int = _option(2048, _whole(1), "connections that may wait to be accepted")
    ssl_options: Any = _option(  # noqa: RUF009  # a field, made once
        None, _as_is, "an ssl.SSLContext, or a dict with certfile and keyfile; files are reread"
    )
    shutdown_limit: float = _option(25.0, _seconds, "time for a whole stop")
    wait_timeout: float = _option(1.0, _seconds, "how often an unfinished stop is looked at")
    drain_delay: float = _option(
        0.0, _seconds, "keep serving this long after a stop signal, with /ready saying 503"
    )
    start_timeout: float = _option(60.0, _seconds, "time for a worker to start; 0 for no bound")
    heartbeat_timeout: float = _option(
        30.0, _seconds, "replace a worker whose loop is blocked this long; 0 for never"
    )
    wait_for_on_start: bool = _option(
        False, _flag, "accept connections only once every on_start callback has returned"
    )
    max_restarts: int = _option(
        8, _whole(1), "give up after this many workers in a row died without serving"
    )
    restart_window: float = _option(60.0, _seconds, "what counts as in a row")
    max_requests: int = _option(0, _whole(0), "replace a worker after this many requests; 0: never")
    max_requests_jitter: int = _option(0, _whole(0), "and up to this many more, at random")
    max_lifetime: float = _option(0.0, _seconds, "replace a worker after this time; 0: never")
    max_lifetime_jitter: float = _option(0.0, _seconds, "and up to this much later, at random")
    max_memory: int = _option(
        0, _whole(0), "replace a worker that holds more resident bytes; 0: never"
    )
    max_connections: int = _option(
        0, _whole(0), "connections a worker holds at once; others wait; 0: no bound"
    )
    idle_timeout: float = _option(75.0, _seconds, "close a connection that is idle this long")
    header_timeout: float = _option(30.0, _seconds, "time from a request's first byte to its body")
    body_timeout: float = _option(60.0, _seconds, "time for a request's body; 0 for no bound")
    max_header_size: int = _option(65536, _whole(1), "bytes of a request's head")
    max_header_count: int = _option(100, _whole(1), "header fields of a request")
    pid_file: str | None = _option(None, _text, "write the parent's process id here")
    preload: bool = _option(False, _flag, "make the application before forking, to share memory")
    uvloop: bool = _option(False, _flag, "run on uvloop")
    log_format: str | None = _option(
        None, _text, "built-in logging: json, console or structured", variable="LOG_FORMAT"
    )
    collector: str | None = _option(
        None, _text, "one process writes what all log, as FILE:NAME of a set-up says"
    )
    collector_folder: str | None = _option(
        None, _text, "where its socket is, and what it has not had yet; a temporary one by default"
    )
    collector_heartbeat_timeout: float = _option(
        60.0, _seconds, "replace a collector whose loop is blocked this long; 0 for never"
    )
    tickets: str | None = _option(
        None, _text, "count errors in this store, as sqlite:///tickets.sqlite"
    )
    tickets_level: str = _option("ERROR", _level, "least level that is counted")
    tickets_leading_level: str = _option(
        "INFO", _level, "least level of what is kept of a request, to go with what is counted"
    )
    log_actions: bool = _option(
        True, _flag, "write the messages of actions where the records go; no: only to destinations"
    )
    xheaders: bool = _option(
        True, _flag, "believe X-Real-Ip and X-Forwarded-For, as behind a proxy", stays=True
    )
    continue_tasks: bool = _option(
        True, _flag, "make requests part of the task that X-Eliot-Task-Id names", stays=True
    )
    max_body_size: int | None = _option(
        None, _whole(0), "bytes of a request's body; 100 MiB by default", stays=True
    )
    max_buffer_size: int | None = _option(
        None, _whole(0), "bytes buffered for a connection; 100 MiB by default", stays=True
    )


FIELDS: Final[Mapping[str, dataclasses.Field[Any]]] = {
    each.name: each for each in dataclasses.fields(Options)
}


def variable_of(name: str) -> str:
    """Return the environment variable for the option *name*."""
    return FIELDS[name].metadata["variable"] or f"SPROCKETS_{name.upper()}"


def resolve(
    settings: Mapping[str, Any] | None, environ: Mapping[str, str]
) -> tuple[Options, dict[str, Any]]:
    """Return the runner's options, and the keyword arguments for the application's factory.

    A key in *settings* beats the variable in *environ*, which beats the default.  A key that is
    None and a variable that is blank count as absent.  The variable of a key that is given is not
    looked at.  *settings* is not changed.

    Raises:
        ValueError: A value makes no sense; the text names the key or the variable.
    """
    rest = dict(settings or {})
    found: dict[str, Any] = {}
    for name, each in FIELDS.items():
        stays = each.metadata["stays"]
        value = rest.get(name) if stays else rest.pop(name, None)
        if stays and value is None and name != "debug":
            rest.pop(name, None)
        if isinstance(value, str) and not value.strip():
            value = None  # as a blank variable is
        convert = each.metadata["convert"]
        if name == "debug" and name in rest:
            # Whatever the caller says is taken by its truth: this is no text from outside.
            found[name] = bool(value)
            continue
        if value is not None:
            try:
                found[name] = convert(value)
            except ValueError as error:
                raise ValueError(f"settings[{name!r}]: {error}") from None
            if stays:
                rest[name] = found[name]
            continue
        variable = variable_of(name)
        text = environ.get(variable, "").strip()
        if text and name != "ssl_options":
            try:
                found[name] = convert(text)
            except ValueError as error:
                raise ValueError(f"environment variable {variable}: {error}") from None
            if stays:
                rest[name] = found[name]
    options = Options(**found)
    rest["debug"] = options.debug
    return options, rest
