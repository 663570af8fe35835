"""Set-ups from a file: these handlers by their short names."""

import re
import subprocess
import sys

import pytest

from sprockets.logbook import Logger, more, notifiers, setups
from sprockets.logbook._setups._classes import handler_names

log = Logger("testlogger")


@pytest.fixture(name="opened")
def _opened():
    """Load a set-up, and close it in the end."""
    found = []

    def load(handler, **table):
        document = {"setups": {"default": {"handlers": [handler]}}, "handlers": {handler: table}}
        found.append(setups.load(document, environ={}))
        return found[-1]

    yield load
    for setup in found:
        setup.close()


def test_the_handlers_of_both_rooms_have_short_names():
    """All but the bases; finding the names opens none of the rooms."""
    names = handler_names()

    for room in (more, notifiers):
        for name in room.__all__:
            if name.endswith("Handler") and name != "NotificationBaseHandler":
                assert f"{room.__name__}.{name}" in names.values()
    assert {
        *("colorized_stderr", "dedup", "external_application", "rich", "slack", "tagging"),
        *("apprise", "lib_notify", "macos_notification", "pushover"),
    } <= set(names)
    assert len(set(names.values())) == len(names)


def test_finding_the_names_imports_none_of_the_classes():
    """A room may have classes that cannot be imported here."""
    code = """
import sys
from sprockets.logbook._setups._classes import handler_names
handler_names()
rooms = ("sprockets.logbook.more._", "sprockets.logbook.notifiers._")
print([name for name in sys.modules if name.startswith(rooms)])
"""
    result = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert result.stdout == "[]\n"


def test_coloured_lines(opened, capsys):
    """With the arguments of the constructor, and what is for all handlers."""
    with opened("colorized_stderr", format_string="{record.message}", level="warning"):
        log.error("x")

    assert capsys.readouterr().err == "x\n"


def test_repeated_messages(capsys):
    """Said when the set-up is unbound."""
    document = {
        "setups": {"default": {"handlers": ["below", "dedup"]}},
        "handlers": {
            "below": {"class": "stderr", "format": "{record.message}"},
            "dedup": {"format_string": "{count}x {message}"},
        },
    }
    with setups.load(document, environ={}) as setup:
        log.info("x")
        log.info("x")
    setup.close()

    assert capsys.readouterr().err == "2x x\n"


def test_programs(opened, tmp_path):
    """Their arguments are an array."""
    code = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
    arguments = [sys.executable, "-c", code, str(tmp_path / "out"), "{record.message}"]
    with opened("external_application", arguments=arguments, timeout=20, background=False):
        log.info("x")

    assert (tmp_path / "out").read_text() == "x"


def test_programs_in_the_background(opened, tmp_path):
    """Closing the set-up waits for them."""
    code = "import sys; open(sys.argv[1], 'w').write(sys.argv[2])"
    arguments = [sys.executable, "-c", code, str(tmp_path / "out"), "{record.message}"]
    setup = opened("external_application", arguments=arguments, background=True, capacity=10)
    with setup:
        log.info("x")
    assert setup.close() is True

    assert (tmp_path / "out").read_text() == "x"


def test_lines_by_rich(opened, capsys):
    """To a standard stream that is named."""
    pytest.importorskip("rich")
    with opened("rich", stream="stdout", show_time=False, show_path=False):
        log.warning("x", extra={"item": "tea"})

    assert capsys.readouterr().out == "WARNING  testlogger: x item=tea\n"


@pytest.mark.parametrize(
    ("name", "table", "text"),
    [
        ("exception", {"exc_type": "ValueError"}, "must be left out in a file, got 'ValueError'"),
        ("exception", {}, "handlers.exception.exc_type: is missing; ExceptionHandler needs it"),
        ("tagging", {"handlers": {"sale": "file"}}, "handlers of tag 'sale' must be handlers"),
        ("external_application", {"arguments": []}, "a program and its arguments, one by one"),
        ("rich", {"markup": "yes"}, "must be true or false, got 'yes'"),
        ("dedup", {"format_string": "{x}"}, "must be a layout with {count} and {message}"),
    ],
)
def test_what_a_file_cannot_say_is_told(opened, name, table, text):
    """With the place in the file, and before anything is bound."""
    with pytest.raises(setups.SetupError, match=re.escape(text)):
        opened(name, **table)
