"""Logging: records fall through stacks of handlers bound to the application and the context."""

from sprockets.logbook._generic import (
    catch_exceptions,
    critical,
    debug,
    error,
    exception,
    info,
    install_default_handler,
    log,
    notice,
    trace,
    warn,
    warning,
)
from sprockets.logbook._typing import TYPE_CHECKING, Any, Final
from sprockets.logbook.base import (
    CRITICAL,
    DEBUG,
    ERROR,
    INFO,
    NOTICE,
    NOTSET,
    TRACE,
    WARNING,
    Fields,
    Flags,
    Logger,
    LoggerGroup,
    LogRecord,
    NestedSetup,
    Processor,
    dispatch_record,
    get_level_name,
    lookup_level,
    set_datetime_format,
    statistics,
)
from sprockets.logbook.handlers import (
    FileHandler,
    FingersCrossedHandler,
    GroupHandler,
    Handler,
    HashingHandlerMixin,
    JSONFormatter,
    LimitingHandlerMixin,
    MonitoringFileHandler,
    NullHandler,
    StderrHandler,
    StreamHandler,
    StringFormatter,
    StringFormatterHandlerMixin,
    TestHandler,
    WrapperHandler,
)

if TYPE_CHECKING:
    from sprockets.logbook.handlers import (
        BrotliCompressionHandler,
        ConsoleFormatter,
        ECSFormatter,
        GMailHandler,
        GZIPCompressionHandler,
        JournaldHandler,
        LogfmtFormatter,
        MailHandler,
        NTEventLogHandler,
        OTLPHandler,
        RollingFileHandler,
        RotatingFileHandler,
        SentryHandler,
        SyslogHandler,
        TimedRotatingFileHandler,
        create_syshandler,
    )

    __version__: str
    default_handler: StderrHandler

__all__ = [
    "CRITICAL",
    "DEBUG",
    "ERROR",
    "INFO",
    "NOTICE",
    "NOTSET",
    "TRACE",
    "WARNING",
    "BrotliCompressionHandler",
    "ConsoleFormatter",
    "ECSFormatter",
    "Fields",
    "FileHandler",
    "FingersCrossedHandler",
    "Flags",
    "GMailHandler",
    "GZIPCompressionHandler",
    "GroupHandler",
    "Handler",
    "HashingHandlerMixin",
    "JSONFormatter",
    "JournaldHandler",
    "LimitingHandlerMixin",
    "LogRecord",
    "LogfmtFormatter",
    "Logger",
    "LoggerGroup",
    "MailHandler",
    "MonitoringFileHandler",
    "NTEventLogHandler",
    "NestedSetup",
    "NullHandler",
    "OTLPHandler",
    "Processor",
    "RollingFileHandler",
    "RotatingFileHandler",
    "SentryHandler",
    "StderrHandler",
    "StreamHandler",
    "StringFormatter",
    "StringFormatterHandlerMixin",
    "SyslogHandler",
    "TestHandler",
    "TimedRotatingFileHandler",
    "WrapperHandler",
    "catch_exceptions",
    "create_syshandler",
    "critical",
    "debug",
    "dispatch_record",
    "error",
    "exception",
    "get_level_name",
    "info",
    "log",
    "lookup_level",
    "notice",
    "set_datetime_format",
    "statistics",
    "trace",
    "warn",
    "warning",
]

# Imported when they are first asked for: they need sockets, TLS or compression.
_LAZY: Final = frozenset(
    (
        "BrotliCompressionHandler",
        "ConsoleFormatter",
        "ECSFormatter",
        "GMailHandler",
        "GZIPCompressionHandler",
        "JournaldHandler",
        "LogfmtFormatter",
        "MailHandler",
        "NTEventLogHandler",
        "OTLPHandler",
        "RollingFileHandler",
        "RotatingFileHandler",
        "SentryHandler",
        "SyslogHandler",
        "TimedRotatingFileHandler",
        "create_syshandler",
    )
)

if (_installed := install_default_handler()) is not None:
    default_handler = _installed


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("sprockets.http")
    if name in _LAZY:
        from sprockets.logbook import handlers

        found = globals()[name] = getattr(handlers, name)
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
