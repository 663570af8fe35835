"""apprise: what services get, and what becomes of notices that they do not take."""

import logging
import os
import subprocess
import sys
import textwrap
import threading

import pytest

pytest.importorskip("apprise")

from sprockets._support.optional import MissingDependency
from sprockets.logbook import Logger, LogRecord
from sprockets.logbook.compat import redirected_logging
from sprockets.logbook.notifiers import AppriseHandler
from sprockets.logbook.notifiers._apprise_services import AppriseServices, NotSentError
from tests.logbook.notifiers.conftest import QUICK

# Of the standard library, which apprise imports as long as it is there.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

log = Logger("till")


def url_of(service):
    """Return the URL by which apprise posts JSON there."""
    return f"json://127.0.0.1:{service.port}/"


def handler_for(*services, **options):
    """Return a handler that tells them, and tries again quickly."""
    options = {"retry": QUICK, **options}
    return AppriseHandler([url_of(service) for service in services], "shop", **options)


# -- what is sent


def test_a_service_gets_title_text_and_type(serve):
    """How it is shown depends on the level."""
    service = serve()
    handler = handler_for(service)

    with handler:
        for level in ("DEBUG", "NOTICE", "WARNING", "ERROR", "CRITICAL"):
            log.log(level, "drawer {} is open", 3)
    assert handler.close(20)

    told = [(one["title"], one["message"], one["type"]) for one in service.documents]
    assert told == [
        ("till: Debug", "drawer 3 is open", "info"),
        ("till: Notice", "drawer 3 is open", "info"),
        ("till: Warning", "drawer 3 is open", "warning"),
        ("till: Error", "drawer 3 is open", "failure"),
        ("till: Critical", "drawer 3 is open", "failure"),
    ]
    assert handler.services == ["JSON"]


def test_a_text_is_text(serve):
    """Markup, escapes and emoji names in a record mean nothing, also to a service that reads HTML."""
    service = serve()
    text = "<b>1</b> & **2** \\n :smile: é"
    urls = [url_of(service), url_of(service) + "?format=html"]
    handler = AppriseHandler(urls)

    with handler:
        log.error("{}", text)
    assert handler.close(20)

    plain, html = (one["message"] for one in service.documents)
    assert plain == text
    assert "&lt;b&gt;1&lt;/b&gt;" in html
    assert "<b>" not in html


def test_one_url_may_come_alone(serve):
    """It need not be in a list."""
    service = serve()
    handler = AppriseHandler(url_of(service))

    with handler:
        log.error("x")
    assert handler.close(20)

    assert len(service.requests) == 1


def test_a_subclass_says_of_which_type_a_record_is(serve):
    """Services have a fourth."""

    class Proud(AppriseHandler):
        def get_notify_type(self, record):
            return "success"

    service = serve()
    handler = Proud(url_of(service))
    with handler:
        log.info("sold")
    assert handler.close(20)

    assert service.documents[0]["type"] == "success"


@pytest.mark.rule("NO-3")
def test_the_limit_is_asked_first(serve, clock):
    """At most one an hour; the next one says how many there would have been."""
    service = serve()
    handler = handler_for(service, record_limit=1, record_delta=3600, clock=clock)

    with handler:
        for number in range(4):
            if number == 3:
                clock.seconds += 3601
            log.error("jammed {}", number)
    assert handler.close(20)

    assert [one["message"] for one in service.documents] == [
        "jammed 0",
        "jammed 3\n(and 2 more like it)",
    ]


# -- URLs


@pytest.mark.parametrize(
    ("urls", "text"),
    [
        ("nosuch://user:s3cret@host/t0ken", r"URL 1 \(nosuch://…\) is none that apprise under"),
        ("s3cret", "URL 1 is none that apprise"),
        (["json://localhost", "tgram://s3cret"], r"URL 2 \(tgram://…\) is none"),
        ([None], "URL 1 is none"),
        ([], "AppriseHandler needs at least one URL, such as 'ntfy://topic'"),
    ],
)
def test_a_wrong_url_is_an_error_at_once_that_does_not_show_it(urls, text, caplog, capsys):
    """There are passwords in it; nor does apprise write them anywhere."""
    with pytest.raises(ValueError, match=text) as caught:
        AppriseHandler(urls)

    assert "s3cret" not in str(caught.value)
    assert "t0ken" not in str(caught.value)
    assert caplog.records == []
    assert capsys.readouterr() == ("", "")


def test_a_service_that_needs_a_library_says_so(monkeypatch):
    """Some of them do; here Growl's, of which nobody has that library."""
    pytest.importorskip("apprise")
    try:
        import gntp  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("gntp is installed")

    with pytest.raises(MissingDependency, match=r"\(growl://…\): a library is missing") as caught:
        AppriseHandler("growl://s3cret@localhost")

    assert "s3cret" not in str(caught.value)


@pytest.mark.rule("NO-4")
def test_without_apprise_the_error_names_the_extra(monkeypatch):
    """With what to type."""
    monkeypatch.setitem(sys.modules, "apprise", None)

    with pytest.raises(RuntimeError, match=r"AppriseHandler needs 'apprise'.*http\[apprise\]"):
        AppriseHandler("json://localhost")


def test_nothing_shows_where_the_services_are():
    """Whoever prints the handler, or what it counts, may show it."""
    handler = AppriseHandler("json://ann:s3cret@localhost/t0ken")

    shown = f"{handler!r} {handler.statistics()} {handler.services} {handler.delivery!r}"

    assert "s3cret" not in shown
    assert "t0ken" not in shown
    handler.close()


# -- failures


def test_a_service_that_fails_is_told_again(serve, capsys):
    """The report has its reason, and no secret."""
    service = serve((500, {}, b"down"), (503, {}, b"down"))
    handler = AppriseHandler(f"json://ann:s3cret@127.0.0.1:{service.port}/t0ken", retry=QUICK)

    with handler:
        log.error("late")
    assert handler.close(20)

    assert len(service.requests) == 3
    assert handler.statistics()["delivered"] == 1
    err = capsys.readouterr().err
    assert "JSON: Failed to send JSON POST notification" in err
    assert "s3cret" not in err
    assert "t0ken" not in err


def test_only_those_that_failed_are_told_again(serve):
    """Nobody hears the same twice because of somebody else."""
    good, bad = serve(), serve((500, {}, b""), (500, {}, b""))
    handler = handler_for(good, bad)

    with handler:
        log.error("one")
        log.error("one")
    assert handler.close(20)

    assert len(good.requests) == 2
    assert len(bad.requests) == 4
    assert handler.statistics()["delivered"] == 2


def test_a_notice_that_one_service_never_takes_is_given_up_and_counted(serve):
    """The next one goes to all of them again, though it says the same."""
    good, bad = serve(), serve(*[(400, {}, b"")] * 10)
    handler = handler_for(good, bad)

    with handler:
        log.error("one")
        log.error("one")
    assert handler.close(20)

    statistics = handler.statistics()
    assert (statistics["dead"], statistics["delivered"]) == (1, 1)
    assert len(good.requests) == 2
    assert len(bad.requests) == 11


@pytest.mark.parametrize("step", ["silence", "drip"])
def test_a_service_that_hangs_costs_no_more_than_the_timeout(serve, step):
    """Also one that sends a byte now and then; meanwhile it is not asked anything else."""
    service = serve(step)
    services = AppriseServices(
        url_of(service) + "?rto=30", application_name=None, timeout=0.2, needed_by="test"
    )

    with pytest.raises(NotSentError, match="JSON: no answer within 0.2 s"):
        services.send(1, "title", "text", "info")
    with pytest.raises(NotSentError, match="JSON: still busy with an earlier notice"):
        services.send(1, "title", "text", "info")
    service.released.set()
    services.timeout = 20
    services.send(1, "title", "text", "info")

    assert len(service.requests) == 2


def test_a_program_with_a_service_that_hangs_ends(serve):
    """No thread of apprise's, and none of ours, holds up the end."""
    service = serve("silence")
    program = f"""
        from sprockets.logbook import Logger
        from sprockets.logbook.notifiers import AppriseHandler
        url = "json://127.0.0.1:{service.port}/?rto=600"
        AppriseHandler(url, timeout=600, drain_timeout=0.1).push_application()
        Logger("till").error("lost")
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert result.returncode == 0
    assert "1 are lost" in result.stderr


def test_a_plugin_that_raises_is_a_failure_like_others(monkeypatch, serve):
    """Some hundred services, written by as many people."""
    handler = handler_for(serve(), immediate=True)
    (service,) = handler._services._services

    def fail(**options):
        raise KeyError("oops")

    monkeypatch.setattr(service._apprise, "notify", fail)
    with pytest.raises(NotSentError, match="JSON: KeyError: 'oops'"):
        handler.emit(LogRecord("till", 14, "x"))
    handler.close()


def test_without_new_threads_a_service_is_told_all_the_same(monkeypatch, serve):
    """As at the very end of the interpreter."""
    service = serve()
    handler = handler_for(service, immediate=True)

    start = threading.Thread.start

    def refuse(thread):
        if thread.name.startswith("apprise"):
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    handler.emit(LogRecord("till", 14, "x"))
    handler.close()

    assert len(service.requests) == 1


# -- what apprise logs


def test_what_apprise_logs_makes_no_notices(serve):
    """Standard logging leads into the stacks, down to debug, and two handlers listen there."""
    service = serve((500, {}, b""))
    first, second = handler_for(service, bubble=True), handler_for(service)
    logger = logging.getLogger("apprise")
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logging.getLogger().setLevel(logging.DEBUG)
    try:
        with redirected_logging(), second.applicationbound(), first.applicationbound():
            log.error("one")
            assert first.flush(20)
            assert second.flush(20)
    finally:
        logger.setLevel(level)
        logging.getLogger().setLevel(logging.WARNING)
    assert first.close(20)
    assert second.close(20)

    assert [one["message"] for one in service.documents] == ["one"] * 3
    assert first.statistics()["delivered"] == second.statistics()["delivered"] == 1


def test_what_apprise_logs_for_others_is_theirs(caplog):
    """A program that uses it by itself sees its warnings as before."""
    import apprise

    AppriseHandler("json://localhost").close()
    apprise.Apprise().add("nosuch://localhost")

    assert any("nosuch" in record.getMessage() for record in caplog.records)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_tells_for_itself(serve):
    """After the parent has told something, so that all there is of it is there."""
    service = serve()
    handler = handler_for(service)
    with handler:
        log.error("parent")
        assert handler.flush(20)
        pid = os.fork()
        if not pid:
            try:
                log.error("child")
                os._exit(0 if handler.close(20) else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert handler.close(20)

    assert [one["message"] for one in service.documents] == ["parent", "child"]
