"""The event log of Windows."""

from __future__ import annotations

import os
from types import ModuleType

from sprockets._support.optional import optional
from sprockets.logbook import _caller
from sprockets.logbook._format import NTLOG_FORMAT_STRING, StringFormatterHandlerMixin
from sprockets.logbook._levels import (
    CRITICAL,
    DEBUG,
    ERROR,
    INFO,
    NOTICE,
    NOTSET,
    TRACE,
    WARNING,
    Level,
)
from sprockets.logbook._text import safe_str
from sprockets.logbook._typing import ClassVar, Final
from sprockets.logbook.handlers._base import Filter, Handler
from sprockets.logbook.record import LogRecord

_caller.register(__file__)

# EVENTLOG_…_TYPE of winnt.h, which win32evtlog repeats.
EVENTLOG_ERROR_TYPE: Final = 1
EVENTLOG_WARNING_TYPE: Final = 2
EVENTLOG_INFORMATION_TYPE: Final = 4

_ACCESS_DENIED: Final = 5


class NTEventLogHandler(Handler, StringFormatterHandlerMixin):
    """Writes records to the event log of Windows, one event each, in the caller's thread.

    The constructor registers the application as a source of events, for which it needs an
    administrator's rights once; without them the events are written all the same, and the viewer
    says that it lacks their description.

    Args:
        application_name: Name of the source.
        log_type: Name of the log.
        level: Least level it is interested in, a number or a name.
        format_string: Layout of the text; ``None`` means :attr:`default_format_string`.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.

    Raises:
        RuntimeError: This is not Windows.
        MissingDependency: pywin32 is not installed; this is a ``RuntimeError`` too.
    """

    dllname: ClassVar[str | None] = None
    """Path of the library with the texts of the events; ``None`` means one of pywin32."""
    default_format_string: ClassVar[str] = NTLOG_FORMAT_STRING
    event_types: ClassVar[dict[int, int]] = {
        TRACE: EVENTLOG_INFORMATION_TYPE,
        DEBUG: EVENTLOG_INFORMATION_TYPE,
        INFO: EVENTLOG_INFORMATION_TYPE,
        NOTICE: EVENTLOG_INFORMATION_TYPE,
        WARNING: EVENTLOG_WARNING_TYPE,
        ERROR: EVENTLOG_ERROR_TYPE,
        CRITICAL: EVENTLOG_ERROR_TYPE,
    }

    application_name: str
    log_type: str

    def __init__(
        self,
        application_name: str,
        log_type: str = "Application",
        level: Level = NOTSET,
        format_string: str | None = None,
        filter: Filter | None = None,
        bubble: bool = False,
    ) -> None:
        if os.name != "nt":
            raise RuntimeError(
                "NTEventLogHandler writes to the event log of Windows, and this is not Windows;"
                " use SyslogHandler, or create_syshandler(), which chooses"
            )
        Handler.__init__(self, level, filter, bubble)
        StringFormatterHandlerMixin.__init__(self, format_string)
        self.application_name = application_name
        self.log_type = log_type
        self._log: ModuleType = optional(
            "win32evtlogutil", extra="win32", needed_by="NTEventLogHandler, which is for pywin32,"
        )
        self._register()

    def _register(self) -> None:
        try:
            self._log.AddSourceToRegistry(
                self.application_name, self.dllname or self._default_dllname(), self.log_type
            )
        except Exception as error:
            if getattr(error, "winerror", None) != _ACCESS_DENIED:
                raise

    def _default_dllname(self) -> str:
        folder = os.path.dirname(os.path.dirname(self._log.__file__ or ""))
        return os.path.join(folder, "win32service.pyd")

    def unregister_logger(self) -> None:
        """Remove the application from the registered sources; the viewer then lacks its texts."""
        self._log.RemoveSourceFromRegistry(self.application_name, self.log_type)

    def get_event_type(self, record: LogRecord) -> int:
        """Return the type of the event: information, warning or error, as the level says."""
        return self.event_types.get(record.level, EVENTLOG_INFORMATION_TYPE)

    def get_event_category(self, record: LogRecord) -> int:
        """Return the category of the event; 0 is none."""
        return 0

    def get_message_id(self, record: LogRecord) -> int:
        """Return which of the library's texts describes the event; 1 shows the string as it is."""
        return 1

    def emit(self, record: LogRecord) -> None:
        """Write *record* as one event."""
        self._log.ReportEvent(
            self.application_name,
            self.get_message_id(record),
            self.get_event_category(record),
            self.get_event_type(record),
            # A NUL would end the text there.
            [safe_str(self.format(record)).replace("\0", "\\x00")],
        )
