"""The notifier that a system has."""

import sys

import pytest

from sprockets.logbook.notifiers import (
    LibNotifyHandler,
    MacOSNotificationHandler,
    create_notification_handler,
)


@pytest.mark.parametrize("platform", ["linux", "freebsd14"])
def test_most_systems_have_freedesktops(platform):
    """Name, level and icon are handed on."""
    pytest.importorskip("jeepney")

    with pytest.warns(DeprecationWarning, match="^create_notification_handler is dep") as caught:
        handler = create_notification_handler(
            "shop", "ERROR", "bell", platform=platform, record_limit=3
        )
    handler.close()

    assert type(handler) is LibNotifyHandler
    assert (handler.application_name, handler.level_name) == ("shop", "ERROR")
    assert (handler.icon, handler.record_limit) == ("bell", 3)
    assert caught[0].filename == __file__


def test_a_mac_has_its_notification_centre(tmp_path, monkeypatch):
    """With a program of the name instead of the Mac's own, which cannot be here."""
    program = tmp_path / "osascript"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.warns(DeprecationWarning):
        handler = create_notification_handler("shop", icon="till.png", platform="darwin")
    handler.close()

    assert type(handler) is MacOSNotificationHandler
    assert handler.icon == "till.png"


@pytest.mark.rule("NO-4")
@pytest.mark.parametrize("platform", ["win32", "cygwin"])
def test_windows_has_none_and_the_error_says_what_has(platform):
    """What a subclass could use is named."""
    with (
        pytest.warns(DeprecationWarning),
        pytest.raises(RuntimeError, match="'desktop-notifier'"),
    ):
        create_notification_handler(platform=platform)


@pytest.mark.rule("NO-4")
def test_what_is_missing_is_named(monkeypatch):
    """As by the handler itself."""
    for name in ("jeepney", "gi", "gi.repository"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setenv("PATH", "")

    with pytest.warns(DeprecationWarning), pytest.raises(RuntimeError, match=r"http\[notify\]"):
        create_notification_handler(platform="linux")
