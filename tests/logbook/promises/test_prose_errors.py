"""What the pages of other releases said in error, and what is true here."""

import inspect
import logging
import sys
from pathlib import Path

import pytest

import sprockets.logbook
from sprockets.logbook import Logger, TestHandler, compat, queues
from sprockets.logbook.compat import redirected_logging


@pytest.mark.rule("Q-4")
def test_the_handler_with_a_thread_is_among_the_queues_alone():
    """Not in the package itself."""
    assert hasattr(queues, "ThreadedWrapperHandler")
    assert not hasattr(sprockets.logbook, "ThreadedWrapperHandler")


@pytest.mark.rule("Q-5")
def test_what_is_not_about_other_systems_is_not_in_compat():
    """It is in the package."""
    for name in ("warn", "StreamHandler"):
        assert not hasattr(compat, name)
        assert hasattr(sprockets.logbook, name)
    assert {"LoggingHandler", "redirect_logging"} <= set(compat.__all__)


@pytest.mark.rule("Q-6")
def test_redirecting_goes_from_the_standard_library_to_the_stacks():
    """And not the other way round."""
    with TestHandler() as handler, redirected_logging():
        logging.getLogger("theirs").warning("x")
        Logger("ours").warning("y")

    assert [record.channel for record in handler.records] == ["theirs", "ours"]


@pytest.mark.rule("Q-7")
def test_redis_is_named_by_a_host_and_a_number():
    """No address, and no text; the usual port is the usual one."""
    parameters = inspect.signature(queues.RedisHandler).parameters

    assert (parameters["host"].default, parameters["port"].default) == ("127.0.0.1", 6379)


@pytest.mark.rule("Q-8")
@pytest.mark.parametrize("name", ["MessageQueueHandler", "MessageQueueSubscriber"])
def test_the_lack_of_a_library_is_told_by_who_lacks_it(name, monkeypatch):
    """Not by another class."""
    monkeypatch.setitem(sys.modules, "kombu", None)

    with pytest.raises(RuntimeError, match=rf"^{name} needs 'kombu'"):
        getattr(queues, name)("memory://")


@pytest.mark.rule("Q-14")
def test_receiving_is_told_without_a_word_about_how():
    """There need be no socket."""
    text = inspect.getdoc(queues.SubscriberBase.recv)

    assert text.startswith("Return the next record; None if there is none in time")
    assert "socket" not in text.lower()


@pytest.mark.rule("Q-15")
def test_all_queues_are_in_the_guides():
    """Each pair of handler and subscriber, and those without a partner, on some page."""
    folder = Path(__file__).parents[3] / "docs" / "howto"
    if not folder.is_dir():
        pytest.skip("the pages are not part of what is installed")
    pages = "\n".join(page.read_text("utf-8") for page in folder.glob("*.rst"))

    missing = [
        name
        for name in queues.__all__
        # Those of RabbitMQ are other names for what speaks to every broker.
        if name.endswith(("Handler", "Subscriber", "Group"))
        and name not in pages
        and not name.startswith("RabbitMQ")
    ]

    assert missing == []
