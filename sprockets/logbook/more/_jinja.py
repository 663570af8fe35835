"""Templates: what a handler writes, said in Jinja's language."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sprockets._support.optional import optional
from sprockets.logbook import _caller
from sprockets.logbook._text import escape_line

if TYPE_CHECKING:
    import jinja2

    from sprockets.logbook.handlers import Handler
    from sprockets.logbook.record import LogRecord

_caller.register(__file__)


class JinjaFormatter:
    r"""Formats records by a template of Jinja's; assign it to the ``formatter`` of a handler.

    The template sees ``record`` and ``handler``.  Nothing is escaped, and custom data that a record
    does not have is empty.  Tracebacks are the template's to write: ``record.formatted_exception``.
    Messages may contain line breaks, which somebody may have sent to forge lines: the filter
    ``line``, as in ``{{ record.message|line }}``, writes them and other control characters as
    escapes, as the layouts of other formatters do.

    >>> from sprockets.logbook import Logger, TestHandler
    >>> handler = TestHandler()
    >>> handler.formatter = JinjaFormatter("{{ record.level_name }} {{ record.message|line }}")
    >>> with handler:
    ...     Logger("shop").warning("tea is\ncold")
    >>> print(*handler.formatted_records)
    WARNING tea is\ncold

    Args:
        template: The template's source.

    Raises:
        ImportError: Jinja is not installed.
        Exception: Jinja's ``TemplateSyntaxError``: the source is no template.
    """

    template: jinja2.Template

    def __init__(self, template: str) -> None:
        library = optional("jinja2", extra="jinja", needed_by=type(self).__name__)
        environment = library.Environment(autoescape=False)
        environment.filters["line"] = _one_line
        self.template = environment.from_string(template)

    def __call__(self, record: LogRecord, handler: Handler) -> str:
        """Return what the template makes of *record*."""
        return self.template.render(record=record, handler=handler)


def _one_line(value: object) -> str:
    return escape_line(str(value))
