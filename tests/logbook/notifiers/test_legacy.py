"""Services that are gone: what their handlers say, and how they work again."""

import socket
import sys
import types
from base64 import b64encode

import pytest

from sprockets._support.optional import MissingDependency
from sprockets.logbook import Logger, LogRecord
from sprockets.logbook.delivery import PermanentError
from sprockets.logbook.errors import ServiceGoneError
from sprockets.logbook.helpers import get_application_name
from sprockets.logbook.notifiers import (
    BoxcarHandler,
    GrowlHandler,
    NotificationBaseHandler,
    NotifoHandler,
)
from tests.logbook.notifiers.conftest import QUICK

# Of the standard library, which apprise imports as long as it is there.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

log = Logger("till")
HANDLERS = {
    BoxcarHandler: ("ann@example.com", "secret"),
    NotifoHandler: ("shop", "ann", "secret"),
    GrowlHandler: ("shop",),
}


@pytest.fixture(autouse=True)
def _nothing_is_installed(monkeypatch):
    """The modules of these services are not there, unless a test brings its own."""
    for name in ("Growl", "notifo", "gntp"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture(name="no_network")
def _no_network(monkeypatch):
    """A connection is an error."""

    def refuse(*args, **kwargs):
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


# -- all of them


@pytest.mark.rule("NO-4")
@pytest.mark.parametrize("cls", HANDLERS)
def test_a_dead_service_says_so_at_once_and_what_to_use(cls, no_network):
    """Not at the first record, and not in vain to a host that is gone."""
    with (
        pytest.warns(DeprecationWarning, match=f"^{cls.__name__} is deprecated: .* use"),
        pytest.raises(ServiceGoneError, match=r"Handler.*transport=") as caught,
    ):
        cls(*HANDLERS[cls], platform="linux") if cls is GrowlHandler else cls(*HANDLERS[cls])

    assert isinstance(caught.value, RuntimeError)
    assert "AppriseHandler" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("cls", HANDLERS)
def test_the_warning_is_at_the_callers_line(cls):
    """Where it is to be mended."""
    with pytest.warns(DeprecationWarning) as caught, pytest.raises(ServiceGoneError):
        cls(*HANDLERS[cls])

    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.parametrize("cls", HANDLERS)
def test_it_is_still_a_notifier(cls):
    """Whoever asks for that, or derives from it, finds what there was."""
    assert issubclass(cls, NotificationBaseHandler)


@pytest.mark.parametrize("cls", HANDLERS)
def test_a_living_service_takes_its_place(cls, serve):
    """Its name and arguments stay; the notice goes where the transport leads."""
    pytest.importorskip("apprise")
    service = serve((500, {}, b""))
    transport = f"json://127.0.0.1:{service.port}/"
    with pytest.warns(DeprecationWarning, match=cls.__name__):
        handler = cls(*HANDLERS[cls], transport=transport, retry=QUICK)

    with handler:
        log.error("jammed")
    assert handler.close(20)

    assert [(one["title"], one["message"], one["type"]) for one in service.documents] == [
        ("till: Error", "jammed", "failure")
    ] * 2
    assert handler.statistics()["delivered"] == 1


@pytest.mark.rule("NO-3")
@pytest.mark.parametrize("cls", HANDLERS)
def test_the_limit_is_asked_first(cls, serve, clock):
    """One notice a window, of whatever service."""
    pytest.importorskip("apprise")
    service = serve()
    transport = f"json://127.0.0.1:{service.port}/"
    with pytest.warns(DeprecationWarning):
        handler = cls(*HANDLERS[cls], transport=transport, record_limit=1, clock=clock)

    with handler:
        for number in range(3):
            log.error("jammed {}", number)
    assert handler.close(20)

    assert [one["message"] for one in service.documents] == ["jammed 0"]
    assert handler.statistics()["withheld"] == 2


@pytest.mark.parametrize("cls", HANDLERS)
def test_a_transport_needs_apprise(cls, monkeypatch):
    """The error names the extra."""
    monkeypatch.setitem(sys.modules, "apprise", None)

    with (
        pytest.warns(DeprecationWarning),
        pytest.raises(MissingDependency, match=rf"{cls.__name__} needs 'apprise'.*\[apprise\]"),
    ):
        cls(*HANDLERS[cls], transport="json://localhost")


# -- Boxcar


class OwnBoxcar(BoxcarHandler):
    """Goes to something that understands Boxcar's forms."""


@pytest.fixture(name="boxcar")
def _boxcar(serve, monkeypatch):
    service = serve()

    def start(*script, **options):
        service.script = list(script)
        monkeypatch.setattr(OwnBoxcar, "api_url", f"http://127.0.0.1:{service.port}/notes/?v=1")
        with pytest.warns(DeprecationWarning, match="BoxcarHandler is deprecated"):
            return OwnBoxcar("ann@example.com", "päss", retry=QUICK, **options)

    return service, start


@pytest.mark.rule("NO-1", "NO-9")
def test_a_subclass_may_send_boxcars_forms_elsewhere(boxcar):
    """Fields, credentials, host and path are what they were meant to be."""
    service, start = boxcar
    handler = start(now=lambda: 1_000_000_000.129)

    with handler:
        log.warning("ä b&c")
    assert handler.close(20)

    ((path, headers, _),) = service.requests
    assert path == "/notes/?v=1"
    assert (
        headers["Authorization"] == "Basic " + b64encode("ann@example.com:päss".encode()).decode()
    )
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert service.forms == [
        {
            "notification[from_screen_name]": "Warning",
            "notification[message]": "ä b&c",
            "notification[from_remote_service_id]": "100000000012",
        }
    ]
    assert handler.application_name == get_application_name()
    assert handler.get_screen_name(LogRecord("till", 15, "x")) == "Critical"


@pytest.mark.rule("NO-9")
def test_the_answer_to_boxcars_form_is_read(boxcar):
    """A refusal is an error; what passes is tried again."""
    service, start = boxcar
    handler = start((401, {}, b"who?"), immediate=True)
    with pytest.raises(PermanentError, match="answered 401: who"):
        handler.emit(LogRecord("till", 14, "x"))
    handler.close()

    handler = start((503, {}, b""), (503, {}, b""))
    with handler:
        log.error("late")
    assert handler.close(20)

    assert handler.statistics()["delivered"] == 1
    assert len(service.requests) == 4


# -- Notifo


class FakeNotifo(types.ModuleType):
    """Stands in for the module, whose service is gone: keeps what it is to send."""

    def __init__(self):
        super().__init__("notifo")
        self.sent = []

    def send_notification(self, *arguments):
        self.sent.append(arguments)


@pytest.fixture(name="notifo")
def _notifo(monkeypatch):
    module = FakeNotifo()
    monkeypatch.setitem(sys.modules, "notifo", module)
    return module


@pytest.mark.rule("NO-10")
@pytest.mark.parametrize(("hide_level", "label"), [(False, "WARNING"), (True, None)])
def test_notifo_is_told_the_level_of_the_record(notifo, hide_level, label):
    """Not the handler's; or none."""
    with pytest.warns(DeprecationWarning, match="NotifoHandler is deprecated"):
        handler = NotifoHandler("shop", "ann", "secret", level="DEBUG", hide_level=hide_level)

    with handler:
        log.warning("jammed")
    assert handler.close(20)

    assert notifo.sent == [("ann", "secret", None, "jammed", "shop", label, None)]


@pytest.mark.rule("NO-1", "NO-10")
def test_notifo_without_a_name_is_told_none(notifo):
    """It stays unnamed."""
    with pytest.warns(DeprecationWarning):
        handler = NotifoHandler(username="ann", secret="s")

    assert handler.application_name is None
    handler.close()


# -- Growl


class FakeGrowl(types.ModuleType):
    """Stands in for the module, whose program is gone: keeps what it is asked."""

    def __init__(self, has_icon=True):
        super().__init__("Growl")
        self.calls = []
        this = self

        class Notifier:
            def __init__(self, **options):
                this.calls.append(("notifier", options))

            def register(self):
                this.calls.append(("register",))

            def notify(self, *arguments, **options):
                this.calls.append(("notify", arguments, options))

        class Image:
            @staticmethod
            def imageFromPath(path):
                return f"image of {path}"

            @staticmethod
            def imageWithIconForCurrentApplication():
                if not has_icon:
                    raise TypeError("no icon")
                return "own image"

        self.GrowlNotifier = Notifier
        self.Image = Image


def growl(monkeypatch, *args, has_icon=True, **options):
    """Return a handler and what its module was asked."""
    module = FakeGrowl(has_icon)
    monkeypatch.setitem(sys.modules, "Growl", module)
    with pytest.warns(DeprecationWarning, match="GrowlHandler is deprecated"):
        return GrowlHandler(*args, **options), module.calls


@pytest.mark.rule("NO-5")
def test_growl_is_told_who_tells_and_what_there_may_be(monkeypatch, tmp_path):
    """All levels, and the icon; then it is registered with."""
    icon = tmp_path / "till.png"
    icon.write_bytes(b"")

    handler, calls = growl(monkeypatch, "shop", icon, "host", "secret")
    handler.close()

    levels = ["Critical", "Error", "Warning", "Notice", "Info", "Debug", "Trace", "Notset"]
    (name, options), register = calls
    assert (name, register) == ("notifier", ("register",))
    assert sorted(options.pop("notifications")) == sorted(levels)
    assert options == {
        "applicationName": "shop",
        "applicationIcon": f"image of {icon}",
        "hostname": "host",
        "password": "secret",
    }


@pytest.mark.rule("NO-5")
@pytest.mark.parametrize(("has_icon", "icon"), [(True, "own image"), (False, None)])
def test_growl_without_an_icon_shows_the_programs(monkeypatch, has_icon, icon):
    """Or none, where the program has none."""
    handler, calls = growl(monkeypatch, has_icon=has_icon)
    handler.close()

    assert calls[0][1]["applicationIcon"] == icon


@pytest.mark.rule("NO-5")
def test_growls_icon_must_be_a_file(tmp_path):
    """Whatever else there is."""
    with pytest.warns(DeprecationWarning), pytest.raises(OSError, match="icon must be a file"):
        GrowlHandler("shop", tmp_path)


@pytest.mark.rule("NO-5", "NO-6")
def test_growl_shows_errors_until_somebody_takes_them_away(monkeypatch):
    """Level, title and text; and how urgent it is."""
    handler, calls = growl(monkeypatch, "shop")

    with handler:
        for level in ("INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL"):
            log.log(level, "jammed")
    assert handler.close(20)

    assert calls[2:] == [
        ("notify", ("Info", "till: Info", "jammed"), {"sticky": False, "priority": 0}),
        ("notify", ("Notice", "till: Notice", "jammed"), {"sticky": False, "priority": 0}),
        ("notify", ("Warning", "till: Warning", "jammed"), {"sticky": False, "priority": 1}),
        ("notify", ("Error", "till: Error", "jammed"), {"sticky": True, "priority": 2}),
        ("notify", ("Critical", "till: Critical", "jammed"), {"sticky": True, "priority": 2}),
    ]


def test_growl_at_a_host_takes_gntp():
    """A library that is missing is named, and no password is."""
    pytest.importorskip("apprise")
    from apprise.plugins import growl as plugin

    if plugin.NOTIFY_GROWL_SUPPORT_ENABLED:
        pytest.skip("gntp was there when apprise was imported")

    with (
        pytest.warns(DeprecationWarning),
        pytest.raises(MissingDependency, match="pip install gntp") as caught,
    ):
        GrowlHandler("shop", host="till.example.com", password="s3cret")

    assert "s3cret" not in str(caught.value)


def test_growls_address_is_that_of_host_and_password():
    """A password may have any character in it."""
    from sprockets.logbook.notifiers._growl import _gntp_url

    assert _gntp_url("till", None) == "growl://till"
    assert _gntp_url(None, "a/b@c:d") == "growl://a%2Fb%40c%3Ad@localhost"


def test_growl_on_a_mac_is_the_notification_centre(monkeypatch, tmp_path):
    """Here the program that every Mac has is one that keeps its arguments."""
    program = tmp_path / "osascript"
    program.write_text(f'#!/bin/sh\nfor a in "$@"; do printf "%s\\0" "$a"; done >{tmp_path}/said\n')
    program.chmod(0o700)
    monkeypatch.setitem(sys.modules, "desktop_notifier", None)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.warns(DeprecationWarning):
        handler = GrowlHandler("shop", platform="darwin")

    with handler:
        log.error("jammed")
    assert handler.close(20)

    said = (tmp_path / "said").read_text().split("\0")
    assert said[-4:] == ["shop", "till: Error", "jammed", ""]
