"""Handlers: what delivers records, and what formats them on the way.

What needs sockets, TLS or compression is imported when it is first asked for.
"""

from importlib import import_module

from sprockets.logbook._format import (
    DEFAULT_FORMAT_STRING,
    MAIL_FORMAT_STRING,
    MAIL_RELATED_FORMAT_STRING,
    NTLOG_FORMAT_STRING,
    SYSLOG_FORMAT_STRING,
    TEST_FORMAT_STRING,
    StringFormatter,
    StringFormatterHandlerMixin,
)
from sprockets.logbook._json import JSONFormatter
from sprockets.logbook._typing import TYPE_CHECKING, Any, Final
from sprockets.logbook.handlers._base import (
    BatchReason,
    Filter,
    Formatter,
    Handler,
    NullHandler,
    WrapperHandler,
)
from sprockets.logbook.handlers._buffering import FingersCrossedHandler, GroupHandler
from sprockets.logbook.handlers._files import FileHandler, MonitoringFileHandler
from sprockets.logbook.handlers._limits import HashingHandlerMixin, LimitingHandlerMixin
from sprockets.logbook.handlers._memory import TestHandler
from sprockets.logbook.handlers._stream import StderrHandler, StreamHandler

if TYPE_CHECKING:
    from sprockets.logbook._console import ConsoleFormatter
    from sprockets.logbook._ecs import ECSFormatter
    from sprockets.logbook._logfmt import LogfmtFormatter
    from sprockets.logbook.handlers._compressed import (
        BrotliCompressionHandler,
        GZIPCompressionHandler,
    )
    from sprockets.logbook.handlers._journald import JournaldHandler
    from sprockets.logbook.handlers._mail import GMailHandler, MailHandler
    from sprockets.logbook.handlers._nteventlog import NTEventLogHandler
    from sprockets.logbook.handlers._otlp import OTLPHandler
    from sprockets.logbook.handlers._remote import RemoteHandler
    from sprockets.logbook.handlers._rolling import RollingFileHandler
    from sprockets.logbook.handlers._rotating import RotatingFileHandler, RotatingFileHandlerBase
    from sprockets.logbook.handlers._sentry import SentryHandler
    from sprockets.logbook.handlers._syslog import SYSLOG_PORT, SyslogHandler, create_syshandler
    from sprockets.logbook.handlers._timed import TimedRotatingFileHandler

_LAZY: Final = {
    "BrotliCompressionHandler": "sprockets.logbook.handlers._compressed",
    "ConsoleFormatter": "sprockets.logbook._console",
    "ECSFormatter": "sprockets.logbook._ecs",
    "GMailHandler": "sprockets.logbook.handlers._mail",
    "GZIPCompressionHandler": "sprockets.logbook.handlers._compressed",
    "JournaldHandler": "sprockets.logbook.handlers._journald",
    "LogfmtFormatter": "sprockets.logbook._logfmt",
    "MailHandler": "sprockets.logbook.handlers._mail",
    "NTEventLogHandler": "sprockets.logbook.handlers._nteventlog",
    "OTLPHandler": "sprockets.logbook.handlers._otlp",
    "RemoteHandler": "sprockets.logbook.handlers._remote",
    "RollingFileHandler": "sprockets.logbook.handlers._rolling",
    "RotatingFileHandler": "sprockets.logbook.handlers._rotating",
    "RotatingFileHandlerBase": "sprockets.logbook.handlers._rotating",
    "SYSLOG_PORT": "sprockets.logbook.handlers._syslog",
    "SentryHandler": "sprockets.logbook.handlers._sentry",
    "SyslogHandler": "sprockets.logbook.handlers._syslog",
    "TimedRotatingFileHandler": "sprockets.logbook.handlers._timed",
    "create_syshandler": "sprockets.logbook.handlers._syslog",
}

__all__ = [
    "DEFAULT_FORMAT_STRING",
    "MAIL_FORMAT_STRING",
    "MAIL_RELATED_FORMAT_STRING",
    "NTLOG_FORMAT_STRING",
    "SYSLOG_FORMAT_STRING",
    "SYSLOG_PORT",
    "TEST_FORMAT_STRING",
    "BatchReason",
    "BrotliCompressionHandler",
    "ConsoleFormatter",
    "ECSFormatter",
    "FileHandler",
    "Filter",
    "FingersCrossedHandler",
    "Formatter",
    "GMailHandler",
    "GZIPCompressionHandler",
    "GroupHandler",
    "Handler",
    "HashingHandlerMixin",
    "JSONFormatter",
    "JournaldHandler",
    "LimitingHandlerMixin",
    "LogfmtFormatter",
    "MailHandler",
    "MonitoringFileHandler",
    "NTEventLogHandler",
    "NullHandler",
    "OTLPHandler",
    "RemoteHandler",
    "RollingFileHandler",
    "RotatingFileHandler",
    "RotatingFileHandlerBase",
    "SentryHandler",
    "StderrHandler",
    "StreamHandler",
    "StringFormatter",
    "StringFormatterHandlerMixin",
    "SyslogHandler",
    "TestHandler",
    "TimedRotatingFileHandler",
    "WrapperHandler",
    "create_syshandler",
]


def __getattr__(name: str) -> Any:
    """Import what was not yet needed."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_LAZY[name]), name)
    return found
