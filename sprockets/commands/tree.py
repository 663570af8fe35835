"""``sprockets tree``: draw what tasks and requests did, from their logs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import sys
import time
from argparse import Namespace
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, TextIO

from sprockets.commands._following import follow
from sprockets.commands._log_files import (
    STDIN,
    LineFilter,
    Report,
    is_regular,
    merge,
    read_entries,
    read_lines,
)
from sprockets.commands._tree_arguments import look_of, read_arguments
from sprockets.eliot._trees._as_json import to_json
from sprockets.eliot._trees._drawing import draw
from sprockets.eliot._trees._entry import Entry, read_entry
from sprockets.eliot._trees._forest import Forest
from sprockets.eliot._trees._growth import Tree
from sprockets.eliot._trees._selection import Selection, line_filter
from sprockets.eliot._trees._summary import Summary

DRAWN: Final = 0
NOTHING_MATCHED: Final = 1
TROUBLE: Final = 2
_INTERRUPTED: Final = 130  # 128 + SIGINT, as shells say it
_BROKEN_PIPE: Final = 141  # 128 + SIGPIPE

_LINGER: Final = 2.0  # seconds that a task has to be quiet, where logs are followed
_INTERVAL: Final = 0.2  # seconds between two looks at a log that is followed


class _Output:
    """Takes the trees, and writes those that are wanted."""

    def __init__(self, options: Namespace, selection: Selection, out: TextIO) -> None:
        self._selection = selection
        self._out = out
        self._as_json = options.json
        self._look = look_of(options, out)
        self._summary = Summary(selection.wants_action) if options.summary else None
        self._kept: deque[Tree] | None = None
        if options.last is not None:
            self._kept = deque(maxlen=options.last)
        self._was_single = True
        self.written: int = 0

    def take(self, trees: Iterable[Tree]) -> None:
        for tree in trees:
            if tree not in self._selection:
                continue
            if self._kept is None:
                self._put(tree)
            else:
                self._kept.append(tree)

    def release(self) -> None:
        """Write what was kept because it might be among the last; from now on, nothing is."""
        kept, self._kept = self._kept, None
        for tree in kept or ():
            self._put(tree)

    def close(self) -> None:
        """Write what comes at the end."""
        self.release()
        if self._summary is not None and self._summary.lines:
            if self._as_json:
                self._write(map(json.dumps, self._summary.to_rows()))
            else:
                look = self._look
                self._write(self._summary.draw(has_colors=look.has_colors, is_ascii=look.is_ascii))
            self.written += 1
        self.flush()

    def flush(self) -> None:
        self._out.flush()

    def _put(self, tree: Tree) -> None:
        if self._summary is not None:
            self._summary.add(tree)
            return
        if self._as_json:
            self._write([to_json(tree)])
        else:
            # Trees stand apart, single messages below one another.
            is_single = isinstance(tree.root, Entry)
            if self.written and not (is_single and self._was_single):
                self._write([""])
            self._was_single = is_single
            self._write(draw(tree, self._look))
        self.written += 1

    def _write(self, lines: Iterable[str]) -> None:
        write = self._out.write
        for line in lines:
            write(f"{line}\n")


def _find_tasks(names: Iterable[str], request_id: str) -> set[str]:
    """Return the ids of the tasks that belong to a request; most of its messages do not tell."""
    quiet = Report(lambda _: None)
    may_want = line_filter([request_id])
    tasks = set()
    for name in names:
        for _, line in read_lines(name, quiet):
            if may_want is None or may_want(line):
                entry = read_entry(line)
                if entry is not None and entry.request_id == request_id:
                    tasks.add(entry.task_uuid)
    tasks.discard("")
    return tasks


def _select(
    options: Namespace,
) -> tuple[Selection, LineFilter | None, Callable[[Entry], bool]]:
    """Return what decides about trees, about lines, and about entries of tasks that are new."""
    selection = Selection(
        request_id=options.request,
        task=options.task,
        action_type=options.type,
        status=options.status,
        min_duration=options.min_duration,
        since=options.since,
        until=options.until,
    )
    if options.task:
        return selection, line_filter([options.task]), selection.may_want
    request_id = options.request
    if request_id and not options.follow and all(map(is_regular, options.files)):
        tasks = _find_tasks(options.files, request_id)
        return (
            # Each part of these tasks is wanted, whether or not it names the request.
            dataclasses.replace(selection, request_id=None),
            line_filter([*tasks, request_id]),
            lambda entry: entry.task_uuid in tasks or entry.request_id == request_id,
        )
    return selection, None, selection.may_want


def _read_all(
    names: Sequence[str], report: Report, may_want: LineFilter | None
) -> Iterator[tuple[float, Entry]]:
    """Return the entries of all files in the order of time, each with the log's own time."""
    return merge([read_entries(name, read_lines(name, report), report, may_want) for name in names])


def _draw(options: Namespace, out: TextIO, report: Report) -> int:
    selection, may_want, wants = _select(options)
    output = _Output(options, selection, out)
    forest = Forest(max_open=options.max_open, wants=wants)

    def catch_up() -> None:
        output.take(forest.settle(math.inf))
        output.release()

    if options.follow:
        forest.linger = _LINGER
        for entry in follow(
            options.files,
            report,
            may_want,
            at_end=options.last == 0,
            caught_up=catch_up,
            wait=lambda: time.sleep(_INTERVAL),
        ):
            now = time.monotonic()
            if entry is not None:
                output.take(forest.add(entry, now))
            output.take(forest.settle(now))
            if entry is None:
                output.flush()
    else:
        is_live = STDIN in options.files
        for now, entry in _read_all(options.files, report, may_want):
            output.take(forest.add(entry, now))
            output.take(forest.settle(now))
            if is_live:
                output.flush()
    output.take(forest.clear())
    output.close()
    _tell(report, forest, output, options)
    if report.has_failed:
        return TROUBLE
    return DRAWN if output.written else NOTHING_MATCHED


def _tell(report: Report, forest: Forest, output: _Output, options: Namespace) -> None:
    """Say what is not to be seen in the trees."""
    report.close()
    if forest.duplicates:
        report.say(f"messages that were there more than once, shown once: {forest.duplicates:,}")
    if forest.evicted:
        report.say(
            f"tasks that were drawn before their end: {forest.evicted:,}; to hold more of them,"
            f" pass a higher --max-open than {options.max_open}"
        )
    if not output.written:
        report.say("nothing matches")


def main(argv: Sequence[str] | None = None, program: str = "sprockets tree") -> int:
    """Draw the trees of the logs that *argv* names, and return the exit status.

    Args:
        argv: The arguments; those of the process unless given.
        program: What the command is called.
    """
    out = sys.stdout

    def say(text: str) -> None:
        out.flush()  # on a terminal, the two stay in order
        print(f"{program}: {text}", file=sys.stderr)  # noqa: T201  # to whoever called

    try:
        options = read_arguments(argv, program)
        with contextlib.suppress(AttributeError):
            # What the encoding does not have is shown as an escape.
            out.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # see above
        return _draw(options, out, Report(say))
    except SystemExit as stop:
        # argparse has said it all.
        return int(stop.code or 0)
    except KeyboardInterrupt:
        try:
            out.flush()
        except OSError:
            _forget_output(out)
        return _INTERRUPTED
    except BrokenPipeError:
        _forget_output(out)
        return _BROKEN_PIPE
    except OSError as error:
        _forget_output(out)
        say(f"cannot write: {error.strerror}")
        return TROUBLE


def _forget_output(out: TextIO) -> None:
    """Have what is left in the buffer go nowhere: at exit, it would be one more error."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, out.fileno())
        os.close(nowhere)
