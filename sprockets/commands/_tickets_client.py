"""What can be done with tickets from a terminal, as by the interface for programs."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, NoReturn

from sprockets.commands._tickets_desk import Desk, open_desk
from sprockets.commands._tickets_tokens import add_token, list_tokens, remove_token
from sprockets.commands._tickets_trackers import add_option as add_tracker_option
from sprockets.commands._tickets_trackers import find_trackers
from sprockets.commands._tickets_view import (
    describe_list,
    describe_request,
    describe_ticket,
    show,
)
from sprockets.http._loading import CommandError, complain
from sprockets.tickets._api_actions import TICKET_ORDERS
from sprockets.tickets._api_input import MAX_IDS, MAX_LIMIT, InputError, parse_id

NOTHING: Final = 1
"""Exit status if there is no such ticket, or none was found."""

READING: Final = frozenset(("list", "show", "request"))
"""Words that change nothing."""

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_EXIT_STATUSES: Final = (
    "exit statuses: 0 done, 1 there is no such ticket, or none was found, 69 the store or the"
    " service cannot be reached, 77 that is not allowed, 78 the arguments make no sense"
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message}; see {self.prog} --help")


def run(word: str, argv: Sequence[str], program: str) -> int:
    """Do what *word* and its arguments say, and return the exit status.

    Args:
        word: One of those in `sprockets.commands.tickets.WORDS`.
        argv: The arguments after it.
        program: What the command is called, without the word.

    Raises:
        CommandError: The arguments make no sense, or it could not be done.
    """
    if word == "token":
        return _run_token(argv, f"{program} token")
    arguments = make_parser(word, f"{program} {word}").parse_args(argv)
    trackers = find_trackers(arguments)
    if arguments.api is not None and arguments.tracker is not None:
        raise CommandError("--tracker is for --store; a service tells its own trackers")
    with open_desk(
        arguments.store,
        arguments.api,
        arguments.token,
        arguments.actor,
        trackers=None if word in READING else trackers,
        complain=partial(complain, f"{program} {word}"),
    ) as desk:
        try:
            status: int = arguments.function(desk, arguments, f"{program} {word}")
        except InputError as error:
            raise CommandError(str(error)) from None
    return status


# -- arguments


def _add_place(parser: argparse.ArgumentParser, *, with_api: bool = True) -> None:
    group = parser.add_argument_group("where the tickets are")
    add = group.add_argument
    environ = os.environ
    add(
        "--store",
        metavar="URL",
        default=environ.get("SPROCKETS_TICKETS_STORE") or None,
        help="a store; env:VARIABLE is in that variable (SPROCKETS_TICKETS_STORE)",
    )
    if not with_api:
        return
    add(
        "--api",
        metavar="URL",
        default=environ.get("SPROCKETS_TICKETS_API") or None,
        help="where 'sprockets tickets' serves them (SPROCKETS_TICKETS_API)",
    )
    add(
        "--token",
        metavar="TOKEN",
        default=environ.get("SPROCKETS_TICKETS_TOKEN") or None,
        help="for the service; better given as env:VARIABLE (SPROCKETS_TICKETS_TOKEN)",
    )
    add("--actor", metavar="NAME", help="who does it, for history; you by default (with --store)")
    add_tracker_option(group)


def make_parser(word: str, program: str) -> argparse.ArgumentParser:
    """Return the parser for the arguments after *word*."""
    parser = _Parser(prog=program, allow_abbrev=False, epilog=_EXIT_STATUSES)
    add = parser.add_argument
    function: Callable[[Desk, argparse.Namespace, str], int]
    if word == "list":
        parser.usage = "%(prog)s [options] [SEARCH ...]"
        add("search", nargs="*", metavar="SEARCH", help="as in is:new level:error 'no answer'")
        add("--order-by", default="-last_occurrence_time", metavar="FIELD", help=_orders())
        add("--limit", type=_number, default=50, metavar="N", help=f"up to {MAX_LIMIT}")
        add("--offset", type=_number, default=0, metavar="N", help="leave out as many before")
        function = _list
    elif word == "show":
        add("id", type=_id, metavar="ID", help="a ticket")
        function = _show
    elif word == "request":
        add("request_id", metavar="ID", help="as in an error document")
        function = _request
    elif word == "comment":
        add("id", type=_id, metavar="ID", help="a ticket")
        add("text", metavar="TEXT", help="the comment; - reads it from standard input")
        function = _comment
    elif word == "merge":
        add("into", type=_id, metavar="ID", help="the ticket that stays")
        add("ids", nargs="+", type=_id, metavar="OTHER", help="a ticket that goes into it")
        function = _merge
    elif word == "split":
        add("id", type=_id, metavar="ID", help="a ticket")
        add("occurrence", type=_id, metavar="OCCURRENCE", help="an occurrence of it")
        function = _split
    else:
        add("ids", nargs="+", type=_id, metavar="ID", help="a ticket")
        function = _delete if word == "delete" else _CHANGES[word]
        if word == "solve":
            add("--in", dest="release", metavar="RELEASE", help="older releases do not reopen it")
        elif word == "ignore":
            add("--for", type=_span, dest="span", metavar="TIME", help="as in 90m, 12h, 7d, 2w")
            add("--until", metavar="WHEN", help="as in 2026-12-24 or 2026-12-24T18:00:00Z")
            add("--occurrences", type=_number, metavar="N", help="until it occurred as often again")
        elif word == "assign":
            add("--to", required=True, metavar="NAME", help="an empty one for nobody")
        elif word == "delete":
            add("--yes", action="store_true", help="it cannot be undone; say that you know")
    parser.set_defaults(function=function)
    add("--json", action="store_true", help="one JSON document, as of the interface for programs")
    _add_place(parser)
    return parser


def _orders() -> str:
    return f"{', '.join(TICKET_ORDERS)}; - in front puts the greatest first"


def _id(text: str) -> int | str:
    try:
        return parse_id(text)
    except InputError:
        raise argparse.ArgumentTypeError(f"expected an id, as in 17, got {text!r}") from None


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 9:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}")
    return int(text)


def _span(text: str) -> timedelta:
    match = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a time, as in 12h or 7d, got {text!r}")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


# -- reading


def _list(desk: Desk, arguments: argparse.Namespace, program: str) -> int:
    page = {
        "order_by": arguments.order_by,
        "limit": str(arguments.limit),
        "offset": str(arguments.offset),
    }
    found = desk.list(" ".join(arguments.search), page)
    show(found, describe_list, as_json=arguments.json)
    return 0 if found["tickets"] else NOTHING


def _show(desk: Desk, arguments: argparse.Namespace, program: str) -> int:
    found = desk.show(arguments.id)
    if found is None:
        return _complain(program, [arguments.id])
    show(found, describe_ticket, as_json=arguments.json)
    return 0


def _request(desk: Desk, arguments: argparse.Namespace, program: str) -> int:
    found = desk.request(arguments.request_id)
    show(found, describe_request, as_json=arguments.json)
    return 0 if found["occurrences"] else NOTHING


def _complain(program: str, ids: Sequence[object]) -> int:
    names = ", ".join(map(str, ids))
    text = f"there is no ticket {names}" if len(ids) == 1 else f"there are no tickets {names}"
    complain(program, LookupError(text))
    return NOTHING


# -- changing


def _change(
    done: str, desk: Desk, arguments: argparse.Namespace, program: str, body: dict[str, Any] | None
) -> int:
    changed: list[Any] = []
    unknown: list[Any] = []
    for begin in range(0, len(arguments.ids), MAX_IDS):
        found = desk.change(arguments.ids[begin : begin + MAX_IDS], body)
        changed += found.get("changed", found.get("deleted", []))
        unknown += found["unknown"]
    name = "deleted" if body is None else "changed"
    names = ", ".join(map(str, changed))
    show(
        {name: changed, "unknown": unknown},
        lambda _: [f"{done} {names}"] if changed else [],
        as_json=arguments.json,
    )
    return _complain(program, unknown) if unknown else 0


def _solve(desk: Desk, arguments: argparse.Namespace, program: str) -> int:
    body = {"state": "solved", "release": arguments.release}
    return _change("solved", desk, arguments, program, body)


def _ignore(desk: Desk, arguments: argparse.Namespace, program: str) -> int:
    if arguments.span is not None and arguments.until is not None:
        raise CommandError("--for and --until say the same; give one of them")
    until = arguments.until
    if arguments.span is not None:
        until = (datetime.now(UTC) + arguments.span).strftime("%Y-%m-%dT%H:%M:%SZ")
    body = {"state": "ignored", "until": until, "occurrences": arguments.occurrences}
    return _change("ignored", desk, arguments, program, body)


def _reopen(desk: Desk, arguments: argparse.Namespace, program: str) -> int:
    return _change("reopened", desk, arguments, program, {"state": "new"})


def _assign(desk: Desk, arguments: argparse.Namespace, program: str) -> int:
    return _change("assigned", desk, arguments, program, {"assignee": arguments.to})


_CHANGES: Final = {"solve": _solve, "ignore": _ignore, "reopen": _reopen, "assign": _assign}


def _delete(desk: Desk, arguments: argparse.Namespace, program: str) -> int:
    if not arguments.yes:
        raise CommandError("tickets are deleted for good, with all that belongs to them: add --yes")
    return _change("deleted", desk, arguments, program, None)


def _comment(desk: Desk, arguments: argparse.Namespace, program: str) -> int:
    text = sys.stdin.read() if arguments.text == "-" else arguments.text
    found = desk.comment(arguments.id, text.rstrip("\n"))
    if found is None:
        return _complain(program, [arguments.id])
    show(found, lambda _: [f"commented on {arguments.id}"], as_json=arguments.json)
    return 0


def _merge(desk: Desk, arguments: argparse.Namespace, program: str) -> int:
    found = desk.merge(arguments.into, arguments.ids)
    if found is None:
        return _complain(program, [arguments.into])
    names = ", ".join(map(str, arguments.ids))
    show(found, lambda _: [f"merged {names} into {arguments.into}"], as_json=arguments.json)
    return 0


def _split(desk: Desk, arguments: argparse.Namespace, program: str) -> int:
    found = desk.split(arguments.id, arguments.occurrence)
    if found is None:
        return _complain(program, [arguments.id])
    show(found, lambda new: [f"split {new['id']} off {arguments.id}"], as_json=arguments.json)
    return 0


# -- tokens


def _run_token(argv: Sequence[str], program: str) -> int:
    parser = _Parser(prog=program, allow_abbrev=False)
    words = parser.add_subparsers(dest="word", required=True, metavar="WORD", parser_class=_Parser)
    add = words.add_parser("add", help="make a token, and print it: it is not to be seen again")
    add.add_argument("name", metavar="NAME", help="whose it is, for history")
    add.add_argument("--read-only", action="store_true", help="it changes nothing")
    listing = words.add_parser("list", help="list names and scopes")
    listing.add_argument("--json", action="store_true", help="one JSON document")
    remove = words.add_parser("remove", help="have it let in nobody any more")
    remove.add_argument("name", metavar="NAME", help="as it was made")
    for each in (add, listing, remove):
        _add_place(each, with_api=False)
    arguments = parser.parse_args(argv)
    if arguments.store is None:
        raise CommandError("tokens of which store? give --store, or set SPROCKETS_TICKETS_STORE")
    if arguments.word == "add":
        text = add_token(arguments.store, arguments.name, is_read_only=arguments.read_only)
        print(text)  # noqa: T201  # what was asked for
        return 0
    if arguments.word == "remove":
        if not remove_token(arguments.store, arguments.name):
            complain(program, LookupError(f"there is no token {arguments.name!r}"))
            return NOTHING
        return 0
    tokens = list_tokens(arguments.store)
    if arguments.json:
        print(json.dumps(tokens))  # noqa: T201  # what was asked for
    else:
        for token in tokens:
            print(f"{token['name']}  {','.join(token['scopes'])}")  # noqa: T201  # likewise
    return 0 if tokens else NOTHING
