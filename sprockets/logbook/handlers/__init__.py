"""Handlers: what delivers records, and what formats them on the way."""

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

__all__ = [
    "DEFAULT_FORMAT_STRING",
    "MAIL_FORMAT_STRING",
    "MAIL_RELATED_FORMAT_STRING",
    "NTLOG_FORMAT_STRING",
    "SYSLOG_FORMAT_STRING",
    "TEST_FORMAT_STRING",
    "BatchReason",
    "FileHandler",
    "Filter",
    "FingersCrossedHandler",
    "Formatter",
    "GroupHandler",
    "Handler",
    "HashingHandlerMixin",
    "JSONFormatter",
    "LimitingHandlerMixin",
    "MonitoringFileHandler",
    "NullHandler",
    "StderrHandler",
    "StreamHandler",
    "StringFormatter",
    "StringFormatterHandlerMixin",
    "TestHandler",
    "WrapperHandler",
]
