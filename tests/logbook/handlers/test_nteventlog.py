"""The event log of Windows: what it would be told, with stand-ins for pywin32."""

import os
import sys
import types

import pytest

from sprockets.logbook import Flags, Logger, LogRecord
from sprockets.logbook._format import NTLOG_FORMAT_STRING
from sprockets.logbook.handlers import _nteventlog, _syslog
from sprockets.logbook.handlers._nteventlog import NTEventLogHandler

log = Logger("testlogger")


class FakePywin32(types.ModuleType):
    """Notes what it is asked for, as the module ``win32evtlogutil``."""

    def __init__(self, refusal=None):
        super().__init__("win32evtlogutil")
        self.__file__ = os.path.join("site", "win32", "lib", "win32evtlogutil.py")
        self.calls = []
        self.refusal = refusal

    def AddSourceToRegistry(self, *args):
        self.calls.append(("add", *args))
        if self.refusal is not None:
            raise self.refusal

    def RemoveSourceFromRegistry(self, *args):
        self.calls.append(("remove", *args))

    def ReportEvent(self, *args):
        self.calls.append(("report", *args))


class Refusal(Exception):
    """Like pywintypes.error."""

    def __init__(self, winerror):
        super().__init__(winerror)
        self.winerror = winerror


@pytest.fixture(name="windows")
def _windows(monkeypatch):
    """Windows, as far as the handler looks."""
    monkeypatch.setattr(_nteventlog, "os", types.SimpleNamespace(name="nt", path=os.path))


@pytest.fixture(name="pywin32")
def _pywin32(windows, monkeypatch):
    module = FakePywin32()
    monkeypatch.setitem(sys.modules, "win32evtlogutil", module)
    return module


@pytest.mark.rule("NT-1")
@pytest.mark.skipif(os.name == "nt", reason="this is Windows")
def test_elsewhere_there_is_no_such_log():
    """The text says what to use."""
    with pytest.raises(
        RuntimeError, match=r"this is not Windows; use SyslogHandler, or create_syshandler"
    ):
        NTEventLogHandler("app")


@pytest.mark.rule("NT-1")
def test_the_missing_library_is_named(windows, monkeypatch):
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "win32evtlogutil", None)

    with pytest.raises(RuntimeError, match=r"pywin32.*pip install 'sprockets.http\[win32\]'"):
        NTEventLogHandler("app")


@pytest.mark.rule("NT-2", "NT-3")
def test_the_application_is_registered_and_unregistered(pywin32):
    """With the library of pywin32 that has texts for events, or one's own."""
    library = os.path.join("site", "win32", "win32service.pyd")
    NTEventLogHandler("app").unregister_logger()
    type("Own", (NTEventLogHandler,), {"dllname": "own.dll"})("app", "System").unregister_logger()

    assert pywin32.calls == [
        ("add", "app", library, "Application"),
        ("remove", "app", "Application"),
        ("add", "app", "own.dll", "System"),
        ("remove", "app", "System"),
    ]


@pytest.mark.rule("NT-2")
def test_without_the_rights_to_register_events_are_written_all_the_same(pywin32):
    """Any other refusal is an error."""
    pywin32.refusal = Refusal(5)
    NTEventLogHandler("app")

    pywin32.refusal = Refusal(2)
    with pytest.raises(Refusal):
        NTEventLogHandler("app")


@pytest.mark.rule("NT-4")
@pytest.mark.parametrize(
    ("level", "kind"),
    [
        *(("TRACE", 4), ("DEBUG", 4), ("INFO", 4), ("NOTICE", 4), (99, 4), (0, 4)),
        *(("WARNING", 2), ("ERROR", 1), ("CRITICAL", 1)),
    ],
)
def test_the_level_decides_the_type_of_the_event(pywin32, level, kind):
    """Information for what is not known."""
    handler = NTEventLogHandler("app")
    record = LogRecord("c", level, "x")

    assert handler.get_event_type(record) == kind
    assert (handler.get_event_category(record), handler.get_message_id(record)) == (0, 1)


@pytest.mark.rule("NT-4", "NT-5")
def test_a_record_is_one_event_with_one_string(pywin32):
    """Identifier, category and type may be overridden; a NUL does not end the text."""

    class Own(NTEventLogHandler):
        def get_message_id(self, record):
            return 7

        def get_event_category(self, record):
            return 8

    handler = Own("app", format_string="{record.message}\n")
    with handler.applicationbound(), Flags(errors="raise"):
        log.warning("a\0b")

    assert pywin32.calls[1:] == [("report", "app", 7, 8, 2, ["a\\x00b\n"])]
    assert NTEventLogHandler("app").format_string == NTLOG_FORMAT_STRING


@pytest.mark.rule("NT-6")
def test_on_windows_the_event_log_is_chosen(pywin32, monkeypatch):
    """With this name and level."""
    monkeypatch.setattr(_syslog, "os", types.SimpleNamespace(name="nt"))
    handler = _syslog.create_syshandler("app", level="ERROR")

    assert isinstance(handler, NTEventLogHandler)
    assert (handler.application_name, handler.level_name) == ("app", "ERROR")
