"""Fingerprints: which bug a record is of, wherever its line has moved to."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from fnmatch import translate
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from sprockets.logbook._text import safe_str
from sprockets.logbook.delivery._reports import Reports, in_one_line
from sprockets.logbook.record import LogRecord
from sprockets.logbook.ticketing._fingerprint_messages import without_variables
from sprockets.logbook.ticketing._fingerprint_traceback import (
    Section,
    collapsed,
    sections_of,
)
from sprockets.logbook.ticketing._stored import facts_of

VERSION: Final = "v1"
"""Begins a fingerprint; another one when the same record gets another digest."""

MAX_FRAMES: Final = 100
"""Calls of own code that are told apart, the innermost of each exception."""

# The folder of the namespace, whose code logs what others raised.
_LIBRARY: Final = os.path.abspath(os.path.join(__file__, "..", "..", "..")) + os.sep

_MAX_MATCHED = 8_192
_MAX_SOURCE = 500


@dataclass(frozen=True, slots=True)
class Rule:
    """Says which records belong together, whatever they look like.

    A record meets all conditions that are given, each with ``*`` for any text and ``?`` for any
    character.

    >>> Rule("database is away", exception="*OperationalError", channel="shop.*").group
    'database is away'

    Args:
        group: Names those records; they are one ticket.
        exception: Class of the exception, as ``builtins.KeyError`` or ``KeyError``.
        channel: Name of the logger.
        message: The formatted message, or what the exception says.
        module: Name of the module that logged.
    """

    group: str
    exception: str | None = None
    channel: str | None = None
    message: str | None = None
    module: str | None = None

    def __post_init__(self) -> None:
        conditions = (self.exception, self.channel, self.message, self.module)
        if not self.group or all(condition is None for condition in conditions):
            raise ValueError(f"a rule has a group and at least one condition, got {self!r}")

    def __call__(self, record: LogRecord) -> str | None:
        """Return the group if *record* belongs to it."""
        for pattern, texts in (
            (self.exception, _names_of_exception(record)),
            (self.channel, (_text_of(record.channel),)),
            (self.module, (_text_of(record.module),)),
            (self.message, _messages_of(record)),
        ):
            if pattern is not None and not any(_compiled(pattern).match(text) for text in texts):
                return None
        return self.group

    @classmethod
    def from_mapping(cls, data: Mapping[str, str]) -> Rule:
        """Return the rule that *data* describes, as from a file of settings.

        Raises:
            ValueError: It describes none.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise ValueError(
                f"unknown conditions {', '.join(map(repr, unknown))}; "
                f"known: {', '.join(sorted(known))}"
            )
        try:
            return cls(**data)
        except TypeError:
            raise ValueError(f"a rule has a group, got {dict(data)!r}") from None


RuleLike: TypeAlias = "Rule | Mapping[str, str] | Callable[[LogRecord], str | None]"


class Place(NamedTuple):
    """Where something happened: an absolute path, a line, and the name of the module."""

    filename: str
    lineno: int
    module: str


class Fingerprinter:
    """Says of which bug a record is: the same at another line is the same.

    The first of *rules* that has a group for the record decides.  Else an exception does: its
    class and those of what led to it, and the calls of own code on the way, by file, function and
    source line, but not by the number of the line.  Else channel, level, module, function, and the
    template of the message do; of a message without arguments, what is left without numbers, names
    in quotes, times, addresses and paths.

    A record that came by way of a queue has the fingerprint that it had where it was logged.
    Never raises; the time it takes is in proportion to the length of the record's text, of which
    there is a bound.

    Args:
        rules: `Rule` objects, mappings with their fields, or callables that return the group of a
            record, or ``None``.
        in_app: Further code that is own, though it is among installed packages: names of packages,
            or patterns of file names; what begins with ``!`` is not own.
    """

    def __init__(self, rules: Iterable[RuleLike] = (), *, in_app: Iterable[str] = ()) -> None:
        self.rules: tuple[Callable[[LogRecord], str | None], ...] = tuple(
            Rule.from_mapping(rule) if isinstance(rule, Mapping) else rule for rule in rules
        )
        self._in_app = tuple(_file_pattern(pattern) for pattern in in_app)
        self._reports = Reports()
        self.failed: int = 0
        """How often a rule raised; it is then taken for one that does not know the record."""

    def __call__(self, record: LogRecord) -> str:
        """Return the fingerprint of *record*, as ``v1:`` and 40 hexadecimal digits."""
        return _digest(self.parts(record))

    def of_json(self, data: str) -> str:
        """Return the fingerprint of a record that is *data* in JSON."""
        try:
            facts = json.loads(data)
        except (ValueError, RecursionError):
            facts = {"msg": data[:_MAX_MATCHED]}
        record = LogRecord.from_dict(facts_of(facts))
        record.heavy_initialized = True
        return self(record)

    def parts(self, record: LogRecord) -> list[str]:
        """Return what the fingerprint of *record* is made of."""
        for rule in self.rules:
            try:
                group = rule(record)
                if group:
                    return ["rule", str(group)]
            except Exception as error:  # noqa: BLE001 - reported
                self.failed += 1
                self._reports.tell(f"a rule for fingerprints failed: {in_one_line(error)}", error)
        text = _text_of(record.formatted_exception)
        if text:
            sections = sections_of(text, _text_of(record.exception_message))
            if sections:
                return ["exception", *self._parts_of(sections, record)]
        if record.exception_name:
            return ["exception", _text_of(record.exception_name), *_call_of(record)]
        return ["message", *_call_of(record), _template_of(record)]

    def place_of(self, record: LogRecord) -> Place | None:
        """Return the innermost own code that the exception of *record* came through.

        ``None`` if the record was logged by own code, which is its place then; if it has no
        exception, or one that came through no own code; or if it came by way of a queue.
        """
        filename = record.filename
        if filename is None or (self._is_own(filename) and not _is_of_library(filename)):
            return None
        exc_info = record.exc_info
        trace = exc_info[2] if isinstance(exc_info, tuple) else None
        found = None
        while trace is not None:
            filename = trace.tb_frame.f_code.co_filename
            if self._is_own(filename) and not _is_of_library(filename):
                found = trace
            trace = trace.tb_next
        if found is None:
            return None
        frame = found.tb_frame
        module = frame.f_globals.get("__name__")
        return Place(os.path.abspath(frame.f_code.co_filename), found.tb_lineno, str(module))

    def _parts_of(self, sections: list[Section], record: LogRecord) -> Iterator[str]:
        if not sections[-1].type:
            sections[-1].type = _text_of(record.exception_name)
        seen = set()
        for section in sections:
            parts = tuple(self._parts_of_section(section))
            # What fails in parallel, or again and again, is one.
            if parts not in seen:
                seen.add(parts)
                yield from parts

    def _parts_of_section(self, section: Section) -> Iterator[str]:
        yield "type"
        yield section.type
        frames = collapsed(section)
        own = [frame for frame in frames if self._is_own(frame.filename)]
        shown = (own or frames)[-MAX_FRAMES:]
        for frame in shown:
            yield "frame"
            yield _module_of(frame.filename)
            yield frame.function
            yield _source_of(frame.source[:_MAX_SOURCE])
        if shown and shown[-1].marked:
            yield "part"
            yield _source_of(shown[-1].marked[:_MAX_SOURCE])

    def _is_own(self, filename: str) -> bool:
        if not self._in_app:
            return not _is_foreign(filename)
        path = filename.replace("\\", "/")
        for is_own, pattern in self._in_app:
            if pattern.match(path):
                return is_own
        return not _is_foreign(filename)


_usual: Final = Fingerprinter()


def fingerprint(record: LogRecord) -> str:
    """Return the fingerprint of *record* without rules; see `Fingerprinter`.

    >>> first = LogRecord("shop", "ERROR", "no price of {}", ("apples",))
    >>> second = LogRecord("shop", "ERROR", "no price of {}", ("pears",))
    >>> fingerprint(first) == fingerprint(second)
    True
    """
    return _usual(record)


def _digest(parts: list[str]) -> str:
    sha1 = hashlib.sha1(usedforsecurity=False)
    for part in parts:
        sha1.update(part.encode("utf-8", "surrogatepass"))
        sha1.update(b"\0")
    return f"{VERSION}:{sha1.hexdigest()}"


# --- records --------------------------------------------------------------------------------------


def _call_of(record: LogRecord) -> tuple[str, ...]:
    return (
        _text_of(record.channel),
        str(record.level),
        _text_of(record.module),
        _text_of(record.func_name),
    )


def _text_of(value: object) -> str:
    """Return what should be text as text: records may be made of anything."""
    if value is None:
        return ""
    return value if isinstance(value, str) else safe_str(value, _MAX_MATCHED)


def _template_of(record: LogRecord) -> str:
    if (record.args or record.kwargs) and isinstance(record.msg, str):
        return f"template {record.msg[:_MAX_MATCHED]}"
    return f"message {without_variables(_message_of(record))}"


def _message_of(record: LogRecord) -> str:
    try:
        message = record.message
    except Exception:  # noqa: BLE001 - its template is as good
        message = record.msg
    if isinstance(message, bytes):
        message = message.decode("utf-8", "replace")
    return message if isinstance(message, str) else safe_str(message)


def _names_of_exception(record: LogRecord) -> tuple[str, ...]:
    name = _text_of(record.exception_name)
    return (name, name.rpartition(".")[2]) if name else ()


def _messages_of(record: LogRecord) -> Iterator[str]:
    yield _message_of(record)[:_MAX_MATCHED]
    yield _text_of(record.exception_message)[:_MAX_MATCHED]


@lru_cache(maxsize=1_024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


# --- code -----------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _foreign() -> re.Pattern[str]:
    return re.compile(
        r"[/\\](?:site|dist)-packages[/\\]"
        r"|[/\\][Ll]ib(?:32|64)?[/\\](?:python|pypy)\d[\w.]{0,9}[/\\]"
        r"|[/\\][Pp]ython[\d.-]{0,12}[/\\][Ll]ib[/\\]"
        r"|[/\\]python\d{1,4}\.zip[/\\]"
        r"|^<frozen "
    )


@lru_cache(maxsize=1_024)
def _is_foreign(filename: str) -> bool:
    return _foreign().search(filename) is not None


def _is_of_library(filename: str) -> bool:
    return filename.startswith(_LIBRARY)


def _file_pattern(pattern: str) -> tuple[bool, re.Pattern[str]]:
    is_own = not pattern.startswith("!")
    pattern = pattern.removeprefix("!").replace("\\", "/")
    if "/" in pattern or "*" in pattern:
        return is_own, re.compile(translate(pattern))
    path = re.escape(pattern.replace(".", "/"))
    return is_own, re.compile(rf"(?:.*/)?{path}(?:\.py|/.*)\Z", re.DOTALL)


@lru_cache(maxsize=1)
def _digits() -> re.Pattern[str]:
    return re.compile(r"[0-9a-f]{12,}|\d+")


@lru_cache(maxsize=1_024)
def _module_of(filename: str) -> str:
    """Return folder and file, without versions: where it is installed does not matter."""
    parts = filename.replace("\\", "/").split("/")[-2:]
    folder = _digits().sub("#", parts[0]) if len(parts) == 2 else ""
    return f"{folder}/{parts[-1].removesuffix('.py')}"


@lru_cache(maxsize=1_024)
def _source_of(line: str) -> str:
    return " ".join(line.split())
