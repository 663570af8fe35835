"""Twitter: short texts, a handler that says what has ended, and subclasses that work all the same."""

import inspect
import re
import threading
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.logbook import INFO, Flags, Handler, Logger, LogRecord
from sprockets.logbook.delivery import Retry
from sprockets.logbook.errors import ServiceGoneError
from sprockets.logbook.more import (
    NEW_TWEET_URL,
    TWITTER_ACCESS_TOKEN_URL,
    TWITTER_FORMAT_STRING,
    TwitterFormatter,
    TwitterHandler,
)

log = Logger("till")
QUICK = Retry(initial=0.005, maximum=0.02, attempts=3)
LIMIT = 30.0  # seconds
LOGIN = ("key", "secret", "ann", "password")


def shortened(message, cls=TwitterFormatter, **facts):
    """Return what becomes of *message* without a layout around it."""
    return cls("{record.message}")(LogRecord("till", INFO, message, **facts), Handler())


# -- texts


@pytest.mark.rule("RS-1")
@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("a" * 140, "a" * 140),
        ("a" * 141, "…"),
        ("a" * 138 + " b", "a" * 138 + " b"),
        ("a" * 138 + " bc", "a" * 138 + " …"),
        ("a" * 139 + " b", "a" * 139 + " "),
        ("x" * 139 + "  y", "x" * 139 + "…"),
        ("x" * 140 + " y", "x" * 140),
        ("x" * 100 + " " + "y" * 60, "x" * 100 + " …"),
        ("", ""),
    ],
)
def test_a_text_ends_before_the_first_word_that_does_not_fit(message, text):
    """With a mark if there is room for one."""
    assert shortened(message) == text


@pytest.mark.rule("RS-1")
@given(st.text(st.sampled_from("ab \n\t\u2003é😀"), max_size=300))
def test_a_text_is_never_too_long_and_no_word_is_cut(message):
    """White space stays what it was."""
    text = shortened(message)

    assert len(text) <= 140
    if len(message) <= 140:
        assert text == message
    else:
        start = text.removesuffix("…")
        assert message.startswith(start)
        assert re.match(r"\s|$", message[len(start) :]) or re.search(r"(\s|^)$", start)


@pytest.mark.rule("RS-2", "Y-46")
def test_a_record_without_an_exception_is_a_text():
    """What is missing is left out."""
    assert shortened("msg") == "msg"


@pytest.mark.rule("RS-2", "Y-46")
def test_an_exception_is_its_class_and_what_it_says_on_a_line_of_its_own():
    """There is no room for a traceback."""
    error = ValueError("boom")

    text = shortened("msg", exc_info=(ValueError, error, None))

    assert text == "msg\nValueError: boom"


@pytest.mark.rule("RS-1")
def test_a_subclass_has_another_length():
    """As services have."""

    class Post(TwitterFormatter):
        max_length = 280

    assert shortened("a" * 279 + " bc", Post) == "a" * 279 + " "
    assert TwitterFormatter.max_length == 140


def test_the_layout_has_channel_level_and_message():
    """And may be changed later, as any."""
    record = LogRecord("till", INFO, "sold")
    formatter = TwitterFormatter(TWITTER_FORMAT_STRING)
    assert formatter(record, Handler()) == "[till] INFO: sold"

    formatter.format_string = "{record.message}!"

    assert formatter(record, Handler()) == "sold!"


def test_the_addresses_are_known():
    """They are where nobody answers any more."""
    assert TWITTER_ACCESS_TOKEN_URL.startswith("https://")
    assert NEW_TWEET_URL.startswith("https://")


# -- the handler


@pytest.mark.rule("RS-3")
def test_making_one_says_what_has_ended_and_what_to_use():
    """A RuntimeError, as it always was; the warning is for the line that makes it."""
    with pytest.warns(DeprecationWarning) as caught, pytest.raises(RuntimeError) as told:
        TwitterHandler(*LOGIN)

    assert type(told.value) is ServiceGoneError
    for word in ("AppriseHandler", "mastodons://", "bsky://", "x://", "override tweet()"):
        assert word in str(told.value)
    assert "password'" not in str(told.value)
    (warning,) = caught
    assert str(warning.message) == "TwitterHandler is deprecated"
    assert warning.filename == __file__


@pytest.mark.rule("RS-5")
def test_there_are_no_keys_but_those_that_are_passed():
    """Nobody's secrets are in here."""
    parameters = list(inspect.signature(TwitterHandler).parameters.values())[:4]

    assert [parameter.default for parameter in parameters] == [inspect.Parameter.empty] * 4


@pytest.mark.rule("RS-3")
def test_looking_at_it_warns_of_nothing():
    """Importing, subclassing, and asking whether something is one."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class Mine(TwitterHandler):
            pass

        assert issubclass(Mine, TwitterHandler)
        assert not isinstance(Handler(), TwitterHandler)


class Posting(TwitterHandler):
    """Keeps what it is to publish, or does as its script says."""

    def __init__(self, *arguments, **options):
        self.posts, self.script, self.threads = [], [], set()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            super().__init__(*arguments, **{"retry": QUICK, **options})
        self.ready(Posting)

    def tweet(self, status):
        self.threads.add(threading.get_ident())
        step = self.script.pop(0) if self.script else True
        if isinstance(step, Exception):
            raise step
        if step:
            self.posts.append(status)
        return step


@pytest.mark.rule("RS-4")
def test_a_subclass_that_publishes_needs_nothing_else():
    """In a thread of its own, so that no call waits."""
    handler = Posting(*LOGIN, "WARNING")
    with handler:
        log.info("below")
        log.error("jämmed {}", 4)
    assert handler.close(LIMIT)

    assert handler.posts == ["[till] ERROR: jämmed 4"]
    assert (handler.consumer_key, handler.consumer_secret) == ("key", "secret")
    assert (handler.username, handler.password) == ("ann", "password")
    assert threading.get_ident() not in handler.threads


@pytest.mark.rule("RS-4")
def test_making_a_working_subclass_warns_too():
    """At the line that makes it."""

    class Mine(TwitterHandler):
        def tweet(self, status):
            return True

    with pytest.warns(DeprecationWarning, match="^TwitterHandler is deprecated$") as caught:
        handler = Mine(*LOGIN)
    handler.close()

    assert [warning.filename for warning in caught] == [__file__]


@pytest.mark.rule("RS-4")
def test_a_subclass_has_a_formatter_of_its_own():
    """For a service that takes more."""

    class Post(TwitterFormatter):
        max_length = 500

    class Mine(Posting):
        formatter_class = Post

    handler = Mine(*LOGIN, format_string="{record.message}")
    with handler:
        log.info("a " * 240)
    assert handler.close(LIMIT)

    assert handler.posts == ["a " * 240]


def test_what_fails_is_tried_again(capfd):
    """An outage for as long as it takes; else some times, and then it is a dead letter."""
    handler = Posting(*LOGIN, format_string="{record.message}")
    handler.script = [OSError("away")] * 5 + [False, RuntimeError("no")]
    with handler:
        log.info("first")
        assert handler.flush(LIMIT)
        handler.script = [False] * 3
        log.info("second")
        log.info("third")
    assert handler.close(LIMIT)

    statistics = handler.statistics()
    assert handler.posts == ["first", "third"]
    assert (statistics["delivered"], statistics["dead"], statistics["failed"]) == (2, 1, 10)
    assert "OSError: away" in capfd.readouterr().err


def test_several_at_once_are_published_once_each():
    """If one fails, those before it are not published again."""
    handler = Posting(*LOGIN, format_string="{record.message}", batch_size=10, batch_wait=10.0)
    handler.script = [True, OSError("away")]
    with handler:
        for number in range(4):
            log.info("{}", number)
    assert handler.close(LIMIT)

    assert handler.posts == ["0", "1", "2", "3"]


def test_an_immediate_subclass_publishes_in_the_call():
    """And its errors are the call's."""
    handler = Posting(*LOGIN, immediate=True)
    handler.script = [True, False]
    with handler, Flags(errors="raise"):
        log.info("x")
        with pytest.raises(RuntimeError, match="not published"):
            log.info("y")

    assert handler.threads == {threading.get_ident()}


@pytest.mark.rule("RS-3")
def test_what_is_left_of_the_rest_says_what_has_ended():
    """A subclass may have overridden these once."""
    handler = Posting(*LOGIN)

    for method in (handler.get_oauth_token, handler.make_client):
        with pytest.raises(ServiceGoneError, match="Twitter has ended"):
            method()
    with pytest.raises(ServiceGoneError, match="nothing can be published"):
        TwitterHandler.tweet(handler, "x")
    handler.close()
