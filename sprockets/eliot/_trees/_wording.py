"""Wording: what a drawing says of an action, a message or a record, as words to be laid out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from sprockets.eliot._fields import FAILED, STARTED, SUCCEEDED
from sprockets.eliot._trees._entry import REQUEST_ID, Entry
from sprockets.eliot._trees._facts import Facts, facts_of
from sprockets.eliot._trees._flow import BOLD, CYAN, DIM, GREEN, RED, YELLOW, Word, shown, words_of
from sprockets.eliot._trees._growth import Action, Tree
from sprockets.eliot._trees._times import format_duration

_MAX_VALUE: Final = 200  # characters of a value
_MAX_TEXT: Final = 2_000  # characters of a record's message, or of a reason
_MAX_FRAMES: Final = 60  # lines of a traceback
_MAX_REQUESTS: Final = 3  # of which the heading shows the ids
_MAX_NUMBERS: Final = 8  # of a task level, where it stands for a name
_STRONG_RED: Final = "1;31"
_STATUS_STYLES: Final = {SUCCEEDED: GREEN, FAILED: _STRONG_RED, STARTED: YELLOW, "": DIM}
_LEVEL_STYLES: Final[Mapping[str, str]] = {
    "CRITICAL": _STRONG_RED,
    "ERROR": RED,
    "WARNING": YELLOW,
    "NOTICE": CYAN,
    "INFO": GREEN,
    "DEBUG": "34",
    "TRACE": DIM,
}
_LOUD: Final = frozenset(("CRITICAL", "ERROR", "WARNING"))
# Every record of a request has these.
_OF_REQUEST: Final = ("method", "path", "remote_ip", "handler", "trace_id")
# What a request is, and what comes of it, is said in a phrase.
_PHRASES: Final[Mapping[str, str]] = {"http:request": "path", "http:client": "url"}
_IN_PHRASE: Final = frozenset(("method", "path", "url", "status"))
# Of little interest as long as nobody asks.
_BACKGROUND: Final = frozenset(("http_version", "user_agent", "referer", "user", "query", "bytes"))
_NOTHING: Final = object()
_SAME_DURATION: Final = 0.005  # seconds; who measures it begins and ends elsewhere


@dataclass(frozen=True)
class Signs:
    """The signs that a tree is drawn with."""

    fork: str
    last: str
    bar: str
    blank: str
    status: Mapping[str, str]
    arrow: str
    cut: str


UNICODE: Final = Signs(
    *("├─ ", "└─ ", "│  ", "   "),
    status={SUCCEEDED: "✔", FAILED: "✘", STARTED: "○", "": "·"},
    arrow="→",
    cut="…",
)
ASCII: Final = Signs(
    *("|- ", "`- ", "|  ", "   "),
    status={SUCCEEDED: "ok", FAILED: "FAILED", STARTED: "...", "": "?"},
    arrow="->",
    cut="...",
)


class Wording:
    """What is said of the parts of one tree, each in its turn.

    What has been said already is not said again: a record repeats the fields of its request, and of
    the actions it is in.

    Args:
        tree: Is spoken of.
        fields: Patterns of the fields to show; None for all of them.
        is_ascii: Whether the signs are ASCII.
        is_whole: Whether to leave nothing out of long texts.
    """

    def __init__(
        self, tree: Tree, *, fields: tuple[str, ...] | None, is_ascii: bool, is_whole: bool
    ) -> None:
        self.signs: Signs = ASCII if is_ascii else UNICODE
        self._tree = tree
        self._fields = fields
        self._is_ascii = is_ascii
        self._is_whole = is_whole
        self._said: dict[str, object] = {}

    def heading(self) -> Iterator[Word]:
        """Return what is said of the tree itself, but for its time."""
        tree = self._tree
        if tree.task_uuid:
            yield Word([(DIM, "task "), ("", shown(tree.task_uuid))], 2)
        for request_id in tree.request_ids[:_MAX_REQUESTS]:
            yield Word([(DIM, "request "), ("", shown(request_id))], 2)
        if len(tree.request_ids) > _MAX_REQUESTS:
            yield Word([(DIM, f"and {len(tree.request_ids) - _MAX_REQUESTS} more")])
        if tree.is_continued:
            yield Word([(YELLOW, "continued")], 2)
        elif not tree.is_whole:
            yield Word([(YELLOW, "unfinished")], 2)

    def action(
        self,
        action: Action,
        start: Facts,
        end: Facts,
        around: Iterable[Mapping[str, object]] = (),
    ) -> Iterator[Word]:
        """Return what is said of *action*, given the facts of its start and its end.

        *around* are the fields of the actions that it is in.
        """
        status = action.status
        yield Word([(_STATUS_STYLES[status], self.signs.status[status])])
        name = shown(action.name) or "(no type)"
        if not status:
            more = self.signs.cut if len(action.level) > _MAX_NUMBERS else ""
            name = f"{more}/{'/'.join(map(str, action.level[-_MAX_NUMBERS:]))}"
        style = _STRONG_RED if status == FAILED else BOLD if status else DIM
        yield Word([(style, name)])
        if action.name in _PHRASES:
            yield from self._phrase(action.name, {**end.fields, **start.fields})
        if status == STARTED:
            yield Word([(YELLOW, "unfinished")], 2)
        before = self._without_stamps(start.fields, around)
        after = self._without_stamps(end.fields, around)
        if action.name in _PHRASES:
            before, after = self._without_phrase(before), self._without_phrase(after)
        duration = action.duration
        if duration is not None:
            yield Word([(CYAN, format_duration(duration, is_ascii=self._is_ascii))], 2)
        yield from self._exception(end, 2)
        yield from self._all_fields(self._without_heading(before))
        outcome = list(self._all_fields(self._outcome(duration, before, after)))
        if outcome and action.start is not None:
            outcome[0].spans.insert(0, (DIM, f"{self.signs.arrow} "))
        yield from outcome
        yield from self._traceback(end)

    def _phrase(self, kind: str, fields: Mapping[str, object]) -> Iterator[Word]:
        """Return what a request is and what came of it, as in ``POST /orders → 201``."""
        if self._fields:
            return
        for name in ("method", _PHRASES[kind]):
            text = fields.get(name)
            if isinstance(text, str):
                yield Word([(BOLD, shown(self._cut(text, _MAX_VALUE)))])
        status = fields.get("status")
        if isinstance(status, int):
            style = RED if status >= 500 else YELLOW if status >= 400 else GREEN
            yield Word([(DIM, f"{self.signs.arrow} "), (style, str(status))])

    def _without_stamps(
        self, fields: Mapping[str, object], around: Iterable[Mapping[str, object]]
    ) -> Mapping[str, object]:
        """Return *fields* without what every record of the request has, if an action said it."""
        return {
            name: value
            for name, value in fields.items()
            if name not in _OF_REQUEST
            or not any(name in known and known[name] == value for known in around)
        }

    def _without_phrase(self, fields: Mapping[str, object]) -> Mapping[str, object]:
        if self._fields:
            return fields
        left_out = _IN_PHRASE if self._is_whole else _IN_PHRASE | _BACKGROUND
        return {
            name: value
            for name, value in fields.items()
            if name not in left_out and value is not None and value != ""
        }

    def entry(self, entry: Entry, around: Iterable[Mapping[str, object]]) -> Iterator[Word]:
        """Return what is said of a message or record within actions with the fields *around*."""
        facts = facts_of(entry)
        fields: Mapping[str, object] = facts.fields
        is_record = facts.is_record
        if is_record:
            style = _LEVEL_STYLES.get(facts.level_name, "")
            if facts.level_name:
                yield Word([(style, shown(facts.level_name))])
            if facts.channel:
                yield Word([(DIM, f"{shown(facts.channel)}:")])
            is_loud = facts.level_name in _LOUD
            yield from words_of(self._cut(facts.text, _MAX_TEXT), style if is_loud else "")
            fields = self._news(fields, around)
        elif facts.exception or facts.traceback:
            yield Word([(_STRONG_RED, self.signs.status[FAILED])])
        else:
            yield Word([(CYAN, shown(entry.name) or "(no type)")])
            if entry.status:
                # A second one at a level that has one.
                yield Word([(YELLOW, f"{entry.status} once more")])
        yield from self._exception(facts, 2 if is_record else 1)
        yield from self._all_fields(fields)
        yield from self._traceback(facts)

    # -- fields

    def _all_fields(self, fields: Mapping[str, object]) -> Iterator[Word]:
        patterns = self._fields
        for name, value in fields.items():
            if patterns is None or any(fnmatchcase(name, pattern) for pattern in patterns):
                text = shown(self._cut(value_text(value), _MAX_VALUE))
                yield Word([(DIM, f"{shown(name)}="), ("", text)], 2)

    def _without_heading(self, fields: Mapping[str, object]) -> Mapping[str, object]:
        """Return *fields* without the id of the request, if the heading has it."""
        if fields.get(REQUEST_ID) not in self._tree.request_ids[:_MAX_REQUESTS]:
            return fields
        return {name: value for name, value in fields.items() if name != REQUEST_ID}

    def _outcome(
        self, duration: float | None, before: Mapping[str, object], fields: Mapping[str, object]
    ) -> dict[str, object]:
        """Return what the end of an action says that its start and its duration have not said."""
        news = {
            name: value
            for name, value in self._without_heading(fields).items()
            if name not in before or before[name] != value
        }
        told = news.get("duration")
        if (
            isinstance(told, (int, float))
            and duration is not None
            and abs(told - duration) <= max(_SAME_DURATION, duration / 10)
        ):
            del news["duration"]
        return news

    def _news(
        self, fields: Mapping[str, object], around: Iterable[Mapping[str, object]]
    ) -> Mapping[str, object]:
        """Return what a record says that the actions around it have not said."""
        news = {
            name: value
            for name, value in self._without_heading(fields).items()
            if not any(name in known and known[name] == value for known in around)
        }
        for name in _OF_REQUEST:
            if name in news and self._said.get(name, _NOTHING) == news[name]:
                del news[name]
            elif name in news:
                self._said[name] = news[name]
        return news

    # -- texts

    def _exception(self, facts: Facts, gap: int) -> Iterator[Word]:
        name = facts.exception.removeprefix("builtins.")
        reason = self._cut(facts.reason, _MAX_TEXT)
        text = f"{name}: {reason}" if name and reason else name or reason
        for number, word in enumerate(words_of(text, RED)):
            if number == 0:
                word.gap = gap
            yield word

    def _traceback(self, facts: Facts) -> Iterator[Word]:
        if not facts.traceback:
            return
        lines = facts.traceback.rstrip().split("\n")
        if not self._is_whole and len(lines) > _MAX_FRAMES:
            half = _MAX_FRAMES // 2
            left_out = len(lines) - 2 * half
            lines[half:-half] = [f"  {self.signs.cut} {left_out:,} lines"]
        for line in lines[:-1]:
            yield from words_of(f"\n{line}", DIM)
        yield from words_of(f"\n{lines[-1]}", RED)

    def _cut(self, text: str, limit: int) -> str:
        if self._is_whole or len(text) <= limit:
            return text
        return f"{text[:limit]}{self.signs.cut} ({len(text) - limit:,} more)"


def value_text(value: object) -> str:
    """Return *value* as it stands after ``name=``: bare if that is clear, else as JSON.

    >>> value_text("A-1"), value_text("two words"), value_text("1"), value_text([1, "a"])
    ('A-1', '"two words"', '"1"', '[1, "a"]')
    """
    if isinstance(value, str) and value and not _needs_quotes(value):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "(nested too deep to be shown)"


def _needs_quotes(text: str) -> bool:
    if not text.isprintable() or text in ("null", "true", "false"):
        return True
    if text[0] in "[{" or " " in text or '"' in text or "=" in text:
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True
