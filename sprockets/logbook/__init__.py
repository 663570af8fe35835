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
from sprockets.logbook._typing import TYPE_CHECKING, Any
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
    "Fields",
    "FileHandler",
    "FingersCrossedHandler",
    "Flags",
    "GroupHandler",
    "Handler",
    "HashingHandlerMixin",
    "JSONFormatter",
    "LimitingHandlerMixin",
    "LogRecord",
    "Logger",
    "LoggerGroup",
    "MonitoringFileHandler",
    "NestedSetup",
    "NullHandler",
    "Processor",
    "StderrHandler",
    "StreamHandler",
    "StringFormatter",
    "StringFormatterHandlerMixin",
    "TestHandler",
    "WrapperHandler",
    "catch_exceptions",
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

if (_installed := install_default_handler()) is not None:
    default_handler = _installed


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("sprockets.http")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
