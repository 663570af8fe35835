r"""Messages for people: each on some lines, or on one.

As a command it reads lines of JSON: ``python -m sprockets.eliot.prettyprint < service.log``.

>>> sale = {"task_uuid": "8c668cde", "task_level": [1, 2], "timestamp": 1443193754.0,
...         "message_type": "sale", "prices": [123, 456], "note": "hello\nthere"}
>>> print(pretty_format(sale), end="")
8c668cde -> /1/2
2015-09-25T15:09:14Z
  message_type: 'sale'
  note: 'hello
      |  there'
  prices: [123, 456]
>>> print(compact_format(sale))
8c668cde/1/2 2015-09-25T15:09:14Z message_type="sale" note="hello\nthere" prices=[123,456]
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pprint import pformat
from typing import Any, Final

from sprockets.eliot._fields import (
    ACTION_STATUS,
    ACTION_TYPE,
    MESSAGE_TYPE,
    TASK_LEVEL,
    TASK_UUID,
    TIMESTAMP,
    safe_repr,
    safe_text,
)
from sprockets.eliot._pipes import run_quietly
from sprockets.eliot._task_level import TaskLevel
from sprockets.eliot.json import encode

__all__ = ["REQUIRED_FIELDS", "compact_format", "pretty_format"]

_PLACE: Final = (TASK_UUID, TASK_LEVEL, TIMESTAMP)
REQUIRED_FIELDS: Final = frozenset(_PLACE)
"""What a message has to have: what has less is none, and cannot be shown as one."""

_FIRST: Final = (ACTION_TYPE, MESSAGE_TYPE, ACTION_STATUS)
_WIDTH: Final = 40


def pretty_format(message: Mapping[str, Any], local_timezone: bool = False) -> str:
    """Return *message* as lines, the last one with its line break too.

    Args:
        message: A message; fields of any type.
        local_timezone: Show the time of this machine's zone, without an offset, instead of UTC.

    Raises:
        ValueError: It has no place in a task, or no time that there is.
    """
    uuid, level, moment = _place_of(message, local_timezone)
    lines = [f"{uuid} -> {level}", moment]
    for name, value in _fields_of(message):
        text = _layout(value).replace("\\n", "\n ").replace("\\t", "\t")
        lines.append(f"  {name}: " + text.replace("\n", f"\n{' ' * (2 + len(name))}| "))
    return "\n".join(lines) + "\n"


def compact_format(message: Mapping[str, Any], local_timezone: bool = False) -> str:
    """Return *message* as one line, without a line break; its values are JSON in ASCII.

    Args:
        message: A message; fields of any type.
        local_timezone: Show the time of this machine's zone, without an offset, instead of UTC.

    Raises:
        ValueError: It has no place in a task, or no time that there is, or contains itself.
    """
    uuid, level, moment = _place_of(message, local_timezone)
    fields = [f"{name}={_to_ascii(encode(value))}" for name, value in _fields_of(message)]
    return " ".join([f"{uuid}{level}", moment, *fields])


def _place_of(message: Mapping[str, Any], local_timezone: bool) -> tuple[str, str, str]:
    missing = [name for name in _PLACE if name not in message]
    if missing:
        raise ValueError(f"not a message: there is no {missing[0]!r}")
    level, timestamp = message[TASK_LEVEL], message[TIMESTAMP]
    if not isinstance(level, (list, tuple)):
        raise ValueError(f"not a message: {TASK_LEVEL!r} must be a list, got {level!r:.80}")
    if not isinstance(timestamp, (int, float)) or isinstance(timestamp, bool):
        raise ValueError(f"not a message: {TIMESTAMP!r} must be a number, got {timestamp!r:.80}")
    moment = _format_time(timestamp, local_timezone)
    return _plain(message[TASK_UUID]), _plain(TaskLevel(level).to_string()), moment


def _format_time(timestamp: float, local_timezone: bool) -> str:
    try:
        if local_timezone:
            return datetime.fromtimestamp(timestamp).isoformat()  # noqa: DTZ006 - asked for
        return datetime.fromtimestamp(timestamp, UTC).replace(tzinfo=None).isoformat() + "Z"
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(
            f"not a message: {TIMESTAMP!r} is no time, {timestamp!r:.80}: {error}"
        ) from error


def _fields_of(message: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    rest = [name for name in message if name not in _PLACE and name not in _FIRST]
    for name in [*filter(message.__contains__, _FIRST), *sorted(rest, key=safe_text)]:
        yield _plain(name), message[name]


def _plain(value: object) -> str:
    """Return *value* as text that stays on its line and moves no cursor."""
    text = safe_text(value)
    return text if text.isprintable() else safe_repr(text)[1:-1]


def _layout(value: object) -> str:
    try:
        return pformat(value, width=_WIDTH)
    except RecursionError:
        return encode(value).decode()
    except Exception:  # noqa: BLE001 - the text says it
        return safe_repr(value)


_NO_ASCII: Final = re.compile("[^\x00-\x7e]+")


def _to_ascii(text: bytes) -> str:
    # What is not ASCII stands within strings of JSON, where its escapes may stand as well.
    return _NO_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text.decode())


# -- the command


def describe_lines(
    lines: Iterable[bytes], *, compact: bool = False, local_timezone: bool = False
) -> Iterator[str]:
    """Yield the text for each of *lines*, whatever it is, with its line break.

    Args:
        lines: Messages as JSON in UTF-8, with or without line break.
        compact: Give each message one line.
        local_timezone: Show the time of this machine's zone, without an offset, instead of UTC.
    """
    for line in lines:
        line = line.rstrip(b"\n")
        try:
            message = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError):
            yield f"Not JSON: {line!r}\n\n"
            continue
        try:
            if not isinstance(message, dict):
                raise ValueError("not a message: not an object")
            if compact:
                text = compact_format(message, local_timezone)
            else:
                text = pretty_format(message, local_timezone)
        except ValueError:
            yield f"Not an Eliot message: {line!r}\n\n"
        else:
            yield f"{text}\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Write to standard output what is read from standard input, and return the exit status.

    Args:
        argv: The arguments; those of the process unless given.
    """
    parser = argparse.ArgumentParser(
        prog="python -m sprockets.eliot.prettyprint",
        description="Reads messages as lines of JSON, and writes them for people.",
    )
    parser.add_argument("-c", "--compact", action="store_true", help="one line for each message")
    parser.add_argument(
        "-l",
        "--local-timezone",
        action="store_true",
        help="the time of this machine's zone instead of UTC",
    )
    options = parser.parse_args(argv)
    output = sys.stdout
    if hasattr(output, "reconfigure"):
        # A terminal that lacks a character shows its escape.
        output.reconfigure(errors="backslashreplace")
    for text in describe_lines(
        sys.stdin.buffer, compact=options.compact, local_timezone=options.local_timezone
    ):
        output.write(text)
        # Whoever reads a log that still grows sees each message when it is there.
        output.flush()
    return 0


if __name__ == "__main__":
    sys.exit(run_quietly(main))
