"""The rows of the table: what each asks, how it is proven, and its target.

The unit is one call of an empty Python method, so that figures of different machines can be
compared.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.cases import CHANNEL, FIELDS, ORDER, Case, Disk, Emitted, Memory, Scope, Seen

TRIES = 3

# The unit on the machine on which the targets in nanoseconds were set.
UNIT_NS = 38.0


class NotProvenError(Exception):
    """A case does not do what its row says, so that its time would be a lie."""


# The fraction may be missing: one peer gets it wrong.
_TIME = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d([.,]\d{3}(\d{3})?)?(\+0000)?\]"
_BEFORE = rf"{_TIME} (?i:INFO): {CHANNEL}: "
_LINE = re.compile(_BEFORE + "order accepted")
_LINE_WITH_ARGUMENT = re.compile(_BEFORE + f"order {ORDER} accepted")
_LINE_WITH_FIELDS = re.compile(
    _BEFORE
    + "order accepted"
    + "".join(f" {name}={re.escape(text)}" for name, text in FIELDS.items())
)


def _delivered_lines(case: Case) -> list[str]:
    if not isinstance(case.sink, Memory | Disk):
        raise NotProvenError(f"a text was expected, not {case.sink!r}")
    case.sink.take()
    case.loop(TRIES)
    return case.sink.take().splitlines()


def _prove_lines(pattern: re.Pattern[str]) -> Callable[[Case], None]:
    def prove(case: Case) -> None:
        lines = _delivered_lines(case)
        if len(lines) != TRIES or not all(pattern.fullmatch(line) for line in lines):
            raise NotProvenError(f"{TRIES} calls wrote {lines!r}")

    return prove


def _prove_rolled_lines(case: Case) -> None:
    _prove_lines(_LINE)(case)
    count = 0 if case.rolled is None else case.rolled()
    if count != 2:
        raise NotProvenError(f"two lines, the second due in another file, made {count} files")


def _prove_json(case: Case) -> None:
    lines = _delivered_lines(case)
    for line in lines:
        text = json.dumps(json.loads(line)).lower()
        # Eliot names neither level nor channel: they are fields like any other there.
        for part in ("time", "info", CHANNEL, "order accepted"):
            if part not in text:
                raise NotProvenError(f"{part!r} is missing in {line!r}")
    if len(lines) != TRIES:
        raise NotProvenError(f"{TRIES} calls wrote {lines!r}")


def _prove_traceback(case: Case) -> None:
    text = "\n".join(_delivered_lines(case))
    for part in ("Traceback", "in fail", "ValueError", "out of apples"):
        if text.count(part) < TRIES:
            raise NotProvenError(f"{part!r} is missing in {text!r}")


def _prove_silence(case: Case) -> None:
    if case.wanted is None or not isinstance(case.sink, Memory):
        raise NotProvenError("nothing proves that the way is open")
    case.sink.take()
    case.loop(TRIES)
    unwanted = case.sink.take()
    case.wanted()
    if unwanted or not case.sink.take():
        raise NotProvenError(f"an unwanted call wrote {unwanted!r}, or a wanted one nothing")
    case.loop(TRIES)
    if unwanted := case.sink.take():
        raise NotProvenError(f"an unwanted call wrote {unwanted!r}")


def _prove_taken(case: Case) -> None:
    if not isinstance(case.sink, Emitted):
        raise NotProvenError("nothing counts the deliveries")
    if (count := case.sink.count(lambda: case.loop(TRIES))) != TRIES:
        raise NotProvenError(f"{TRIES} calls reached the handler {count} times")


def _prove_caller(case: Case) -> None:
    if not isinstance(case.sink, Seen):
        raise NotProvenError("nothing keeps the place of the call")
    case.sink.take()
    case.loop(1)
    # The call stands on the line after the "for" of the loop, or close to it.
    code = case.loop.__code__  # type: ignore[attr-defined]  # always written in Python
    match case.sink.take():
        case (code.co_filename, int(line), code.co_name) if 0 < line - code.co_firstlineno < 5:
            pass
        case other:
            raise NotProvenError(f"the place of the call was told as {other!r}")


@dataclass(frozen=True)
class Row:
    """One question put to every library.

    Args:
        name: Of the method that answers it in `benchmarks.cases.Library`.
        title: What the table says.
        target: What we want to be at most, in units, if that is set.
        prove: Raises `NotProvenError` when a case does not do what the row says.
    """

    name: str
    title: str
    target: float | None
    prove: Callable[[Case], None]


ROWS = [
    Row("disabled", "disabled logger", 2.5, _prove_silence),
    Row("level", "level too low", 2.5, _prove_silence),
    Row("uninterested", "no interested handler", 2.5, _prove_silence),
    Row("silenced", "null handler takes it", None, _prove_silence),
    Row("refused", "filter refuses it", None, _prove_silence),
    Row("held_back", "held back until an error", None, _prove_silence),
    Row("taken", "handler takes it, does nothing", 25, _prove_taken),
    Row("caller", "… file, line, function known", 55, _prove_caller),
    Row("line", "formatted line to memory", 50, _prove_lines(_LINE)),
    Row("argument", "… with an argument", None, _prove_lines(_LINE_WITH_ARGUMENT)),
    Row("own", "… by the logger's own handler", None, _prove_lines(_LINE)),
    Row("file", "… to a file, flushed", 60, _prove_lines(_LINE)),
    Row("rotated_by_size", "… rotated by size", None, _prove_rolled_lines),
    Row("rotated_by_time", "… rotated by time", None, _prove_rolled_lines),
    Row("fields", "a line with three context fields", 55, _prove_lines(_LINE_WITH_FIELDS)),
    Row("processors", "… by three processors", 165, _prove_lines(_LINE_WITH_FIELDS)),
    Row("json", "JSON line", 45, _prove_json),
    Row("exception", "exception with traceback", 250, _prove_traceback),
]


@dataclass(frozen=True)
class Kind:
    """One thing that can be bound to a context.

    Args:
        name: Of the method that gives the scope in `benchmarks.cases.Library`.
        title: What the tables say.
        reads_field: Whether the handler reads a field, which proves that the binding had an effect.
        then_target_ns: What a further record may cost at most, in nanoseconds as below.
    """

    name: str
    title: str
    reads_field: bool
    then_target_ns: float

    def prove(self, scope: Scope) -> None:
        """Raise `NotProvenError` when a record logged in *scope* is not seen as it should be."""
        if self.reads_field:
            if not isinstance(scope.sink, Seen):
                raise NotProvenError("nothing keeps the field")
            loops = {"first": scope.first, "further": scope.further, "bound": self._bound(scope)}
            for name, loop in loops.items():
                scope.sink.take()
                loop(1)
                if (seen := scope.sink.take()) != FIELDS["request_id"]:
                    raise NotProvenError(f"{name}: the field was seen as {seen!r}")
        else:
            if not isinstance(scope.sink, Emitted):
                raise NotProvenError("nothing counts the deliveries")
            first = scope.sink.count(lambda: scope.first(1))
            further = scope.sink.count(lambda: scope.further(1))
            bound = scope.sink.count(lambda: self._bound(scope)(1))
            if not (first == bound == 1 and further > 1):
                raise NotProvenError(f"handled {first}, {bound} and {further} times")

    @staticmethod
    def _bound(scope: Scope) -> Callable[[int], None]:
        def loop(count: int) -> None:
            with scope.enter():
                scope.log(count)

        return loop


# Nanoseconds on a machine whose unit is UNIT_NS.
BIND_TARGET_NS = 2000.0
FIRST_TARGET_NS = 3000.0

# A further record costs what it does without a binding: "taken", and what the rows about fields and
# processors allow on top of a line without them.
_TAKEN, _ONE_PROCESSOR, _FIELDS = 25, (165 - 50) / 3, 55 - 50

KINDS = [
    Kind("scope_handler", "handler", False, _TAKEN * UNIT_NS),
    Kind("scope_processor", "processor", True, (_TAKEN + _ONE_PROCESSOR) * UNIT_NS),
    Kind("scope_fields", "three fields", True, (_TAKEN + _FIELDS) * UNIT_NS),
]

DEPTHS = [1, 4, 16, 64]
TASKS = [1, 100, 10_000]
