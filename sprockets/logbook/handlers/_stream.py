"""Handlers that write lines: to a stream, to standard error."""

from __future__ import annotations

import codecs
import io
import sys
from collections import deque
from collections.abc import Callable
from threading import RLock
from types import TracebackType

from sprockets.logbook import _caller, _context, _failures, _fork
from sprockets.logbook._format import StringFormatterHandlerMixin
from sprockets.logbook._layout import LineFormatter
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook._typing import Any, ClassVar, Final, Protocol
from sprockets.logbook.handlers._base import Filter, Handler
from sprockets.logbook.record import LogRecord

_caller.register(__file__)


_PLAIN_CODECS: Final = {
    "utf-8-sig": "utf-8",
    "utf-16": f"utf-16-{sys.byteorder[0]}e",
    "utf-32": f"utf-32-{sys.byteorder[0]}e",
}
"""What is written after the byte order mark that these begin a file with."""


def codec_of(encoding: str | None) -> str:
    """Return the codec that lines of a file in *encoding* are written with; without a mark."""
    name = codecs.lookup(encoding or "utf-8").name
    return _PLAIN_CODECS.get(name, name)


def mark_of(encoding: str | None) -> bytes:
    """Return the byte order mark that a file in *encoding* begins with, if it does."""
    return "".encode(encoding or "utf-8")


TAIL_FORM: Final = """\
acquire()
try:
    if writing.is_under_way:
        writing.nested.append(({0}, None))
        return
    writing.is_under_way = True
    try:
        {1}
    finally:
        writing.is_under_way = False
        if writing.nested: write_nested()
finally:
    release()"""
"""What is done with a line, the same as in `StreamHandler._deliver`, as statements.

To be filled in: what is kept of a line that comes in the middle of another, and how one is written.
"""
_TAIL = tuple(TAIL_FORM.format("line", "put(line)").split("\n"))
_TAIL_OF_TEXT = tuple(
    TAIL_FORM.format(
        "line",
        """try: write(line + '\\n')
        except UnicodeEncodeError: slowly(line)
        else: flush()""",
    ).split("\n")
)


class SupportsLock(Protocol):
    """A lock, as far as a stream handler needs it."""

    def acquire(self) -> object:
        """Wait for the lock and take it."""

    def release(self) -> object:
        """Give the lock back."""


class _Writing:
    """Whether a line is being written, and what came from the same thread meanwhile."""

    __slots__ = ("is_under_way", "nested", "put")

    def __init__(self) -> None:
        self.put: Callable[[str], None] | None = None
        self.is_under_way = False
        self.nested: deque[tuple[Any, LogRecord | None]] = deque()


class StreamHandler(Handler, StringFormatterHandlerMixin):
    """Writes each record as one line to *stream*, which it never closes.

    The line is formatted before the lock is taken, so an argument whose ``__str__`` logs does no
    harm.  A record logged while this thread is in the middle of writing another (from a signal
    handler, or a finaliser) is written right after it.

    Args:
        stream: Anything with ``write``; a text stream gets text, a binary one bytes, with a byte
            order mark at its beginning if the encoding has one.
        level: Least level it is interested in, a number or a name.
        format_string: Layout of a line; ``None`` means :attr:`default_format_string`.
        encoding: For binary streams; ``None`` means the stream's own, or UTF-8.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
    """

    _tails: ClassVar[tuple[tuple[str, ...], ...]] = (_TAIL, _TAIL_OF_TEXT)
    stream: Any
    encoding: str | None
    lock: SupportsLock
    """Held while writing; may be replaced by anything that has ``acquire`` and ``release``."""

    def __init__(
        self,
        stream: Any,
        level: Level = NOTSET,
        format_string: str | None = None,
        encoding: str | None = None,
        filter: Filter | None = None,
        bubble: bool = False,
    ) -> None:
        Handler.__init__(self, level, filter, bubble)
        StringFormatterHandlerMixin.__init__(self, format_string)
        self.encoding = encoding
        self.lock = RLock()
        self._writing = _Writing()
        self._begun: object = None
        if stream is not None:
            self.stream = stream
        _fork.hold_at_fork(self)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        """Unbind from the current context, then close."""
        super().__exit__(exc_type, exc_value, tb)
        self.close()

    # -- a line

    def emit(self, record: LogRecord) -> None:
        """Format *record*, then write it as one line."""
        self._deliver(self.format(record), record)

    def _deliver(self, text: Any, record: LogRecord | None = None) -> None:
        lock = self.lock
        lock.acquire()
        try:
            writing = self._writing
            if writing.is_under_way:
                writing.nested.append((text, record))
                return
            writing.is_under_way = True
            try:
                (writing.put or self._find_put())(text)
            finally:
                writing.is_under_way = False
                if writing.nested:
                    self._write_nested()
        finally:
            lock.release()

    def _find_put(self) -> Callable[[str], None]:
        put = self._writing.put = self._put() or self._write_line
        return put

    def _watched_attribute_changed(self, name: str) -> None:
        super()._watched_attribute_changed(name)
        formatter = self.__dict__.get("formatter")
        if name == "formatter" and isinstance(formatter, LineFormatter):
            source = formatter.line_source()
            if source is not None:
                for tail in self._tails:
                    source.compile(tail)
        writing = self.__dict__.get("_writing")
        if writing is not None:
            writing.put = None

    def _write_line(self, text: Any) -> None:
        self.ensure_stream_is_open()
        self.write(self.encode(text))
        if self.should_flush():
            self.flush()

    def _write_nested(self) -> None:
        """Write what came while this thread was writing; more may come meanwhile."""
        writing = self._writing
        while writing.nested:
            writing.is_under_way = True
            try:
                # Asked again: until the flag was set, a nested call could write all there was.
                if writing.nested:
                    self._write_one_nested(*writing.nested.popleft())
            finally:
                writing.is_under_way = False

    def _write_one_nested(self, text: Any, record: LogRecord | None) -> None:
        try:
            self._write_line(text)
        except Exception:  # noqa: BLE001 - reported, for the record whose line it is
            _failures.report(record, sys.exc_info())  # type: ignore[arg-type]  # never empty here

    def line_writer(self) -> Callable[..., None] | None:
        """Return what writes a line without there being a record, if there is such a way."""
        formatter = self.formatter
        if not isinstance(formatter, LineFormatter) or not self._is_standard():
            return None
        source = formatter.line_source()
        if source is None:
            return None
        stream = self.stream
        lock = self.lock
        names: dict[str, Any] = {
            "acquire": lock.acquire,
            "release": lock.release,
            "slowly": self._write_line,
            "write_nested": self._write_nested,
            "writing": self._writing,
        }
        if self._writes_to(stream):
            names.update(write=stream.write, flush=stream.flush)
            return source.function(_TAIL_OF_TEXT, names)
        names.update(put=self._find_put())
        return source.function(self._tails[0], names)

    def _put(self) -> Callable[[str], None] | None:
        """Return what writes a line to the stream as it is now, if none of that is overridden."""
        stream = self.stream
        if not self._writes_to(stream):
            return None
        write, flush = stream.write, stream.flush

        def put(text: str) -> None:
            try:
                write(text + "\n")
            except UnicodeEncodeError:
                self.write(text + "\n")
            flush()

        return put

    def _writes_to(self, stream: Any) -> bool:
        """Whether a line is plainly written to *stream*, a text stream, until told otherwise."""
        return (
            isinstance(stream, _TEXT_STREAM)
            and self.__dict__.get("stream") is stream
            and self._writes_like(StreamHandler)
        )

    def _writes_like(self, base: type[StreamHandler]) -> bool:
        """Whether encoding, writing and flushing are those of *base*, with nothing overridden."""
        cls = type(self)
        return self.__dict__.keys().isdisjoint(_WRITING) and all(
            getattr(cls, name, None) is getattr(base, name, None) for name in _WRITING
        )

    def _is_standard(self) -> bool:
        """Whether nobody could tell a line from one that went by way of a record."""
        cls = type(self)
        return (
            cls.emit is StreamHandler.emit
            and cls.format is Handler.format
            and self.always_consumes
            and self.__dict__.keys().isdisjoint(("emit", "format"))
        )

    @property
    def wants_caller(self) -> bool:
        """Whether the layout shows where the call was."""
        formatter = self.formatter
        if isinstance(formatter, LineFormatter) and self._is_standard():
            return formatter.wants_caller
        return True

    # -- the stream

    def encode(self, msg: Any) -> Any:
        """Return what is written for *msg*: text and line break, in bytes for a binary stream."""
        text = f"{msg}\n"
        stream = self.stream
        if isinstance(stream, _TEXT_STREAM) or not self._is_binary(stream):
            return text
        encoding = self.encoding or getattr(stream, "encoding", None) or "utf-8"
        return text.encode(codec_of(encoding), "replace")

    @staticmethod
    def _is_binary(stream: Any) -> bool:
        if isinstance(stream, (io.RawIOBase, io.BufferedIOBase)):
            return True
        return "b" in str(getattr(stream, "mode", ""))

    def format_and_encode(self, record: LogRecord) -> Any:
        """Return what is written for *record*."""
        return self.encode(self.format(record))

    def ensure_stream_is_open(self) -> None:
        """Open the stream if it is not; called under the lock, before each write."""

    def write(self, item: Any) -> None:
        """Write *item*, one whole line, to the stream; called under the lock."""
        stream = self.stream
        if stream is None:
            return
        if isinstance(item, bytes) and stream is not self._begun:
            item = self._mark(stream) + item
            self._begun = stream
        try:
            stream.write(item)
        except UnicodeEncodeError:
            encoding = getattr(stream, "encoding", None) or "ascii"
            stream.write(item.encode(encoding, "backslashreplace").decode(encoding))

    def _mark(self, stream: Any) -> bytes:
        """Return the byte order mark that *stream* still lacks."""
        mark = mark_of(self.encoding or getattr(stream, "encoding", None))
        try:
            is_empty = not mark or not stream.tell()
        except (AttributeError, OSError):
            # A pipe has no position: this handler's first line is its beginning.
            return mark
        return mark if is_empty else b""

    def should_flush(self) -> bool:
        """Return whether to flush after each record."""
        return True

    def flush(self) -> None:
        """Flush the stream, if it can be flushed."""
        flush = getattr(self.stream, "flush", None)
        if flush is not None:
            flush()

    def close(self) -> None:
        """Flush; the stream is its owner's to close."""
        self.flush()

    # -- fork

    def before_fork(self) -> None:
        """Wait until no other thread is in the middle of a line."""
        lock = self.lock
        self._held_at_fork = (
            lock.acquire(timeout=_fork.time_to_wait()) if isinstance(lock, _RLOCK) else None
        )

    def after_fork_in_parent(self) -> None:
        """Let the other threads go on."""
        if self._held_at_fork:
            self.lock.release()

    def after_fork_in_child(self) -> None:
        """Start anew; lines of other threads are theirs to write, in the parent."""
        if isinstance(self.lock, _RLOCK):
            self.lock = RLock()
            self._writing = _Writing()
            _context.handlers_changed()


_RLOCK = type(RLock())
# The class below io.TextIOBase: the same streams, without the detour of an abstract base class.
_TEXT_STREAM: type[io.TextIOBase] = io.TextIOBase.__bases__[0]
_WRITING = frozenset(("encode", "ensure_stream_is_open", "flush", "should_flush", "write"))
"""What writing a line consists of."""


class StderrHandler(StreamHandler):
    """Writes each record as one line to what ``sys.stderr`` is at that moment.

    Where there is none, as in windowed applications, records are dropped; a closed one is as good
    as none.

    Args:
        level: Least level it is interested in, a number or a name.
        format_string: Layout of a line; ``None`` means :attr:`default_format_string`.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
    """

    _tails = (_TAIL,)

    def __init__(
        self,
        level: Level = NOTSET,
        format_string: str | None = None,
        filter: Filter | None = None,
        bubble: bool = False,
    ) -> None:
        super().__init__(None, level, format_string, None, filter, bubble)

    @property
    def stream(self) -> Any:
        """Standard error as it is now; ``None`` if there is none."""
        return sys.stderr

    def _put(self) -> Callable[[str], None] | None:
        """Return what writes a line to standard error, if none of that is overridden."""
        if not self._writes_like(StderrHandler):
            return None

        def put(text: str) -> None:
            stream = sys.stderr
            if isinstance(stream, _TEXT_STREAM):
                try:
                    stream.write(text + "\n")
                except UnicodeEncodeError:
                    self.write(text + "\n")
                stream.flush()
            elif stream is not None:
                self._write_line(text)

        return put
