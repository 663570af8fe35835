"""The description of the interface for programs, in the words of OpenAPI 3.1."""

from __future__ import annotations

from typing import Any, Final

from sprockets.logbook.ticketing._search import STATES
from sprockets.tickets._api_actions import OCCURRENCE_ORDERS, TICKET_ORDERS, VALUE_FIELDS
from sprockets.tickets._api_input import MAX_IDS, MAX_LIMIT, MAX_NAME, MAX_TEXT

_ID: Final = {"type": ["integer", "string"], "description": "an integer; with MongoDB a text"}
_TEXT: Final = {"type": "string"}
_MAYBE_TEXT: Final = {"type": ["string", "null"]}
_INTEGER: Final = {"type": "integer"}
_MAYBE_INTEGER: Final = {"type": ["integer", "null"]}
_TIME: Final = {"type": "string", "format": "date-time"}
_MAYBE_TIME: Final = {"type": ["string", "null"], "format": "date-time"}
_OBJECT: Final = {"type": "object", "additionalProperties": True}


def _object(properties: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    if required:
        found["required"] = list(properties)
    return found


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _array(items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


_TICKET: Final[dict[str, Any]] = {
    "id": _ID,
    "title": _TEXT,
    "state": {"type": "string", "enum": list(STATES)},
    "level": _INTEGER,
    "level_name": _TEXT,
    "channel": _MAYBE_TEXT,
    "location": _MAYBE_TEXT,
    "module": _MAYBE_TEXT,
    "app_id": _MAYBE_TEXT,
    "occurrence_count": _INTEGER,
    "first_time": _MAYBE_TIME,
    "last_occurrence_time": _MAYBE_TIME,
    "assignee": _TEXT,
    "first_release": _MAYBE_TEXT,
    "last_release": _MAYBE_TEXT,
    "solved_in": _MAYBE_TEXT,
    "ignored_until": _MAYBE_TIME,
    "ignored_count": _MAYBE_INTEGER,
    "merged_into": {"type": ["integer", "string", "null"]},
    "fingerprint": _MAYBE_TEXT,
    "record_hash": _TEXT,
}
_OCCURRENCE: Final[dict[str, Any]] = {
    "id": _ID,
    "ticket_id": _ID,
    "time": _MAYBE_TIME,
    "request_id": _MAYBE_TEXT,
    "task_uuid": _MAYBE_TEXT,
    "release": _MAYBE_TEXT,
    "environment": _MAYBE_TEXT,
    "record": _OBJECT,
}
_LINKS: Final = _object({"self": _TEXT, "prev": _TEXT, "next": _TEXT}, required=False)
_ROWS: Final[dict[str, Any]] = {"limit": _INTEGER, "offset": _INTEGER, "links": _LINKS}

SCHEMAS: Final[dict[str, Any]] = {
    "Ticket": _object(_TICKET),
    "TicketWithIssues": _object({**_TICKET, "issues": _array(_ref("Issue"))}),
    "Issue": _object(
        {
            "tracker": _TEXT,
            "issue_id": _MAYBE_TEXT,
            "url": _MAYBE_TEXT,
            "is_open": {"type": "boolean"},
            "commented_at": _INTEGER,
        }
    ),
    "TicketPage": _object({"tickets": _array(_ref("Ticket")), "total": _INTEGER, **_ROWS}),
    "Occurrence": _object(_OCCURRENCE),
    "OccurrenceWithLeading": _object({**_OCCURRENCE, "leading": _array(_OBJECT)}),
    "OccurrencePage": _object({"occurrences": _array(_ref("Occurrence")), **_ROWS}),
    "HistoryItem": _object(
        {
            "id": _ID,
            "ticket_id": _ID,
            "time": _MAYBE_TIME,
            "actor": _TEXT,
            "action": _TEXT,
            "text": _TEXT,
            "facts": _OBJECT,
        }
    ),
    "HistoryPage": _object({"history": _array(_ref("HistoryItem")), **_ROWS}),
    "Counts": _object(
        {
            "step": {"type": "string", "enum": ["hour", "day"]},
            "since": _TIME,
            "counts": {"type": "object", "additionalProperties": _array(_INTEGER)},
        }
    ),
    "OfRequest": _object(
        {
            "request_id": _TEXT,
            "occurrences": _array(_ref("OccurrenceWithLeading")),
            "tickets": _array(_ref("Ticket")),
        }
    ),
    "OfTask": _object(
        {
            "task_uuid": _TEXT,
            "occurrences": _array(_ref("OccurrenceWithLeading")),
            "tickets": _array(_ref("Ticket")),
        }
    ),
    "Values": _object({"field": _TEXT, "values": _array(_TEXT)}),
    "Me": _object({"name": _TEXT, "scopes": _array(_TEXT), "may_write": {"type": "boolean"}}),
    "Changed": _object(
        {"changed": _array(_ID), "deleted": _array(_ID), "unknown": _array(_ID)}, required=False
    ),
    "Change": {
        **_object(
            {
                "state": {"type": "string", "enum": ["new", "solved", "ignored"]},
                "release": {"type": ["string", "null"], "maxLength": MAX_NAME},
                "until": _MAYBE_TIME,
                "occurrences": {"type": ["integer", "null"], "minimum": 1},
                "assignee": {"type": ["string", "null"], "maxLength": MAX_NAME},
            },
            required=False,
        ),
        "anyOf": [{"required": ["state"]}, {"required": ["assignee"]}],
    },
    "Error": {
        "type": "object",
        "properties": {
            "type": _TEXT,
            "message": _TEXT,
            "traceback": {"type": ["array", "null"], "items": _TEXT},
            "request_id": _TEXT,
        },
        "required": ["type", "message", "request_id"],
    },
    "Problem": {
        "type": "object",
        "description": "RFC 9457, for those who accept application/problem+json",
        "properties": {
            "type": _TEXT,
            "title": _TEXT,
            "status": _INTEGER,
            "detail": _TEXT,
            "request_id": _TEXT,
            "errors": _array(_OBJECT),
        },
        "additionalProperties": True,
        "required": ["title", "status"],
    },
}

# -- operations


def _parameter(name: str, place: str, schema: dict[str, Any], text: str = "") -> dict[str, Any]:
    found = {"name": name, "in": place, "schema": schema, "required": place == "path"}
    return {**found, "description": text} if text else found


def _query(name: str, schema: dict[str, Any], text: str = "") -> dict[str, Any]:
    return _parameter(name, "query", schema, text)


def _page(orders: tuple[str, ...] = (), order_by: str = "", limit: int = 50) -> list[Any]:
    found = [
        _query("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": limit}),
        _query("offset", {"type": "integer", "minimum": 0, "default": 0}),
    ]
    if orders:
        both = [sign + name for name in orders for sign in ("", "-")]
        text = "- in front puts the greatest first"
        found.append(
            _query("order_by", {"type": "string", "enum": both, "default": order_by}, text)
        )
    return found


_ERRORS: Final = {
    400: "the request makes no sense",
    401: "nobody is let in without a token or a session",
    403: "that may not be done by who asks",
    404: "there is no such thing",
    415: "the body is of another type",
    422: "the body makes no sense",
    503: "the store cannot be reached",
}


def _operation(
    summary: str,
    answer: str | None,
    *,
    status: int = 200,
    parameters: list[Any] | None = None,
    body: dict[str, Any] | None = None,
    errors: tuple[int, ...] = (),
) -> dict[str, Any]:
    description = {200: "done", 201: "made", 204: "removed"}[status]
    answers: dict[str, Any] = {str(status): {"description": description}}
    if answer is not None:
        answers[str(status)]["content"] = {"application/json": {"schema": _ref(answer)}}
    writes = (403, 415, 422) if body is not None else ()
    for error in sorted({400, 401, 403, 503, *errors, *writes}):
        answers[str(error)] = {
            "description": _ERRORS[error],
            "content": {
                "application/json": {"schema": _ref("Error")},
                "application/problem+json": {"schema": _ref("Problem")},
            },
        }
    found: dict[str, Any] = {"summary": summary, "responses": answers}
    if parameters:
        found["parameters"] = parameters
    if body is not None:
        found["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": body}},
        }
    return found


_IDS: Final = _array(_ID, minItems=1, maxItems=MAX_IDS)

OPERATIONS: Final[dict[str, dict[str, Any]]] = {
    "/tickets": {
        "get": _operation(
            "A page of the tickets that meet a search",
            "TicketPage",
            parameters=[
                _query("q", _TEXT, "words, and conditions such as is:new level:error release:1.2"),
                *_page(TICKET_ORDERS, "-last_occurrence_time"),
            ],
        )
    },
    "/tickets/bulk": {
        "post": _operation(
            "Change many tickets, or delete them",
            "Changed",
            body={
                **_object(
                    {"tickets": _IDS, "change": _ref("Change"), "delete": {"const": True}},
                    required=False,
                ),
                "required": ["tickets"],
            },
        )
    },
    "/tickets/{ticket_id}": {
        "get": _operation("A ticket", "TicketWithIssues", errors=(404,)),
        "patch": _operation(
            "Solve a ticket, ignore it, reopen it, give it to somebody",
            "TicketWithIssues",
            body=_ref("Change"),
            errors=(404,),
        ),
        "delete": _operation(
            "Remove a ticket and all that belongs to it", None, status=204, errors=(404,)
        ),
    },
    "/tickets/{ticket_id}/occurrences": {
        "get": _operation(
            "A page of the occurrences of a ticket",
            "OccurrencePage",
            parameters=_page(OCCURRENCE_ORDERS, "-time"),
            errors=(404,),
        )
    },
    "/tickets/{ticket_id}/history": {
        "get": _operation(
            "A page of what happened to a ticket, the newest first",
            "HistoryPage",
            parameters=_page(limit=100),
            errors=(404,),
        )
    },
    "/tickets/{ticket_id}/comments": {
        "post": _operation(
            "Add a comment",
            "HistoryItem",
            status=201,
            body=_object({"text": {"type": "string", "minLength": 1, "maxLength": MAX_TEXT}}),
            errors=(404,),
        )
    },
    "/tickets/{ticket_id}/merge": {
        "post": _operation(
            "Have this ticket take over all of others",
            "TicketWithIssues",
            body=_object({"tickets": _IDS}),
            errors=(404,),
        )
    },
    "/tickets/{ticket_id}/split": {
        "post": _operation(
            "Make a ticket of its own of what is like an occurrence",
            "TicketWithIssues",
            status=201,
            body=_object({"occurrence": _ID}),
            errors=(404,),
        )
    },
    "/counts": {
        "get": _operation(
            "How often tickets occurred in each hour or day",
            "Counts",
            parameters=[
                {**_query("tickets", _TEXT, "ids with commas between them"), "required": True},
                _query("step", {"type": "string", "enum": ["hour", "day"], "default": "hour"}),
                _query("since", _TIME, "24 hours or 30 days ago by default"),
                _query("until", _TIME, "now by default"),
            ],
        )
    },
    "/occurrences/{occurrence_id}": {
        "get": _operation(
            "An occurrence, with the records that led up to it",
            "OccurrenceWithLeading",
            errors=(404,),
        )
    },
    "/requests/{request_id}": {
        "get": _operation("All that was counted during a request", "OfRequest")
    },
    "/tasks/{task_uuid}": {
        "get": _operation("All that was counted in a tree of actions", "OfTask")
    },
    "/values/{field}": {"get": _operation("The values of a field", "Values", errors=(404,))},
    "/me": {"get": _operation("Who asks", "Me")},
    "/openapi.json": {
        "get": {
            "summary": "This description",
            "responses": {
                "200": {
                    "description": "done",
                    "content": {"application/json": {"schema": _OBJECT}},
                },
                "401": {"description": _ERRORS[401]},
            },
        }
    },
    "/events": {
        "get": {
            "summary": "An event whenever tickets were counted on or changed",
            "responses": {
                "200": {
                    "description": "a mark first, then a change each time; both have a mark",
                    "content": {"text/event-stream": {"schema": _TEXT}},
                },
                "401": {"description": _ERRORS[401]},
                "503": {"description": "too many watch already"},
            },
        }
    },
}

_IN_PATHS: Final = {
    "{ticket_id}": _parameter("ticket_id", "path", _TEXT),
    "{occurrence_id}": _parameter("occurrence_id", "path", _TEXT),
    "{request_id}": _parameter("request_id", "path", _TEXT),
    "{task_uuid}": _parameter("task_uuid", "path", _TEXT),
    "{field}": _parameter("field", "path", {"type": "string", "enum": list(VALUE_FIELDS)}),
}


def describe(url: str) -> dict[str, Any]:
    """Return the description.

    Args:
        url: Where the interface is.
    """
    paths: dict[str, Any] = {}
    for path, operations in OPERATIONS.items():
        varying = [each for name, each in _IN_PATHS.items() if name in path]
        paths[path] = {**({"parameters": varying} if varying else {}), **operations}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tickets",
            "version": "1",
            "description": "What failed, how often, since when.",
            "license": {"name": "BSD-3-Clause", "identifier": "BSD-3-Clause"},
        },
        "servers": [{"url": url}],
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "tickets_session"},
            },
            "schemas": SCHEMAS,
        },
    }
