"""The pages: which handler answers where.

All of them work without a script; forms are posted and lead back.  What a page shows is made in
`sprockets.tickets._views`, how it looks is in ``templates`` and ``static``.
"""

from __future__ import annotations

from sprockets.tickets import _pages_look
from sprockets.tickets._base import TicketsHandler
from sprockets.tickets._pages_actions import (
    BulkHandler,
    ChangeHandler,
    DeleteHandler,
    MergeHandler,
    SplitHandler,
)
from sprockets.tickets._pages_list import (
    CompletionsHandler,
    HelpHandler,
    ListHandler,
    UpdatesHandler,
)
from sprockets.tickets._pages_look import NotFoundHandler
from sprockets.tickets._pages_requests import RequestHandler, RequestsHandler
from sprockets.tickets._pages_ticket import OccurrenceHandler, TicketHandler

__all__ = ["routes"]


def routes() -> list[tuple[str, type[TicketsHandler]]]:
    """Return the routes of this room; those that take most come last."""
    return [
        *_pages_look.routes(),
        (r"/?", ListHandler),
        (r"/help", HelpHandler),
        (r"/updates", UpdatesHandler),
        (r"/completions", CompletionsHandler),
        (r"/bulk", BulkHandler),
        (r"/merge", MergeHandler),
        (r"/delete", DeleteHandler),
        (r"/tickets/([^/]+)", TicketHandler),
        (r"/tickets/([^/]+)/(solve|reopen|ignore|assign|comment)", ChangeHandler),
        (r"/tickets/([^/]+)/split", SplitHandler),
        (r"/tickets/([^/]+)/merge", MergeHandler),
        (r"/tickets/([^/]+)/delete", DeleteHandler),
        (r"/occurrences/([^/]+)", OccurrenceHandler),
        (r"/requests/?", RequestsHandler),
        (r"/requests/(.+)", RequestHandler),
        (r"/(?:tickets|occurrences|static)/.*", NotFoundHandler),
    ]
