"""From warnings into the stacks: what the bridge owes where it is hard."""

import logging
import subprocess
import sys
import textwrap
import threading
import warnings

import pytest

from sprockets.logbook import Flags, Handler, TestHandler, statistics
from sprockets.logbook.compat import redirected_logging, redirected_warnings


@pytest.fixture(autouse=True)
def _shown_by_default():
    """What is shown is recorded here; what ends must leave the hook as it was."""
    hook = warnings.showwarning
    yield
    assert warnings.showwarning is hook


@pytest.fixture(name="shown")
def _shown(monkeypatch):
    """The texts that the hook from before shows."""
    texts = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        hook, warnings.showwarning = warnings.showwarning, lambda *args: texts.append(str(args[0]))
        yield texts
        warnings.showwarning = hook


@pytest.fixture(name="handler")
def _handler():
    with TestHandler() as handler:
        yield handler
    handler.close()


def messages(handler):
    return [record.message for record in handler.records]


@pytest.mark.rule("CW-1", "CW-8")
def test_the_frame_is_that_of_the_line(handler, shown):
    """With a stack level, module, function and frame are those of the warned, not of the warner."""

    def old_function():
        warnings.warn(
            "old",
            DeprecationWarning,
            stacklevel=2,
        )

    with redirected_warnings():
        line = sys._getframe().f_lineno + 1
        old_function()
    (record,) = handler.records

    assert (record.filename, record.lineno) == (__file__, line)
    assert (record.module, record.func_name) == (__name__, "test_the_frame_is_that_of_the_line")
    assert record.calling_frame is sys._getframe()


@pytest.mark.rule("CW-2")
@pytest.mark.parametrize(
    ("category", "channel"),
    [(UserWarning, "UserWarning"), (type("W", (Warning,), {"__module__": "a.b"}), "a.b.W")],
)
def test_the_channel_is_the_category(handler, shown, category, channel):
    """A built-in one without its module."""
    with redirected_warnings():
        warnings.warn("x", category)

    assert handler.records[0].channel == channel


@pytest.mark.rule("CW-1")
def test_braces_and_percent_signs_are_text(handler, shown):
    """The text of a warning is no template."""
    with redirected_warnings():
        warnings.warn("100% {0} {x}")

    assert messages(handler) == ["100% {0} {x}"]


@pytest.mark.rule("CW-1")
def test_what_is_to_go_to_a_file_goes_there(handler, shown):
    """``showwarning(file=…)`` is somebody's explicit wish."""
    with redirected_warnings():
        warnings.showwarning("x", UserWarning, "f.py", 1, sys.stdout)

    assert (messages(handler), shown) == ([], ["x"])


@pytest.mark.rule("CW-3")
def test_a_warning_that_nobody_wants_vanishes(shown, no_default_handler, capsys):
    """It does not come back as text."""
    with redirected_warnings():
        warnings.warn("x")

    assert (shown, capsys.readouterr().err) == ([], "")


@pytest.mark.rule("CW-4")
def test_what_is_an_error_stays_one(handler, shown):
    """Filters come before the bridge."""
    with redirected_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="x"):
            warnings.warn("x")

    assert (messages(handler), warnings.filters[0][0]) == ([], "always")


@pytest.mark.rule("CW-3")
@pytest.mark.parametrize("step", ["message_to_unicode", "make_record"])
def test_a_failing_override_does_not_reach_the_warner(shown, handler, step):
    """It is counted; only the flag lets it out."""

    class Broken(redirected_warnings):
        pass

    def fail(*_):
        raise KeyError("broken")

    setattr(Broken, step, fail)
    with Broken():
        before = statistics()["failed"]
        with Flags(errors="silent"):
            warnings.warn("x")
        assert statistics()["failed"] == before + 1
        with Flags(errors="raise"), pytest.raises(KeyError, match="broken"):
            warnings.warn("x")


@pytest.mark.rule("CW-3")
def test_overrides_are_asked(shown, handler):
    """For the text and for the record."""

    class Mine(redirected_warnings):
        def message_to_unicode(self, message):
            return super().message_to_unicode(message).upper()

        def make_record(self, message, exception, filename, lineno):
            record = super().make_record(message, exception, filename, lineno)
            record.extra["category"] = exception
            return record

    with Mine():
        warnings.warn("x")

    assert messages(handler) == ["X"]
    assert handler.records[0].extra["category"] is UserWarning


@pytest.mark.rule("CW-6")
def test_misuse_is_told_with_the_object(shown):
    """Entered twice, or left without having been entered; both leave it as it was."""
    redirection = redirected_warnings()
    with pytest.raises(RuntimeError) as left:
        redirection.end()
    with redirection, pytest.raises(RuntimeError) as entered:
        redirection.start()

    assert str(left.value) == f"Cannot exit {redirection!r} without entering first"
    assert str(entered.value) == f"Cannot enter {redirection!r} twice"


@pytest.mark.rule("CW-7")
def test_the_exceptions_of_a_block_come_out(shown, handler):
    """And the redirection can be used again."""
    redirection = redirected_warnings()
    for _ in range(2):
        with pytest.raises(KeyError), redirection as target:
            warnings.warn("x")
            raise KeyError
        assert target is redirection

    assert messages(handler) == ["x", "x"]


@pytest.mark.rule("CW-9", "CW-4")
@pytest.mark.parametrize(
    "order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
)
def test_in_whatever_order_they_end_all_is_as_before(shown, handler, order):
    """While one is in force warnings are records; hook and filters come back with the last."""
    filters, hook = list(warnings.filters), warnings.showwarning
    redirections = [redirected_warnings() for _ in range(3)]
    for number, redirection in enumerate(redirections):
        redirection.start()
        warnings.filterwarnings("always", f"filter {number}")

    for number in order:
        warnings.warn(f"before {number}")
        redirections[number].end()
    warnings.warn("after")

    assert messages(handler) == [f"before {number}" for number in order]
    assert shown == ["after"]
    assert (warnings.filters, warnings.showwarning) == (filters, hook)


@pytest.mark.rule("CW-9")
def test_a_block_that_records_warnings_is_left_alone(shown, handler):
    """Within it the bridge redirects; after the bridge's end it records again."""
    with redirected_warnings():
        with warnings.catch_warnings(record=True) as recorded:
            with redirected_warnings():
                warnings.warn("a")
            warnings.warn("b")
        warnings.warn("c")

    assert messages(handler) == ["a", "c"]
    assert [str(warning.message) for warning in recorded] == ["b"]


@pytest.mark.rule("CW-9")
def test_a_hook_that_is_put_back_after_its_end_passes_warnings_on(shown, handler):
    """Whoever saved it may restore it late; nothing is lost and nothing goes round."""
    redirection = redirected_warnings().start()
    saved = warnings.showwarning
    redirection.end()
    before, warnings.showwarning = warnings.showwarning, saved
    warnings.warn("late")
    warnings.showwarning = before

    assert (messages(handler), shown) == ([], ["late"])


@pytest.mark.rule("CW-9")
def test_captured_by_stdlib_logging_they_come_by_that_way(shown, handler):
    """Whoever captured last has them, once."""
    with redirected_warnings(), redirected_logging():
        logging.captureWarnings(True)
        warnings.warn("captured")
        logging.captureWarnings(False)
        warnings.warn("redirected")

    assert [record.channel for record in handler.records] == ["py.warnings", "UserWarning"]


@pytest.mark.rule("CW-11")
def test_a_warning_about_a_warning_is_shown_by_the_hook_from_before(shown):
    """Through any number of redirections; other threads are not concerned."""

    class Warning_(Handler):
        def emit(self, record):
            warnings.warn(f"about {record.message}")

    with Warning_().applicationbound(), redirected_warnings(), redirected_warnings():
        warnings.warn("a")
        thread = threading.Thread(target=warnings.warn, args=("b",))
        thread.start()
        thread.join()

    assert shown == ["about a", "about b"]


def run_script(text):
    done = subprocess.run(
        [sys.executable, "-P", "-W", "always", "-c", textwrap.dedent(text)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()


_PRELUDE = """
import warnings
from sprockets.logbook import TestHandler
from sprockets.logbook.compat import redirect_warnings, redirected_warnings
handler = TestHandler()
handler.push_application()
def say(text):
    before = len(handler.records)
    warnings.warn(text)
    print(text, len(handler.records) - before)
"""


@pytest.mark.rule("CW-5")
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("redirect_warnings(); redirect_warnings(); say('a')", ["a 1"]),
        (
            "with redirected_warnings(): redirect_warnings(); say('a')\nsay('b')",
            ["a 1", "b 1"],
        ),
        (
            "redirect_warnings()\nwith redirected_warnings(): say('a')\nsay('b')",
            ["a 1", "b 1"],
        ),
        (
            "one, two = redirected_warnings().start(), redirected_warnings().start()\n"
            "redirect_warnings(); one.end(); say('a'); two.end(); say('b')",
            ["a 1", "b 1"],
        ),
        (
            "with warnings.catch_warnings(): redirect_warnings(); say('a')\n"
            "redirect_warnings(); say('b')",
            ["a 1", "b 1"],
        ),
        (
            "import logging\nredirect_warnings(); logging.captureWarnings(True)\n"
            "redirect_warnings(); say('a'); logging.captureWarnings(False); say('b')",
            ["a 0", "b 1"],
        ),
        (
            "import threading\nredirect_warnings()\n"
            "t = threading.Thread(target=say, args=('a',)); t.start(); t.join()",
            ["a 1"],
        ),
        (
            "import os\nredirect_warnings()\npid = os.fork()\n"
            "if not pid:\n  with redirected_warnings(): say('child')\n"
            "  import sys; sys.stdout.flush(); os._exit(0)\n"
            "os.waitpid(pid, 0); say('parent')",
            ["child 1", "parent 1"],
        ),
    ],
)
def test_for_good_is_for_good(script, expected):
    """Twice, within blocks, around them, in threads and after a fork: one record each."""
    assert run_script(_PRELUDE + script) == expected
