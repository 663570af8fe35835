"""Set-ups that are ready made: a call each for what most programs want of their logs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from sprockets.logbook._context import StackedObject
from sprockets.logbook._levels import WARNING, Level, lookup_level
from sprockets.logbook._setups._bundle import ReadySetup, bundle
from sprockets.logbook._typing import TYPE_CHECKING, Any, Final
from sprockets.logbook.handlers import (
    FileHandler,
    Handler,
    NullHandler,
    StderrHandler,
    StreamHandler,
)

if TYPE_CHECKING:
    from sprockets.logbook.delivery import Spool
    from sprockets.logbook.handlers._smtp import Secure
    from sprockets.logbook.ticketing import Tracker

LINE_FIELDS: Final = (
    *("time", "level", "level_name", "channel", "message", "extra"),
    *("filename", "lineno", "func_name", "process", "thread_name"),
    *("exception_name", "exception_message", "formatted_exception"),
)
"""The fields of a record's JSON that somebody reads in a line."""
_HOUR: Final = 3600.0
_MONGODB: Final = ("mongodb://", "mongodb+srv://")


def all_of(*setups: StackedObject) -> ReadySetup:
    """Return one set-up of several, as ``all_of(console(), tickets(uri), mail(address))``.

    Their order does not matter for those of this module: what writes lines comes below what counts
    and alerts, and each gets every record that it is interested in.  Handlers, processors and flags
    of your own may be among them; they are bound upon the others, and a handler that does not
    bubble keeps its records from those.

    Args:
        *setups: None of them bound; the handlers are those of the result from now on.

    Raises:
        TypeError: There is something among them that cannot be bound.
        ValueError: There is none, or one that is bound or closed.
    """
    return bundle(setups)


def console(
    level: Level = "INFO",
    *,
    stream: Any = None,
    color: bool | None = None,
    environ: Mapping[str, str] | None = None,
) -> ReadySetup:
    """Return a set-up that writes lines for people: coloured on a terminal, plain elsewhere.

    Args:
        level: Least level that is written, a number or a name.
        stream: A text stream; standard error, as it is at each record, unless given.
        color: Whether lines are coloured; the terminal and *environ* decide unless given.
        environ: Where ``NO_COLOR``, ``FORCE_COLOR``, ``CLICOLOR``, ``CLICOLOR_FORCE`` and ``TERM``
            are looked up; the environment of the process unless given.

    Raises:
        LookupError: There is no such level.
        TypeError: *stream* is nothing to write to.
    """
    from sprockets.logbook._console import ConsoleFormatter, should_color

    handler: Handler
    if stream is None:
        handler = StderrHandler(level)
        stream = sys.stderr
    else:
        handler = StreamHandler(_checked_stream("console", stream), level)
    if color is None:
        color = should_color(stream, os.environ if environ is None else environ)
    handler.formatter = ConsoleFormatter(color)
    return ReadySetup({"console": handler})


def json_lines(
    to: Any = None, level: Level = "INFO", *, fields: Sequence[str] = LINE_FIELDS
) -> ReadySetup:
    """Return a set-up that writes each record as a JSON object on a line of its own.

    The names are those that records have everywhere: in queues, tickets, and other files.  A line
    is written before the log call returns.  That is quick, and nothing is lost in a crash; but if
    whoever reads standard output stops reading, the next call waits for the pipe.  Where that may
    happen write to a file, or wrap a handler of your own in a
    `ThreadedWrapperHandler <sprockets.logbook.queues.ThreadedWrapperHandler>`.

    Args:
        to: A stream, or the path of a file, which is appended to and may be moved away by others if
            they tell the program, as ``sprockets run`` is by SIGUSR1; standard output as it is now
            unless given.
        level: Least level that is written, a number or a name.
        fields: Which fields of a record, in which order.

    Raises:
        LookupError: There is no such level.
        OSError: The file cannot be opened.
        TypeError: *to* is nothing to write to.
        ValueError: There is no such field.
    """
    from sprockets.logbook._json import JSONFormatter

    formatter = JSONFormatter(fields)
    handler: Handler
    if isinstance(to, (str, os.PathLike)):
        path = os.path.abspath(to)
        if not os.path.isdir(os.path.dirname(path)):
            raise FileNotFoundError(
                f"there is no directory {os.path.dirname(path)!r} for the log file"
                f" {os.path.basename(path)!r}; make it first"
            )
        handler = FileHandler(path, level=level)
    elif to is None and sys.stdout is None:
        # As in a windowed application: there is nothing to write to.
        handler = Handler(level)
    else:
        handler = StreamHandler(_checked_stream("json_lines", sys.stdout if to is None else to))
        handler.level = lookup_level(level)
    handler.formatter = formatter
    return ReadySetup({"json": handler})


def mail(
    recipients: str | Sequence[str],
    level: Level = "ERROR",
    *,
    at_most_per_hour: int = 1,
    in_all_per_hour: int | None = 20,
    server: str | tuple[str, int] | None = None,
    credentials: Sequence[str] | Mapping[str, str] | None = None,
    secure: Secure = None,
    starttls: bool = True,
    sender: str | None = None,
    subject: str | None = None,
    **options: Any,
) -> ReadySetup:
    """Return a set-up that mails what is bad, but seldom; records go on to whatever is below.

    What is logged again and again from the same line of code is mailed *at_most_per_hour*, and the
    next mail says how many there were in between.  A log call never waits for the mail server.

    Args:
        recipients: Who gets the mails.
        level: Least level that is mailed, a number or a name.
        at_most_per_hour: Mails an hour of each logging call in the code.
        in_all_per_hour: Mails an hour of all together; what exceeds it becomes one digest with the
            exact numbers.  ``None`` is no limit.
        server: Host, or host and port, as ``"mail.example.org:587"``; this machine unless given.
            The default port is 25, or with *secure* 587, or 465 without *starttls*.
        credentials: User name and password.
        secure: ``True`` for TLS with a server whose certificate is verified, or a context of your
            own.
        starttls: Begin in plain text and change to TLS; ``False`` begins with TLS.
        sender: Address of the sender; the first recipient's unless given.
        subject: Subject of the mails.
        **options: More for `MailHandler <sprockets.logbook.MailHandler>`.

    Raises:
        LookupError: There is no such level.
        TypeError: An option that there is not.
        ValueError: An address is none, or a number is less than 1.
    """
    from sprockets.logbook.handlers import MailHandler

    addresses = [recipients] if isinstance(recipients, str) else list(recipients)
    for address in (*addresses, *([] if sender is None else [sender])):
        if "@" not in str(address).strip("@ "):
            raise ValueError(f"expected an address such as me@example.org, got {address!r}")
    if not addresses:
        raise ValueError("a mail needs a recipient, as in mail('me@example.org')")
    for name, number in (
        ("at_most_per_hour", at_most_per_hour),
        ("in_all_per_hour", in_all_per_hour),
    ):
        if number is not None and number < 1:
            raise ValueError(f"{name} must be 1 or more, got {number!r}")
    handler = MailHandler(
        addresses[0] if sender is None else sender,
        addresses,
        subject,
        _address(server),
        credentials,
        secure,
        at_most_per_hour,
        _HOUR,
        level,
        bubble=True,
        starttls=starttls,
        mail_limit=in_all_per_hour,
        **options,
    )
    return ReadySetup(others=[handler], names={"mail": handler})


def tickets(
    uri: str,
    level: Level = "ERROR",
    *,
    app: str = "generic",
    leading_level: Level = "INFO",
    release: str | None = None,
    environment: str | None = None,
    trackers: Sequence[Tracker] = (),
    spool: Spool | None = None,
    **options: Any,
) -> ReadySetup:
    """Return a set-up that counts what is bad as tickets; records go on to whatever is below.

    What comes of the same bug is one ticket, however often it happens, with traceback, what the
    context said, and what led up to it in the same request.  Look at them with ``sprockets tickets
    URI``, in a browser.

    A log call never waits for the store, and one that is away keeps nobody from starting: what
    cannot be stored waits.

    Args:
        uri: Of the store: of a database, as ``"sqlite:///tickets.sqlite"``, or of MongoDB.
        level: Least level that is counted, a number or a name.
        app: Names the program, for stores that several share.
        leading_level: Least level of what is kept of a request, to go with what is counted.
        release: Version of the program.
        environment: Where it runs, as in ``"production"``.
        trackers: Where tickets are filed as issues.
        spool: Where to keep what cannot be stored, beyond the end of the process.
        **options: More for `TicketingHandler <sprockets.logbook.ticketing.TicketingHandler>`.

    Raises:
        LookupError: There is no such level.
        MissingDependency: What the store takes is not installed.
        ValueError: That is no URI of a store.
    """
    from sprockets.logbook.ticketing import MongoDBBackend, SQLAlchemyBackend
    from sprockets.logbook.ticketing._deferred import DeferredBackend
    from sprockets.logbook.ticketing._handlers import TicketingHandler
    from sprockets.logbook.ticketing._leading import LeadingRecordsHandler

    if not isinstance(uri, str):
        raise TypeError(f"expected the URI of a store, as sqlite:///tickets.sqlite, got {uri!r}")
    kind: Any = MongoDBBackend
    if not uri.startswith(_MONGODB):
        from sprockets.logbook.ticketing._sql_database import url_of

        kind = SQLAlchemyBackend
        url_of(uri)

    def open_store(**given: Any) -> Any:
        # What its libraries say of themselves is not what the program's console is for.
        with NullHandler(filter=lambda record, _: record.level < WARNING):
            return kind(**given)

    handler = TicketingHandler(
        uri,
        app,
        level,
        backend=lambda **given: DeferredBackend(open_store, **given),  # type: ignore[arg-type]  # makes one
        grouping=options.pop("grouping", "fingerprint"),
        release=release,
        environment=environment,
        trackers=trackers,
        spool=spool,
        **options,
    )
    leading = LeadingRecordsHandler(handler, leading_level, bubble=True)
    return ReadySetup(others=[leading], names={"tickets": leading})


def _address(server: str | tuple[str, int] | None) -> str | tuple[str, int] | None:
    """Return host, or host and port, as *server* says in one text."""
    if not isinstance(server, str) or (server.count(":") != 1 and server[:1] != "["):
        return server
    host, _, port = server.rpartition(":")
    if server.endswith("]"):
        host, port = server, ""
    if not host or (port and not port.isdecimal()) or server.endswith(":"):
        raise ValueError(f"expected a mail server as mail.example.org:587, got {server!r}")
    host = host.strip("[]")
    return (host, int(port)) if port else host


def _checked_stream(function: str, stream: Any) -> Any:
    if not callable(getattr(stream, "write", None)):
        raise TypeError(f"{function}() writes to a stream or a file, got {stream!r}")
    return stream
