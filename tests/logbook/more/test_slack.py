"""Slack: what it is sent, how often, and what becomes of records when it says no or nothing.

There is no Slack here: a double stands for it that answers as its documentation says.
"""

import html
import logging
import os
import subprocess
import sys
import threading
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.logbook import INFO, Flags, Logger, LogRecord
from sprockets.logbook.delivery import PartlyDelivered, PermanentError, Retry, RetryLater
from sprockets.logbook.more import SlackHandler
from sprockets.logbook.more._slack_messages import Pace, cut_escaped, escape, joined
from tests.logbook.more.slack_server import CHANNEL, HOOK, TOKEN, SlackServer

pytest.importorskip("slack_sdk", reason="slack_sdk is not installed")

log = Logger("till")
QUICK = Retry(initial=0.005, maximum=0.02)
LIMIT = 30.0  # seconds


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    """The library takes any proxy of the environment, also for this machine."""
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(name="slack")
def _slack():
    server = SlackServer()
    yield server
    server.close()


@pytest.fixture(name="make")
def _make(slack):
    """Make handlers that post there, quickly."""
    made = []

    def make(token=TOKEN, channel=CHANNEL, *arguments, **options):
        options = {"base_url": slack.base_url, "retry": QUICK, "interval": 0.0, **options}
        handler = SlackHandler(token, channel, *arguments, **options)
        made.append(handler)
        return handler

    yield make
    for handler in made:
        handler.close(0.2)


def assert_adds_up(statistics):
    """Each accepted record has exactly one fate."""
    assert statistics["accepted"] == (
        statistics["delivered"]
        + statistics["queued"]
        + statistics["spooled"]
        + statistics["dead"]
        + sum(statistics["dropped"].values())
    )


def item_of(handler, message="m"):
    """Return what *handler* delivers of a record."""
    record = LogRecord("till", INFO, message)
    record.heavy_init()
    return handler.encode(record)


def wait_until(condition):
    """Wait for what another thread does."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


# -- what is sent


@pytest.mark.rule("RS-6", "RS-7", "Y-47")
def test_a_record_is_a_message_in_the_channel(slack, make):
    """In the layout of one line that other handlers have, through the library of Slack's own."""
    from slack_sdk import WebClient

    handler = make()
    with handler:
        log.warning("drawer {} open", 4)
    assert handler.close(LIMIT)

    (message,) = slack.messages
    assert message["channel"] == CHANNEL
    assert message["text"].endswith("] WARNING: till: drawer 4 open")
    assert isinstance(handler.slack, WebClient)
    assert (handler.api_token, handler.channel) == (TOKEN, CHANNEL)


@pytest.mark.rule("RS-6")
def test_level_layout_filter_and_bubble_come_in_the_known_order(slack, make, stream_handler):
    """As with all handlers that have a layout."""
    handler = make(
        TOKEN,
        CHANNEL,
        "WARNING",
        "{record.message}!",
        lambda record, handler: record.channel == "till",
        True,
    )
    with stream_handler, handler:
        log.info("below")
        Logger("other").error("filtered")
        log.error("jammed")
    assert handler.close(LIMIT)

    assert [message["text"] for message in slack.messages] == ["jammed!"]
    assert "jammed" in stream_handler.stream.getvalue()


def test_an_exception_follows_the_line(slack, make):
    """With its traceback."""
    handler = make(format_string="{record.message}")
    with handler:
        try:
            raise ValueError("no price")
        except ValueError:
            log.exception("failed")
    assert handler.close(LIMIT)

    text = slack.messages[0]["text"]
    assert text.startswith("failed\nTraceback (most recent call last):\n")
    assert text.endswith("ValueError: no price")


def test_a_record_mentions_nobody_and_links_nowhere(slack, make):
    """Whatever somebody gets into the log, it is text; nor does Slack look at its addresses."""
    handler = make(format_string="{record.message}")
    with handler:
        log.info("<!channel> <@U1> <https://evil.example|click> R&D")
    assert handler.close(LIMIT)

    (message,) = slack.messages
    assert message["text"] == (
        "&lt;!channel&gt; &lt;@U1&gt; &lt;https://evil.example|click&gt; R&amp;D"
    )
    assert (message["mrkdwn"], message["unfurl_links"], message["unfurl_media"]) == (False,) * 3


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_escaped_is_shown_as_it_was(text):
    """The entities are the only thing that Slack reads."""
    escaped = escape(text)

    assert "<" not in escaped
    assert ">" not in escaped
    if "&" not in text:
        assert html.unescape(escaped) == text


def test_half_a_character_is_replaced():
    """JSON has no halves."""
    assert escape("a\ud800b") == "a�b"


@pytest.mark.rule("RS-8")
def test_a_long_text_is_cut_with_a_mark(slack, make):
    """At the 40,000 characters that Slack takes, entities counted as they are sent."""
    handler = make(format_string="{record.message}")
    with handler:
        log.info("<" * 60_000)
    assert handler.close(LIMIT)

    text = slack.messages[0]["text"]
    assert 39_900 < len(text) <= 40_000
    shown, _, mark = text.partition("… ")
    assert set(shown.split(";")) == {"&lt", ""}
    assert mark == f"[{60_000 - shown.count(';')} more characters]"


@given(st.text("ab<>&", max_size=200), st.integers(1, 120))
def test_a_cut_keeps_the_limit_and_no_half_entity(text, limit):
    """A half one would be shown as what it is not."""
    escaped = escape(text)

    found = cut_escaped(escaped, limit)

    assert len(found) <= limit
    assert found == escaped or limit < len(escaped)
    shown = found.partition("… [")[0]
    if limit > 60:
        assert escaped.startswith(shown)
        assert html.unescape(shown).count("&") == shown.count("&amp;")


def test_a_text_of_nothing_is_not_refused(slack, make):
    """Slack wants some text."""
    handler = make(format_string="{record.message}")
    with handler:
        log.info("")
    assert handler.close(LIMIT)

    assert slack.lines == ["(no text)"]


def test_a_layout_may_have_slack_format_it(slack, make):
    """On request only: a record could do so as well."""
    handler = make(format_string="*{record.message}*", mrkdwn=True)
    with handler:
        log.info("jammed")
    assert handler.close(LIMIT)

    assert slack.messages[0]["text"] == "*jammed*"
    assert slack.messages[0]["mrkdwn"] is True


# -- how often


@pytest.mark.rule("RS-8")
def test_a_burst_is_joined_into_few_messages(slack, make):
    """What comes while the first is on its way, and the next has to wait, is one message."""
    handler = make(format_string="{record.message}", interval=0.2)
    with handler:
        for number in range(500):
            log.info("{}", number)
        wait_until(lambda: len(slack.lines) == 500)

    assert slack.lines == [str(number) for number in range(500)]
    assert len(slack.messages) < 50
    assert handler.close(LIMIT)
    assert handler.statistics()["delivered"] == 500


@given(st.lists(st.text("ab", max_size=12), max_size=20), st.integers(12, 40))
def test_joined_texts_are_all_there_and_fit(texts, limit):
    """In order, as many as possible in each."""
    messages = list(joined(texts, limit))

    assert "\n".join(message for _, message in messages) == "\n".join(texts)
    assert sum(count for count, _ in messages) == len(texts)
    assert all(len(message) <= limit for _, message in messages)
    for (_, first), (_, second) in pairwise(messages):
        assert len(first) + 1 + len(second.partition("\n")[0]) > limit


class FakeClock:
    def __init__(self):
        self.seconds = 1_000.0

    def __call__(self):
        return self.seconds


@pytest.mark.rule("RS-8")
def test_the_pace_is_kept_from_message_to_message():
    """The first goes at once."""
    clock = FakeClock()
    pace = Pace(1.0, lambda: False, clock)
    assert pace.remaining() == 0
    pace.wait()
    clock.seconds += 0.25

    assert pace.remaining() == 0.75

    clock.seconds += 0.75
    assert pace.remaining() == 0


def test_nobody_is_kept_waiting_for_the_pace():
    """Nor if he begins to wait in the middle of it."""
    is_urgent = threading.Event()
    pace = Pace(3_600.0, is_urgent.is_set)
    pace.wait()
    waiting = threading.Thread(target=pace.wait)
    waiting.start()

    is_urgent.set()
    waiting.join(LIMIT)

    assert not waiting.is_alive()


@pytest.mark.parametrize("wait", [SlackHandler.flush, SlackHandler.close])
def test_flushing_and_closing_post_what_waits_for_its_time(wait, slack, make):
    """An hour between two messages does not keep anybody."""
    handler = make(format_string="{record.message}", interval=3_600.0, batch_size=1)
    with handler:
        for number in range(3):
            log.info("{}", number)

    assert wait(handler, LIMIT)

    assert slack.lines == ["0", "1", "2"]


def test_records_beyond_a_limit_are_withheld_and_their_number_is_told(slack, make):
    """Per call, as with mails."""
    clock = FakeClock()
    handler = make(
        format_string="{record.message}",
        record_limit=1,
        record_delta=3_600,
        clock=clock,
    )

    def sell(item):
        log.error("no price of {}", item)

    with handler:
        for number in range(5):
            sell(number)
        log.error("jammed")
        clock.seconds += 3_601
        sell("tea")
    assert handler.close(LIMIT)

    assert slack.lines == ["no price of 0", "jammed", "no price of tea", "(4 more like this)"]
    assert handler.statistics()["withheld"] == 4


# -- when Slack says no


@pytest.mark.rule("RS-8")
def test_slack_says_when_to_come_again(slack, make):
    """The engine is told the seconds."""
    handler = make()
    item = item_of(handler)
    slack.fault("POST", (429, {"Retry-After": "30"}, {"ok": False, "error": "ratelimited"}))

    with pytest.raises(RetryLater) as told:
        handler.deliver([item])

    assert told.value.after == 30


@pytest.mark.parametrize(
    ("token", "channel", "code", "remedy"),
    [
        ("xoxb-2", CHANNEL, "invalid_auth", "pass the bot token"),
        (TOKEN, "C2", "channel_not_found", "pass the id of a channel"),
    ],
)
@pytest.mark.rule("RS-7", "Y-47")
def test_what_slack_refuses_for_good_is_a_dead_letter_and_told(
    token, channel, code, remedy, make, capfd
):
    """Once, with what to do about it; the token is not told."""
    handler = make(token, channel)
    with handler:
        for _ in range(3):
            log.info("x")
            handler.flush(LIMIT)
    assert handler.close(LIMIT)

    statistics = handler.statistics()
    assert (statistics["dead"], statistics["failed"]) == (3, 3)
    assert_adds_up(statistics)
    told = capfd.readouterr().err
    assert told.count("'SlackHandler' fails, 0 are waiting: PermanentError: Slack answered") == 1
    assert code in told
    assert remedy in told
    assert token not in told


def test_a_text_that_slack_refuses_takes_no_other_with_it(slack, make):
    """A joined message is taken apart; each good one arrives once."""
    slack.poison = "poison"
    handler = make(format_string="{record.message}", batch_wait=1.0, batch_size=20)
    with handler, Flags(errors="silent"):
        for number in range(20):
            log.info("{}{}", "poison" if number in (0, 7, 19) else "", number)
    assert handler.close(LIMIT)

    assert slack.lines == [str(number) for number in range(20) if number not in (0, 7, 19)]
    statistics = handler.statistics()
    assert (statistics["delivered"], statistics["dead"]) == (17, 3)
    assert_adds_up(statistics)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (200, "invalid_auth", PermanentError),
        (200, "a_code_of_next_year", ValueError),
        (200, "ratelimited", RetryLater),
        (429, "ratelimited", RetryLater),
        (200, "internal_error", ConnectionError),
        (503, "service_unavailable", ConnectionError),
        (200, "fatal_error", RuntimeError),
        (200, "no_text", ValueError),
        (200, None, ConnectionError),
    ],
)
def test_each_answer_says_whether_to_try_again(status, code, kind, slack, make):
    """What is not known may be about one text; what is no answer of Slack's passes."""
    handler = make()
    slack.fault("POST", (status, {}, {"ok": False, "error": code}))

    with pytest.raises(kind, match=code or "Slack answered") as told:
        handler.deliver([item_of(handler)])

    assert type(told.value) is kind


def test_the_scope_that_is_missing_is_named(slack, make):
    """Slack says which."""
    handler = make()
    slack.fault("POST", (200, {}, {"ok": False, "error": "missing_scope", "needed": "chat:write"}))

    with pytest.raises(PermanentError, match=r"needs the scope chat:write\); give the app"):
        handler.deliver([item_of(handler)])


def test_what_was_posted_before_a_failure_is_not_posted_again(slack, make):
    """The engine is told how many that were."""
    handler = make(format_string="{record.message}")
    handler.max_length = 3
    items = [item_of(handler, text) for text in ("one", "two", "six")]
    slack.fault("POST", None, (503, {}, {}))

    with pytest.raises(PartlyDelivered) as told:
        handler.deliver(items)
    handler.deliver(items[told.value.count :])

    assert slack.lines == ["one", "two", "six"]


@pytest.mark.rule("RS-7", "Y-47")
def test_an_error_of_slack_is_an_error_of_an_immediate_handler(slack, make):
    """It posts in the call, without waiting for its time."""
    handler = make("xoxb-2", immediate=True, interval=3_600.0)
    with handler, Flags(errors="raise"), pytest.raises(PermanentError, match="invalid_auth"):
        log.info("x")
    handler = make(immediate=True, interval=3_600.0)
    with handler, Flags(errors="raise"):
        log.info("one")
        log.info("two")

    assert len(slack.messages) == 2


@pytest.mark.rule("RS-7", "Y-47")
def test_another_client_may_take_the_place_of_the_librarys(make):
    """One of a test, say, which has its own idea of an answer."""
    from slack_sdk.errors import SlackApiError

    class Client:
        def chat_postMessage(self, **message):
            raise SlackApiError("no", {"ok": False, "error": "is_archived"})

    handler = make()
    handler.slack = Client()

    with pytest.raises(PermanentError, match="is_archived; take the channel out of the archive"):
        handler.deliver([item_of(handler)])


# -- when Slack says nothing


@pytest.mark.parametrize(
    "script",
    [
        [],
        [(500, {}, {"ok": False})],
        [(503, {"Retry-After": "0"}, {})],
        [(429, {"Retry-After": "0"}, {"ok": False, "error": "ratelimited"})],
        ["reset", "reset"],
        ["silence"],
        [b"<html>please log in</html>"],
        [b"[1]", b"null", b"\xff\xfe", b"{"],
    ],
    ids=str,
)
def test_what_passes_costs_no_record(script, slack, make):
    """Each is posted once, in order; the empty script is the control."""
    handler = make(format_string="{record.message}", timeout=0.3)
    slack.fault("POST", *script)
    with handler:
        for number in range(10):
            log.info("{}", number)
    assert handler.close(LIMIT)

    statistics = handler.statistics()
    assert slack.lines == [str(number) for number in range(10)]
    assert (statistics["delivered"], statistics["failed"]) == (10, len(script))
    assert_adds_up(statistics)


def test_a_message_whose_answer_is_lost_is_posted_again(slack, make):
    """Twice is better than not at all, and Slack has no way to tell."""
    handler = make(format_string="{record.message}")
    slack.fault("POST", "lost")
    with handler:
        log.info("jammed")
    assert handler.close(LIMIT)

    assert slack.lines == ["jammed", "jammed"]


def test_an_answer_that_never_ends_holds_up_nobody_but_the_thread(slack, make):
    """Calls return, and closing gives up in time and says how many are lost."""
    slack.fault("POST", "drip")
    handler = make(timeout=1.0)
    with handler:
        for number in range(100):
            log.info("{}", number)

    assert handler.close(0.3) is False
    statistics = handler.statistics()
    assert (statistics["accepted"], statistics["dropped"]) == (100, {"closed": 100})


def test_a_slack_that_is_not_there_costs_memory_only_up_to_a_bound(make):
    """The oldest records go, and are counted."""
    handler = make(base_url="http://127.0.0.1:9/api/", capacity=10)
    with handler:
        for number in range(1_000):
            log.info("{}", number)
    handler.close(0.05)

    statistics = handler.statistics()
    assert statistics["accepted"] == 1_000
    assert statistics["delivered"] == statistics["queued"] == 0
    assert statistics["dropped"]["full"] > 900
    assert_adds_up(statistics)


def test_no_log_call_talks_to_slack(slack, make):
    """All is posted by the handler's own thread, however Slack behaves."""
    posting = set()

    class Watched(SlackHandler):
        def _post(self, text):
            posting.add(threading.get_ident())
            super()._post(text)

    slack.fault("POST", "reset", "silence", (500, {}, {}))
    handler = Watched(
        TOKEN, CHANNEL, base_url=slack.base_url, retry=QUICK, interval=0.0, timeout=0.2
    )
    with handler:
        for number in range(50):
            log.info("{}", number)
    assert handler.close(LIMIT)

    assert len(slack.lines) == 50
    assert threading.get_ident() not in posting


def test_log_calls_return_while_slack_is_silent(slack, make):
    """The server answers none of them before all have returned."""
    handler = make(timeout=60.0)
    slack.fault("POST", "silence")
    with handler:
        for number in range(1_000):
            log.info("{}", number)

    assert slack.messages == []
    assert handler.statistics()["accepted"] == 1_000
    assert handler.close(0.05) is False


def test_the_library_neither_tries_again_nor_tells_by_itself(slack, make, caplog):
    """Both are the engine's to do: once, and seldom."""
    handler = make()
    slack.fault("POST", "reset")

    with caplog.at_level(logging.DEBUG), pytest.raises(OSError):
        handler.deliver([item_of(handler)])

    assert len(slack.requests) == 1
    assert caplog.records == []


# -- an incoming web-hook


def test_a_web_hook_needs_its_address_only(slack):
    """And has level, layout, filter and bubble in the known order."""
    handler = SlackHandler.from_webhook(
        slack.url + HOOK, "WARNING", "{record.message}!", None, True, interval=0.0
    )
    with handler:
        log.info("below")
        log.error("<jammed>")
    assert handler.close(LIMIT)

    (message,) = slack.messages
    assert message["text"] == "&lt;jammed&gt;!"
    assert message["mrkdwn"] is False
    assert (handler.api_token, handler.channel, handler.bubble) == (None, None, True)


@pytest.mark.parametrize(
    ("step", "kind", "text"),
    [
        (None, PermanentError, "answered 404: no_service; make a new incoming web-hook"),
        ((429, {"Retry-After": "7"}, {}), RetryLater, "answered 429"),
        ((500, {}, {}), ConnectionError, "answered 500"),
        (b"hello", ConnectionError, "no proper answer from Slack: hello"),
        ("reset", OSError, "reset by peer|Remote end"),
    ],
    ids=str,
)
def test_a_web_hook_says_no_in_its_own_way(step, kind, text, slack):
    """With a status and a word; its address, a secret, is not told."""
    handler = SlackHandler.from_webhook(f"{slack.url}/services/gone", interval=0.0)
    if step is not None:
        slack.fault("POST", step)

    with pytest.raises(kind, match=text) as told:
        handler.deliver([item_of(handler)])

    assert "services" not in str(told.value)
    handler.close()


# -- making one


@pytest.mark.parametrize(("token", "channel"), [("", "C1"), ("xoxb-1", ""), (None, None)])
def test_a_handler_without_token_or_channel_is_refused(token, channel):
    """Not with the first record."""
    with pytest.raises(ValueError, match="needs an API token and a channel; no"):
        SlackHandler(token, channel)


@pytest.mark.parametrize("make", [SlackHandler.from_webhook, SlackHandler])
def test_an_address_that_is_none_is_refused_and_not_told(make):
    """That of a web-hook is a secret."""
    options = {"base_url": "hooks.slack.com/s3cr3t"} if make is SlackHandler else {}
    arguments = [TOKEN, CHANNEL] if make is SlackHandler else ["hooks.slack.com/s3cr3t"]

    with pytest.raises(ValueError, match="begin with https://") as told:
        make(*arguments, **options)

    assert "s3cr3t" not in str(told.value)


@pytest.mark.rule("RS-7", "Y-47")
def test_a_missing_library_is_named_with_what_installs_it(monkeypatch):
    """When a handler is made, not before."""
    monkeypatch.setitem(sys.modules, "slack_sdk.errors", None)

    with pytest.raises(RuntimeError, match=r"SlackHandler needs 'slack_sdk'.*\[slack\]"):
        SlackHandler(TOKEN, CHANNEL)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_posts_for_itself(slack, make):
    """Even if a thread of the parent was counting; what is queued stays the parent's."""
    handler = make(format_string="{record.message}", record_limit=1)
    is_held, may_end = threading.Event(), threading.Event()

    def count():
        with handler._limit_lock:
            is_held.set()
            may_end.wait(LIMIT)

    counting = threading.Thread(target=count)
    counting.start()
    assert is_held.wait(LIMIT)
    pid = os.fork()
    if pid == 0:
        with handler:
            log.info("child")
        os._exit(0 if handler.close(LIMIT) else 1)
    may_end.set()
    counting.join()
    with handler:
        log.info("parent")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert handler.close(LIMIT)

    assert sorted(slack.lines) == ["child", "parent"]


def test_what_waits_at_the_end_of_a_program_is_posted(slack):
    """Without closing anything, and without waiting for its time."""
    code = (
        "import sys\n"
        "from sprockets.logbook import Logger\n"
        "from sprockets.logbook.more import SlackHandler\n"
        "handler = SlackHandler(*sys.argv[1:3], base_url=sys.argv[3], interval=3600, batch_size=1,\n"
        "                       format_string='{record.message}')\n"
        "handler.push_application()\n"
        "for number in range(3):\n"
        "    Logger('till').info('{}', number)\n"
    )

    subprocess.run(
        [sys.executable, "-P", "-c", code, TOKEN, CHANNEL, slack.base_url], check=True, timeout=60
    )

    assert slack.lines == ["0", "1", "2"]


def test_importing_needs_no_library():
    """None of these four; and what is not there is told when it is needed."""
    code = (
        "import sys\n"
        "for name in ('slack_sdk', 'riemann_client', 'google.protobuf', 'couchdb', 'oauth2'):\n"
        "    sys.modules[name] = None\n"
        "from sprockets.logbook.more import (\n"
        "    CouchDBBackend, RiemannHandler, SlackHandler, TwitterFormatter, TwitterHandler)\n"
        "RiemannHandler('localhost', 5555, 'test').close()\n"
    )

    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=60)


def test_what_is_waiting_outlives_the_process_in_a_spool(slack, make, tmp_path):
    """Texts are bytes, as spools have it."""
    from sprockets.logbook.delivery import Spool

    first = make(
        format_string="{record.message}",
        base_url="http://127.0.0.1:9/api/",
        spool=Spool(tmp_path),
        policy="spill",
    )
    with first:
        log.info("jämmed")
    first.close(0.05)
    second = make(spool=Spool(tmp_path), policy="spill")
    wait_until(lambda: slack.lines)
    assert second.close(LIMIT)

    assert slack.lines == ["jämmed"]
