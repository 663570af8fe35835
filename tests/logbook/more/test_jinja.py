"""Templates of Jinja's."""

import sys

import pytest

from sprockets._support import MissingDependency
from sprockets.logbook import Logger, TestHandler
from sprockets.logbook.more import JinjaFormatter

jinja2 = pytest.importorskip("jinja2")

log = Logger("testlogger")


def formatted(template, call, *args, **kwargs):
    handler = TestHandler()
    handler.formatter = JinjaFormatter(template)
    with handler:
        call(*args, **kwargs)
    (line,) = handler.formatted_records
    return line


@pytest.mark.rule("MO-1", "E-02", "E-03")
def test_without_the_library_the_text_says_what_to_install(monkeypatch):
    """It can be caught as either error."""
    monkeypatch.setitem(sys.modules, "jinja2", None)

    with pytest.raises(RuntimeError, match=r"JinjaFormatter needs 'jinja2'.*\[jinja\]") as caught:
        JinjaFormatter("x")

    assert isinstance(caught.value, MissingDependency)


@pytest.mark.rule("MO-1", "MO-2", "MO-3", "P-Q13")
def test_a_template_sees_record_and_handler():
    """Any handler that has a formatter can have this one."""
    assert (
        formatted("{{ record.channel }}/{{ record.level_name }}", log.info, "x")
        == "testlogger/INFO"
    )
    assert formatted("{{ handler.level_name }} {{ record.message }}", log.info, "<{}>", 1) == (
        "NOTSET <1>"
    )


@pytest.mark.rule("MO-1")
def test_nothing_is_escaped_and_what_is_missing_is_empty():
    """One line break at the end of the template is none."""
    template = "[{{ record.message }}|{{ record.extra.user }}|{{ record.extra['ip'] }}]\n"

    assert formatted(template, log.info, "<b>&", extra={"user": "ann"}) == "[<b>&|ann|]"


@pytest.mark.rule("MO-2")
def test_the_traceback_is_the_templates_to_write():
    """It is not appended."""
    error = ValueError("boom")

    assert formatted("{{ record.message }}", log.error, "x", exc_info=error) == "x"
    assert formatted("{{ record.formatted_exception }}", log.error, "x", exc_info=error) == (
        "ValueError: boom"
    )


@pytest.mark.rule("MO-2")
def test_a_template_may_decide_and_repeat():
    """Else one would not need one."""
    template = (
        "{% if record.level >= 14 %}!{% endif %}"
        "{% for name, value in record.extra|dictsort %} {{ name }}={{ value }}{% endfor %}"
    )

    assert formatted(template, log.error, "x", extra={"b": 2, "a": 1}) == "! a=1 b=2"


@pytest.mark.rule("MO-1")
def test_messages_are_no_templates():
    """Nor are other things that somebody sent."""
    assert formatted("{{ record.message }}", log.info, "{{ 7 * 7 }}") == "{{ 7 * 7 }}"


def test_a_filter_keeps_a_message_on_one_line():
    """Nobody forges lines, nor steers a terminal."""
    assert formatted("{{ record.message|line }}", log.info, "a\n[ERROR] b\x1b[2J") == (
        "a\\n[ERROR] b\\x1b[2J"
    )


def test_what_is_no_template_is_refused_at_once():
    """Not with the first record."""
    with pytest.raises(jinja2.TemplateSyntaxError):
        JinjaFormatter("{{ record.message")


@pytest.mark.rule("MO-2")
def test_the_template_is_there_to_look_at():
    """It is one of Jinja's."""
    assert isinstance(JinjaFormatter("x").template, jinja2.Template)
