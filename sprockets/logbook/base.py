"""The core: records, loggers, groups, stacks, processors, flags and levels."""

from sprockets.logbook._clock import set_datetime_format
from sprockets.logbook._context import (
    ContextObject,
    ContextStackManager,
    NestedSetup,
    StackedObject,
)
from sprockets.logbook._dispatcher import RecordDispatcher, dispatch_record
from sprockets.logbook._failures import statistics
from sprockets.logbook._flags import Flags, Inherit
from sprockets.logbook._groups import LoggerGroup, group_reflected_property
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
    get_level_name,
    level_name_property,
    lookup_level,
)
from sprockets.logbook._logger import Logger, LoggerMixin
from sprockets.logbook._processor import Fields, Processor, ProcessorCallback
from sprockets.logbook.record import ExcInfo, LogRecord

__all__ = [
    "CRITICAL",
    "DEBUG",
    "ERROR",
    "INFO",
    "NOTICE",
    "NOTSET",
    "TRACE",
    "WARNING",
    "ContextObject",
    "ContextStackManager",
    "ExcInfo",
    "Fields",
    "Flags",
    "Inherit",
    "Level",
    "LogRecord",
    "Logger",
    "LoggerGroup",
    "LoggerMixin",
    "NestedSetup",
    "Processor",
    "ProcessorCallback",
    "RecordDispatcher",
    "StackedObject",
    "dispatch_record",
    "get_level_name",
    "group_reflected_property",
    "level_name_property",
    "lookup_level",
    "set_datetime_format",
    "statistics",
]
