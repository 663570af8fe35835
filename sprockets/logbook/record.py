"""The record: one logged event with its facts."""

from __future__ import annotations

import sys
import threading
import weakref
from collections.abc import Iterable, Mapping
from datetime import datetime
from types import FrameType, TracebackType

from sprockets.logbook import _caller, _clock, _fork
from sprockets.logbook._clock import parse_iso8601
from sprockets.logbook._failures import report
from sprockets.logbook._flags import Flags
from sprockets.logbook._jsonable import to_safe_json
from sprockets.logbook._lazy import cached_property
from sprockets.logbook._levels import Level, LevelNameProperty, level_name_property, lookup_level
from sprockets.logbook._text import format_message, safe_repr, safe_str
from sprockets.logbook._traceback import exception_message, exception_name, format_exception
from sprockets.logbook._typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Self,
    TypeAlias,
    TypeVar,
    cast,
)
from sprockets.logbook.errors import MisuseError

if TYPE_CHECKING:
    from sprockets.logbook._dispatcher import RecordDispatcher

ExcInfoTuple: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]
# What is remembered of a record until somebody asks: place, module, thread, its name, process name.
# A bare tuple: one is made for each record that is held back.
_Known: TypeAlias = tuple[_caller.Place | None, str | None, int, str, str | None]
ExcInfo: TypeAlias = bool | BaseException | ExcInfoTuple | tuple[None, None, None] | None

T = TypeVar("T")

_MACHINERY = __file__
_caller.register(_MACHINERY)


class ExtraDict(dict[str, Any]):
    """A dict that answers ``''`` for what it does not have, and stays as it is.

    >>> extra = ExtraDict(user="ann")
    >>> extra["ip"], "ip" in extra
    ('', False)
    """

    def __missing__(self, key: str) -> str:
        return ""

    def copy(self) -> ExtraDict:
        """Return a shallow copy of the same type."""
        return ExtraDict(self)

    def __repr__(self) -> str:
        return f"ExtraDict({dict.__repr__(self)})"


def _process_name() -> str | None:
    multiprocessing = sys.modules.get("multiprocessing")
    if multiprocessing is None:
        return None
    try:
        return str(multiprocessing.current_process().name)
    except Exception:  # noqa: BLE001 - a half-imported module has no name to give
        return None


def resolve_exc_info(exc_info: object) -> ExcInfoTuple | None:
    """Return the tuple that *exc_info* stands for, ``None`` if it stands for nothing.

    An exception stands for itself; a tuple is taken as it is, unless it is all ``None``; anything
    else that is true stands for the exception being handled, if there is one.
    """
    if not exc_info:
        return None
    if isinstance(exc_info, BaseException):
        return type(exc_info), exc_info, exc_info.__traceback__
    if not isinstance(exc_info, tuple):
        exc_info = sys.exc_info()
    if len(exc_info) != 3 or exc_info[1] is None:
        return None
    return cast(ExcInfoTuple, exc_info)


class LogRecord:
    """One logged event.

    The facts of the call are there from the beginning.  Time, process and place are fixed by
    :meth:`heavy_init`, when the first handler turns out to be interested.  The rest is worked out
    on demand, and what depends on the thread must be pulled before another thread reads it: see
    :meth:`pull_information`.

    Args:
        channel: Name of the logger, or of any other origin; may be ``None``.
        level: Number or name.
        msg: The message, or the template of one.
        args: Positional arguments of the template.
        kwargs: Keyword arguments of the template.
        exc_info: An exception, an ``exc_info`` tuple, or ``True`` for the exception being handled.
        extra: Custom data; copied.
        frame: A frame of the call, if it is known; else taken at heavy initialisation.
        dispatcher: Who made the record; held weakly.
        frame_correction: How many frames further out than the logging call the record's place is.
    """

    channel: str | None
    msg: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    level: int
    level_name: LevelNameProperty = level_name_property()
    exc_info: ExcInfo = None
    frame: FrameType | None = None
    frame_correction: int = 0
    process: int | None = None

    keep_open: bool = False
    """Set by a handler that stores the record, so that the dispatcher does not close it."""
    heavy_initialized: bool = False
    """Whether time, process and place are fixed."""
    late: bool = False
    """Whether the logging call is over, so that heavy initialisation is no longer possible."""
    information_pulled: bool = False
    """Whether everything lazy has been worked out."""

    _held_size: int = 0
    _moment: int | None = None
    _is_local: bool = False
    _time: datetime | None = None
    _spot: _caller.Place | None = None
    _known: _Known | None = None
    _dispatcher: weakref.ref[RecordDispatcher] | None = None

    def __init__(
        self,
        channel: str | None,
        level: Level,
        msg: Any,
        args: tuple[Any, ...] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc_info: ExcInfo = None,
        extra: Mapping[str, Any] | None = None,
        frame: FrameType | None = None,
        dispatcher: RecordDispatcher | None = None,
        frame_correction: int = 0,
    ) -> None:
        self.channel = channel
        self.level = level if type(level) is int else lookup_level(level)
        self.msg = msg
        self.args = tuple(args) if args else ()
        self.kwargs = dict(kwargs) if kwargs else {}
        self.exc_info = exc_info or None
        if extra:
            self.extra = make_extra(extra)
        self.frame_correction = frame_correction
        if dispatcher is not None:
            self._dispatcher = weakref.ref(dispatcher)
        if frame is not None:
            self.frame = frame
            self.settle_place()

    def __repr__(self) -> str:
        return f"<LogRecord {safe_repr(self.channel)} {self.level} {safe_repr(self.msg)}>"

    # -- what the call says

    @cached_property
    def extra(self) -> ExtraDict:
        """Custom data; reading a missing key gives ``''``."""
        return ExtraDict()

    @cached_property
    def message(self) -> Any:
        """The formatted message; *msg* itself if there are no arguments.

        Raises:
            TypeError: The message cannot be formatted with its arguments.
        """
        if not self.args and not self.kwargs:
            return self.msg
        try:
            msg = self.msg
            if type(msg) is str and type(self)._format_message is _format_message:
                return format_message(msg, self.args, self.kwargs)
            return self._format_message(self.msg, *self.args, **self.kwargs)
        except Exception as error:
            raise TypeError(
                f"Could not format message with provided arguments: {safe_str(error)}\n"
                f"  msg={safe_repr(self.msg)}\n"
                f"  args={safe_repr(self.args)} \n"
                f"  kwargs={safe_repr(self.kwargs)}.\n"
                f"Happened in file {self.filename}, line {self.lineno}"
            ) from error

    def _format_message(self, msg: Any, /, *args: Any, **kwargs: Any) -> str:
        """Return *msg* formatted with the arguments; subclasses may format differently."""
        if isinstance(msg, bytes):
            msg = msg.decode("utf-8", "replace")
        return format_message(msg if isinstance(msg, str) else str(msg), args, kwargs)

    @property
    def dispatcher(self) -> RecordDispatcher | None:
        """Who made the record; ``None`` if nobody did, or nobody else holds it any more."""
        return None if self._dispatcher is None else self._dispatcher()

    # -- when

    @property
    def time(self) -> datetime | None:
        """When heavy initialisation happened, as ``set_datetime_format`` has it shown."""
        if self._time is None and self._moment is not None:
            return _clock.datetime_of(self._moment, local=self._is_local)
        return self._time

    @time.setter
    def time(self, value: datetime | None) -> None:
        self._time = value
        self._moment = None

    @property
    def moment(self) -> int | None:
        """The same instant, in whole microseconds since the beginning of 1970 in UTC.

        A naive :attr:`time` that was assigned counts as UTC.
        """
        if self._moment is None and self._time is not None:
            self._moment = _clock.moment_of(self._time)
        return self._moment

    # -- where

    @cached_property
    def calling_frame(self) -> FrameType | None:
        """The frame of the logging call, ``None`` once the record is closed."""
        frame = _caller.find_caller(self.frame)
        for _ in range(self.frame_correction):
            if frame is None:
                break
            frame = frame.f_back
        return frame

    @cached_property
    def module(self) -> str | None:
        """Name of the calling module."""
        if self._known is not None:
            return self._known[1]
        frame = self.calling_frame
        return None if frame is None else frame.f_globals.get("__name__")

    @cached_property
    def filename(self) -> str | None:
        """Absolute path of the calling module's file; ``<…>`` for code that has none."""
        return self._find_place().filename

    @cached_property
    def lineno(self) -> int | None:
        """Line of the logging call."""
        return self._find_place().lineno

    @cached_property
    def func_name(self) -> str | None:
        """Name of the calling function."""
        return self._find_place().func_name

    def _find_place(self) -> _caller.Location:
        """Find file, line and function, and store those that are not known yet."""
        if self._known is not None:
            spot = self._known[0]
        else:
            if self._spot is None:
                self.settle_place()
            spot = self._spot
        location = _NOWHERE if spot is None else _caller.locate(*spot)
        facts = self.__dict__
        facts.setdefault("filename", location.filename)
        facts.setdefault("lineno", location.lineno)
        facts.setdefault("func_name", location.func_name)
        return location

    def settle_place(self) -> None:
        """Fix which instruction the call is at: its frame will move on."""
        if self._spot is None and self.frame is not None:
            self._spot = _caller.place_of(self.frame, self.frame_correction)

    # -- who

    @cached_property
    def thread(self) -> int | None:
        """Ident of the thread that first asks."""
        return threading.get_ident() if self._known is None else self._known[2]

    @cached_property
    def greenlet(self) -> int | None:
        """Ident of the greenlet that first asks; of the thread where there are no greenlets."""
        return threading.get_ident() if self._known is None else self._known[2]

    @cached_property
    def thread_name(self) -> str | None:
        """Name of the thread that first asks."""
        return threading.current_thread().name if self._known is None else self._known[3]

    @cached_property
    def process_name(self) -> str | None:
        """Name of the process, if ``multiprocessing`` has been imported."""
        return _process_name() if self._known is None else self._known[4]

    # -- the exception

    def _resolved_exc_info(self) -> ExcInfoTuple | None:
        if self.exc_info is not None and not isinstance(self.exc_info, tuple):
            self.exc_info = resolve_exc_info(self.exc_info)
        return resolve_exc_info(self.exc_info)

    @cached_property
    def formatted_exception(self) -> str | None:
        """Traceback text, chained exceptions included."""
        if self.exc_info is None:
            return None
        exc_info = self._resolved_exc_info()
        return None if exc_info is None else format_exception(exc_info)

    @cached_property
    def exception_name(self) -> str | None:
        """Module and class name of the exception."""
        exc_info = self._resolved_exc_info()
        return None if exc_info is None else exception_name(exc_info[1])

    @cached_property
    def exception_message(self) -> str | None:
        """Text of the exception."""
        exc_info = self._resolved_exc_info()
        return None if exc_info is None else exception_message(exc_info[1])

    @property
    def exception_shortname(self) -> str | None:
        """Class name of the exception."""
        name = self.exception_name
        return None if name is None else name.rpartition(".")[2]

    # -- the life of a record

    def heavy_init(self) -> None:
        """Fix time, process, place and exception; a second call does nothing.

        Facts that are there already stay.

        Raises:
            AssertionError: The logging call is over.
        """
        if self.heavy_initialized:
            return
        if self.late:
            raise MisuseError("heavy init is no longer possible")
        self._fix(
            sys._getframe(1)
            if self.frame is None
            and self._spot is None
            and not self.information_pulled
            and Flags.get_flag("introspection", True)
            else None
        )

    def _fix(self, frame: FrameType | None) -> None:
        """Fix time, process and exception, and the place if *frame* is known."""
        self.heavy_initialized = True
        if self.process is None:
            self.process = _fork.pid
        if self._time is None and self._moment is None:
            self._read_clock()
        if frame is not None:
            self.frame = frame
            self.settle_place()
        if self.exc_info is not None:
            self.exc_info = resolve_exc_info(self.exc_info)

    def _read_clock(self) -> None:
        self._is_local = _clock.is_local
        source = _clock.source()
        if source is not None:
            try:
                self._time = source()
            except Exception:  # noqa: BLE001 - reported; the record still gets the system's time
                report(self, cast(ExcInfoTuple, sys.exc_info()))
            else:
                return
        self._moment = _clock.moment()

    def pull_information(self) -> None:
        """Work out everything lazy now, so that the record can go to another thread.

        The message comes last: one that cannot be formatted does not keep the rest from being
        known.

        Raises:
            TypeError: The message cannot be formatted.
        """
        if self.information_pulled:
            return
        for name in _PULLED:
            getattr(self, name)
        self.information_pulled = True

    def remember(self) -> None:
        """Keep what will not be there later, so that everything lazy can be worked out then.

        That may be in another thread, and after the record is closed.  It does less than
        :meth:`pull_information`: the message is formatted, since its arguments may change, and so
        are exceptions; of place, thread and process no more is kept than it takes to tell.

        Raises:
            TypeError: The message cannot be formatted.
        """
        if self._known is not None or self.information_pulled:
            return
        if type(self) is not LogRecord:
            self.pull_information()
            return
        if self._spot is None:
            self.settle_place()
        frame, spot = self.frame, self._spot
        if self.frame_correction:
            frame = self.calling_frame
        elif frame is not None and (spot is None or frame.f_code is not spot[0]):
            frame = _caller.find_caller(frame)
        self._known = (
            spot,
            None if frame is None else frame.f_globals.get("__name__"),
            threading.get_ident(),
            threading.current_thread().name,
            _process_name(),
        )
        if self.exc_info is not None:
            for name in _OF_EXCEPTIONS:
                getattr(self, name)
        self.message  # noqa: B018 - worked out, and stored, unless somebody has assigned one

    def close(self) -> None:
        """Let go of frame and traceback; what has been worked out before stays."""
        self.late = True
        self.exc_info = None
        self.frame = None
        self.calling_frame = None
        self._spot = None

    # -- export and import

    def to_dict(self, json_safe: bool = False) -> dict[str, Any]:
        """Return the record's facts, everything lazy included.

        Args:
            json_safe: Reduce values to what JSON has; the time becomes UTC text, a message that
                JSON cannot carry becomes its text, and other objects become ``None``.

        Raises:
            TypeError: The message cannot be formatted.
        """
        self.pull_information()
        exported = {
            name: value
            for name, value in self.__dict__.items()
            if not name.startswith("_") and name not in _NOT_EXPORTED
        }
        exported["frame_correction"] = self.frame_correction
        exported["extra"] = dict(self.extra)
        exported.setdefault("process", self.process)
        if self.heavy_initialized or self.time is not None:
            exported["time"] = self.time
        if not json_safe:
            return exported
        if "time" in exported:
            exported["time"] = None if self.moment is None else _clock.iso8601(self.moment)
        exported["msg"] = self.wire_msg
        # Imported records have it only if they came with one or somebody asked.
        exported.setdefault("message", self.message)
        if exported["message"] is not None:
            message = exported["message"]
            exported["message"] = message if isinstance(message, str) else _decoded(message)
        return cast("dict[str, Any]", to_safe_json(exported))

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Self:
        """Return the record that *d* describes; see :meth:`update_from_dict`."""
        return cls.__new__(cls).update_from_dict(d)

    def update_from_dict(self, d: Mapping[str, Any]) -> Self:
        """Take the facts of *d*, an export of :meth:`to_dict`, and return the record.

        Unknown names become attributes, except those that start with an underscore or belong to
        the class.  What is missing has its default, or is ``None``: nothing of this process, its
        threads or its files is mixed in.
        """
        facts = self.__dict__
        facts.update(_IMPORT_DEFAULTS)
        facts["args"] = ()
        facts["kwargs"] = {}
        facts["level"] = 0
        for name, value in d.items():
            if not name.startswith("_") and name not in _NOT_IMPORTED:
                facts[name] = value
        args = facts["args"]
        facts["args"] = tuple(args) if isinstance(args, (list, tuple)) else ()
        facts["kwargs"] = facts["kwargs"] or {}
        if facts.get("message", self) is None:
            del facts["message"]
        self.extra = make_extra(d.get("extra"))
        time = d.get("time")
        self.time = parse_iso8601(time) if isinstance(time, str) else time
        self.information_pulled = True
        return self

    def to_json(self) -> str:
        """Return ``to_dict(json_safe=True)`` as one line of JSON in ASCII.

        Infinities and NaN are written as Python's ``json`` writes them.

        Raises:
            TypeError: The message cannot be formatted.
        """
        import json

        return json.dumps(self.to_dict(json_safe=True))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the record that *text* describes, a JSON object like those of :meth:`to_json`.

        Raises:
            ValueError: *text* is not UTF-8, not JSON, not an object, or has no whole number as its
                ``level``.
        """
        import json

        facts = json.loads(text.decode() if isinstance(text, bytes) else text)
        if not isinstance(facts, dict):
            raise ValueError(f"a record is a JSON object, got {safe_repr(facts, 100)}")
        level = facts.get("level")
        if type(level) is not int:
            raise ValueError(f"a record's level is a whole number, got {safe_repr(level, 100)}")
        record = cls.from_dict(facts)
        record.heavy_initialized = True
        return record

    @property
    def wire_msg(self) -> object:
        """What of :attr:`msg` JSON can carry, its text if it can carry nothing."""
        if isinstance(self.msg, (str, int, float, bool, list, tuple, dict, type(None))):
            return self.msg
        return _decoded(self.msg)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.to_dict(), self._moment)


def make_extra(extra: object) -> ExtraDict:
    """Return a copy of *extra*; what is no mapping is kept under the key ``extra``."""
    if not extra:
        return ExtraDict()
    if isinstance(extra, Mapping):
        return ExtraDict(extra)
    return ExtraDict(extra=extra)


def _rebuild(cls: type[LogRecord], facts: Mapping[str, Any], moment: int | None) -> LogRecord:
    record = cls.from_dict(facts)
    # A naive local time would be taken for UTC; the instant goes along beside it.
    record._moment = moment
    return record


def _decoded(msg: object) -> str:
    return msg.decode("utf-8", "replace") if isinstance(msg, bytes) else safe_str(msg)


_format_message: Final = LogRecord._format_message
_NOWHERE: Final = _caller.Location(None, None, None)
_PULLED: Final = (
    "process_name",
    "thread",
    "greenlet",
    "thread_name",
    "func_name",
    "module",
    "filename",
    "lineno",
    "formatted_exception",
    "exception_name",
    "exception_message",
    "message",
)
_OF_EXCEPTIONS: Final = _PULLED[8:11]
_NOT_EXPORTED: Final = frozenset(("exc_info", "frame", "calling_frame", "extra"))
_CLOSED: Final = ("exc_info", "frame", "calling_frame")
_SETTABLE: Final = frozenset(_PULLED) | {
    "channel",
    "msg",
    "args",
    "kwargs",
    "frame_correction",
    "process",
    "heavy_initialized",
}
_IMPORT_DEFAULTS: Final = {
    "channel": None,
    "msg": None,
    "frame_correction": 0,
    **dict.fromkeys(_CLOSED),
    **dict.fromkeys(name for name in _PULLED if name != "message"),
}


def _names_of_the_class() -> Iterable[str]:
    return (name for name in dir(LogRecord) if name not in _SETTABLE)


_NOT_IMPORTED: Final = frozenset(_names_of_the_class()) | frozenset(_CLOSED)
