"""Sentry: what it is told of a service, and when it is left alone."""

import json
import logging
import subprocess
import sys
from types import SimpleNamespace

import pytest

from sprockets.http._sentry import initialise

sentry_sdk = pytest.importorskip("sentry_sdk")


class FakeSDK:
    """Notes what ``init`` was called with, instead of patching Tornado and logging for good."""

    def __init__(self, monkeypatch):
        self.calls = []
        monkeypatch.setattr(sentry_sdk, "init", lambda **arguments: self.calls.append(arguments))


@pytest.fixture(name="sdk")
def _sdk(monkeypatch):
    monkeypatch.setenv("SENTRY_DSN", "https://key@sentry.example.org/1")
    return FakeSDK(monkeypatch)


@pytest.mark.rule("H11.3")
def test_without_settings_it_is_told_the_defaults(sdk):
    """The two integrations, and no release or environment."""
    assert initialise({}) is True

    (arguments,) = sdk.calls
    assert [one.identifier for one in arguments.pop("integrations")] == ["logging", "tornado"]
    assert arguments == {"release": None, "environment": None}


@pytest.mark.rule("H11.1")
def test_it_is_told_release_and_environment(sdk):
    """They are the service's ``version`` and ``environment``."""
    initialise({"version": "1.2.3", "environment": "staging", "sentry_sdk_init": None})

    (arguments,) = sdk.calls
    assert (arguments["release"], arguments["environment"]) == ("1.2.3", "staging")


@pytest.mark.rule("H11.2")
def test_the_arguments_of_the_settings_win(sdk):
    """Defaults that are replaced are not even made."""
    own = {"integrations": [], "before_send": print, "release": "own"}

    initialise({"version": "1.2.3", "sentry_sdk_init": own})

    assert sdk.calls == [
        {"integrations": [], "before_send": print, "release": "own", "environment": None}
    ]
    assert own == {"integrations": [], "before_send": print, "release": "own"}


@pytest.mark.rule("H11.1")
def test_without_the_sdk_nothing_happens(monkeypatch, log_records):
    """It is an extra; without it there is nothing to say."""
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)

    assert initialise({"sentry_sdk_init": {"dsn": "https://a@example.org/1"}}) is False
    assert log_records.records == []


def test_without_a_word_of_sentry_it_is_left_alone(sdk, monkeypatch):
    """Its integrations would double what a request costs, and there is nobody to tell."""
    monkeypatch.delenv("SENTRY_DSN")

    assert initialise({"version": "1.2.3"}) is False
    assert sdk.calls == []


@pytest.mark.rule("H11.5")
def test_an_integration_that_cannot_be_made_is_a_warning(sdk, monkeypatch, log_records):
    """A service starts without it."""
    monkeypatch.setitem(sys.modules, "sentry_sdk.integrations.tornado", None)

    assert initialise({}) is True

    (arguments,) = sdk.calls
    assert [one.identifier for one in arguments["integrations"]] == ["logging"]
    (record,) = log_records.records
    assert record.level_name == "WARNING"
    assert "tornado" in record.message


@pytest.mark.rule("H11.6")
@pytest.mark.parametrize(("settings", "told"), [({}, 0), ({"sentry_sdk_init": {}}, 1)])
def test_a_client_that_is_there_is_left_alone(sdk, monkeypatch, settings, told):
    """Unless the settings say what Sentry is to be told."""
    client = SimpleNamespace(is_active=lambda: True)
    monkeypatch.setattr(sentry_sdk, "get_client", lambda: client)

    assert initialise(settings) is bool(told)
    assert len(sdk.calls) == told


@pytest.mark.rule("H11.5")
def test_importing_the_package_does_not_import_the_sdk():
    """It takes long to import, and does things to a program."""
    program = "import sprockets.http._sentry, sys; print('sentry_sdk' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stdout == "False\n"


PROGRAM = """
import json, logging
from sentry_sdk.transport import Transport
from sprockets.http._sentry import initialise

class Collecting(Transport):
    events = []
    def capture_envelope(self, envelope):
        event = envelope.get_event()
        if event is not None:
            self.events.append(event)

dsn = "https://key@sentry.example.org/1"
print(initialise({"version": "1.2.3", "sentry_sdk_init": {"dsn": dsn, "transport": Collecting}}))
print(initialise({}))
logging.error("only a crumb")
logging.critical("an event")
print(json.dumps([
    [event["level"], event["logentry"]["message"], event["release"],
     [crumb["message"] for crumb in event["breadcrumbs"]["values"]]]
    for event in Collecting.events
]))
"""


@pytest.mark.rule("H11.4", "H11.6")
def test_only_critical_records_become_events():
    """With the real SDK: what is less bad is told with the event that comes after it."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)

    first, second, events = done.stdout.splitlines()
    assert (first, second) == ("True", "False")
    assert json.loads(events) == [["fatal", "an event", "1.2.3", ["only a crumb"]]]


def test_making_the_integrations_leaves_logging_alone(sdk):
    """They do what they do when Sentry is told of them, and not before."""
    before = logging.Logger.callHandlers

    initialise({})

    assert logging.Logger.callHandlers is before
