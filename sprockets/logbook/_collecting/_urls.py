"""Sources named by URLs, as on a command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from sprockets.logbook._collecting._source import Source
from sprockets.logbook.queues._subscriber import SubscriberBase

#: Makes a subscriber of a URL without its options, and of these.
Maker: TypeAlias = Callable[..., SubscriberBase]
Convert: TypeAlias = Callable[[str], Any]

_SCHEME: Final = re.compile(r"(?i)([a-z][a-z0-9+.-]*)://")
_MASK: Final = "***"


@dataclass(frozen=True)
class Kind:
    """A kind of source.

    Args:
        example: What such a URL looks like.
        make: Called with the URL, without those of its options that are in *options*, and with
            these as keyword arguments.
        options: What may follow the ``?``, each with what makes a value of its text.
        required: Those that must be there.
        is_strict: Whether there may be no other options; else they stay in the URL.
        is_kept: As for `Source`.
    """

    example: str
    make: Maker
    options: Mapping[str, Convert] = field(default_factory=lambda: MappingProxyType({}))
    required: tuple[str, ...] = ()
    is_strict: bool = True
    is_kept: bool = False


# -- what makes values


def _at_least(least: int) -> Convert:
    def convert(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ValueError(f"expected an integer, got {text!r}") from None
        if number < least:
            raise ValueError(f"expected at least {least}, got {number}")
        return number

    return convert


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"expected seconds, got {text!r}") from None
    if not 0 <= number < float("inf"):
        raise ValueError(f"expected seconds, 0 or more, got {text}")
    return number


def _content(text: str) -> str:
    """Return what is in the file *text*: secrets are not for a command line."""
    try:
        return Path(text).read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read a key from {text!r}: {error}") from None


# -- the kinds


def _zeromq_address(url: str) -> str:
    parts = urlsplit(url)
    if not parts.netloc and parts.path:
        return f"ipc://{unquote(parts.path)}"
    if parts.path.strip("/") or not parts.netloc:
        raise ValueError("expected //HOST:PORT, or ///PATH of a unix socket")
    host, colon, port = parts.netloc.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) < 65536):
        raise ValueError(f"expected //HOST:PORT, got //{parts.netloc}")
    return f"tcp://{parts.netloc}"


# Imported where they are needed: each needs a library that not everybody has.


def _zmq_reliable(url: str, **options: Any) -> SubscriberBase:
    from sprockets.logbook.queues._zeromq_reliable_subscriber import ReliableZeroMQSubscriber

    return ReliableZeroMQSubscriber(_zeromq_address(url), **options)


def _zmq_pull(url: str) -> SubscriberBase:
    from sprockets.logbook.queues._zeromq import ZeroMQSubscriber

    return ZeroMQSubscriber(_zeromq_address(url), multi=True)


def _zmq_sub(url: str) -> SubscriberBase:
    from sprockets.logbook.queues._zeromq import ZeroMQSubscriber

    return ZeroMQSubscriber(_zeromq_address(url))


def _redis(url: str, **options: Any) -> SubscriberBase:
    from sprockets.logbook.queues._redis_streams import RedisStreamSubscriber

    return RedisStreamSubscriber(url, **options)


def _kombu(url: str, **options: Any) -> SubscriberBase:
    from sprockets.logbook.queues._kombu import MessageQueueSubscriber

    return MessageQueueSubscriber(url, acknowledge="dispatched", **options)


def _nats(url: str, **options: Any) -> SubscriberBase:
    from sprockets.logbook.queues._nats import JetStreamSubscriber

    return JetStreamSubscriber(url, **options)


_OF_REDIS: Final[Mapping[str, Convert]] = {
    "stream": str,
    "group": str,
    "consumer": str,
    "start": str,
    "claim_after": _seconds,
    "max_deliveries": _at_least(2),
    "dead_stream": str,
    "batch_size": _at_least(1),
}
_OF_KOMBU: Final[Mapping[str, Convert]] = {
    "queue": str,
    "timeout": _seconds,
    "heartbeat": _seconds,
    "max_unacknowledged": _at_least(1),
    "dead_letters": str,
}
_OF_NATS: Final[Mapping[str, Convert]] = {
    "stream": str,
    "subject": str,
    "durable": str,
    "domain": str,
    "credentials": str,
    "timeout": _seconds,
    "prefetch": _at_least(1),
    "patience": _seconds,
    "max_deliveries": _at_least(1),
    "max_unacknowledged": _at_least(1),
    "dead_letters": str,
}


def _redis_kind(example: str) -> Kind:
    # What else is there is for redis-py, such as db or protocol.
    required = ("stream", "group")
    return Kind(example, _redis, _OF_REDIS, required, is_strict=False, is_kept=True)


def _kombu_kind(example: str) -> Kind:
    return Kind(example, _kombu, _OF_KOMBU, ("queue",), is_strict=False, is_kept=True)


def _nats_kind(example: str) -> Kind:
    return Kind(example, _nats, _OF_NATS, ("stream",), is_kept=True)


_kinds: Final[dict[str, Kind]] = {
    "zmq+reliable": Kind(
        "zmq+reliable://HOST:PORT",
        _zmq_reliable,
        {
            "secret_key": _content,
            "client_keys": str,
            "heartbeat": _seconds,
            "max_unacknowledged": _at_least(1),
        },
    ),
    "zmq+pull": Kind("zmq+pull://HOST:PORT", _zmq_pull),
    "zmq+sub": Kind("zmq+sub://HOST:PORT", _zmq_sub),
    "redis": _redis_kind("redis://HOST:PORT/DATABASE?stream=NAME&group=NAME"),
    "rediss": _redis_kind("rediss://HOST:PORT/DATABASE?stream=NAME&group=NAME"),
    "amqp": _kombu_kind("amqp://USER:PASSWORD@HOST:PORT/VHOST?queue=NAME"),
    "amqps": _kombu_kind("amqps://USER:PASSWORD@HOST:PORT/VHOST?queue=NAME"),
    "nats": _nats_kind("nats://HOST:PORT?stream=NAME"),
    "tls": _nats_kind("tls://HOST:PORT?stream=NAME"),
}


def source_examples() -> list[str]:
    """Return what URLs of sources look like, one of each kind that there is."""
    return [kind.example for kind in _kinds.values()]


def register_source(
    scheme: str,
    make: Maker,
    *,
    example: str | None = None,
    options: Mapping[str, Convert] | None = None,
    required: tuple[str, ...] = (),
    is_kept: bool = False,
) -> None:
    """Have :func:`source_from_url` know another kind of source.

    >>> from sprockets.logbook.queues._subscriber import SubscriberBase
    >>> register_source("nothing", lambda url: SubscriberBase(), example="nothing://")
    >>> source_from_url("nothing://at/all").name
    'nothing://at/all'
    >>> unregister_source("nothing")

    Args:
        scheme: What its URLs begin with.
        make: Called with the URL, and with *options* as keyword arguments; returns a subscriber.
            Its method ``close`` is called at the end, if it has one.
        example: What such a URL looks like.
        options: What may follow the ``?``, each with a function that makes a value of the text;
            without any, all of it is left in the URL.
        required: Options that must be there.
        is_kept: Whether what nobody receives stays where it is.

    Raises:
        ValueError: *scheme* is none, or is there already.
    """
    key = scheme.lower()
    if _SCHEME.fullmatch(f"{key}://") is None:
        raise ValueError(f"a scheme is a letter, and then letters, digits, +, - and .: {scheme!r}")
    if key in _kinds:
        raise ValueError(f"there is a kind of source called {key!r} already")
    _kinds[key] = Kind(
        example or f"{key}://...",
        make,
        dict(options or {}),
        required,
        is_strict=options is not None,
        is_kept=is_kept,
    )


def unregister_source(scheme: str) -> None:
    """Forget a kind of source.

    Raises:
        LookupError: There is none.
    """
    if _kinds.pop(scheme.lower(), None) is None:
        raise LookupError(f"there is no kind of source called {scheme!r}")


# -- reading


def source_from_url(url: str) -> Source:
    """Return the source that *url* names; nothing is opened or connected yet.

    >>> source_from_url("redis://:secret@db/0?stream=logging&group=writers").name
    'redis://:***@db/0?stream=logging&group=writers'

    Args:
        url: Such as ``zmq+reliable://0.0.0.0:5555`` or ``amqp://USER:PASSWORD@HOST//?queue=NAME``;
            see :func:`source_examples`.

    Raises:
        ValueError: There is no such kind, or something in it makes no sense.  The text shows no
            password.
    """
    match = _SCHEME.match(url)
    key = match[1].lower() if match is not None else ""
    kind = _kinds.get(key)
    if kind is None:
        # What is no URL may be anything, and a secret as well.
        given = f"{key}://" if match is not None else "what is no URL"
        raise ValueError(
            f"cannot receive from {given}; a source is one of: {', '.join(source_examples())}"
        )
    hide = _hider(url)
    try:
        rest, options = _split_options(url, kind)
        if kind.make in (_zmq_reliable, _zmq_pull, _zmq_sub):
            _zeromq_address(rest)
    except ValueError as error:
        raise ValueError(
            f"cannot receive from {_shown(url, hide)}: {hide(str(error))}; expected {kind.example}"
        ) from None
    make = kind.make
    return Source(_shown(url, hide), lambda: make(rest, **options), kind.is_kept, hide)


def _split_options(url: str, kind: Kind) -> tuple[str, dict[str, Any]]:
    parts = urlsplit(url)
    try:
        _ = parts.port if parts.netloc.rpartition("@")[2].partition(":")[0] != "*" else None
    except ValueError:
        # Not shown: it may be half of a password.
        raise ValueError(
            "the port is no number up to 65535; / and @ in a password are %2F and %40"
        ) from None
    options: dict[str, Any] = {}
    others = []
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        convert = kind.options.get(name)
        if convert is None:
            if kind.is_strict:
                known = ", ".join(kind.options) or "none"
                raise ValueError(f"unknown option {name!r}; known: {known}")
            others.append((name, text))
        elif name in options:
            raise ValueError(f"the option {name} is there twice")
        elif not text:
            raise ValueError(f"the option {name} is empty")
        else:
            try:
                options[name] = convert(text)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    missing = [name for name in kind.required if name not in options]
    if missing:
        raise ValueError(f"missing: {' and '.join(missing)}")
    return urlunsplit(parts._replace(query=urlencode(others), fragment="")), options


def _shown(url: str, hide: Callable[[str], str]) -> str:
    """Return *url* with a mask where its password is, and nowhere else."""
    scheme, mark, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    if not at:
        return hide(url)
    name, colon, _ = user.partition(":")
    return f"{scheme}{mark}{name + colon if colon else ''}{_MASK}@{hide(place)}"


_SECRET: Final = re.compile(r"(?i)(pass|secret|token|key|auth|credential)")


def _hider(url: str) -> Callable[[str], str]:
    """Return what takes the secrets of *url* out of a text."""
    secrets = set()
    # Not urlsplit(): a slash in a password would end the authority too early for it.
    head, at, _ = url.partition("://")[2].rpartition("@")
    if at:
        secrets |= {head.partition(":")[2]}
        # Who has no name has a token.
        if ":" not in head:
            secrets.add(head)
    for name, text in parse_qsl(url.partition("?")[2].partition("#")[0]):
        if _SECRET.search(name) and not name.endswith(("_keys", "_key")):
            secrets |= {text, quote(text, safe="")}
    secrets |= {unquote(each) for each in secrets}
    ordered = sorted(filter(None, secrets), key=len, reverse=True)

    def hide(text: str) -> str:
        for secret in ordered:
            # A word of one letter is everywhere: there only where it stands for itself.
            pattern = re.escape(secret)
            if len(secret) < 4:
                pattern = rf"(?<=[:/]){pattern}(?=@)"
            text = re.sub(pattern, _MASK, text)
        return text

    return hide
