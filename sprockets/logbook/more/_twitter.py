"""Twitter, as far as it is left: short texts, and a handler for services that take them."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final

from sprockets.logbook import _caller
from sprockets.logbook._format import StringFormatter, StringFormatterHandlerMixin
from sprockets.logbook._layout import layout_of
from sprockets.logbook._levels import NOTSET, Level
from sprockets.logbook.delivery import PartlyDelivered
from sprockets.logbook.errors import ServiceGoneError
from sprockets.logbook.handlers._base import Filter
from sprockets.logbook.handlers._remote import RemoteHandler

if TYPE_CHECKING:
    from sprockets.logbook.handlers._base import Handler
    from sprockets.logbook.record import LogRecord

_caller.register(__file__)

TWITTER_FORMAT_STRING: Final = "[{record.channel}] {record.level_name}: {record.message}"
"""Layout of a short text."""
TWITTER_ACCESS_TOKEN_URL: Final = "https://twitter.com/oauth/access_token"  # noqa: S105 - no secret
"""Where a password was once exchanged for a token; nobody answers there any more."""
NEW_TWEET_URL: Final = "https://api.twitter.com/1/statuses/update.json"
"""Where texts were once sent to; nobody answers there any more."""

_GONE: Final = (
    "Twitter has ended version 1 of its API, and the login with user name and password;"
    " use sprockets.logbook.notifiers.AppriseHandler with 'mastodons://…' for Mastodon,"
    " 'bsky://…' for Bluesky or 'x://…' for X,"
    " or override tweet() in a subclass of TwitterHandler"
)
_WHITESPACE: Final = re.compile(r"(\s+)")


class TwitterFormatter(StringFormatter):
    """Formats records as short texts, in which no word is cut.

    Line breaks stay; of an exception there is class and message, on a line of its own.  What does
    not fit into :attr:`max_length` is left out from the first word on that does not, with ``…`` in
    its place if there is room.

    Args:
        format_string: The layout.
    """

    max_length: int = 140
    """Characters at most; to be overridden: X takes 280, Bluesky 300, Mastodon 500."""

    def __call__(self, record: LogRecord, handler: Handler) -> str:
        """Return the text of *record*, in at most :attr:`max_length` characters."""
        text = super().__call__(record, handler)
        length = 0
        for piece in _WHITESPACE.split(text):
            if length + len(piece) > self.max_length:
                return text[:length] + "…" * (length < self.max_length)
            length += len(piece)
        return text

    def format_record(self, record: LogRecord, handler: Handler) -> str:
        """Return the text of *record* without its exception."""
        # A layout of one line escapes line breaks, which need not be: nobody reads this by lines.
        layout = layout_of(f"{self.format_string}\n")
        return layout.render_record(record, handler)[:-1]

    def format_exception(self, record: LogRecord) -> str | None:
        """Return class and message of the record's exception, ``None`` if it has none."""
        name = record.exception_shortname
        return None if name is None else f"{name}: {record.exception_message}"


class TwitterHandler(RemoteHandler, StringFormatterHandlerMixin):
    """Once sent records to Twitter; now the base of handlers for services that take short texts.

    A subclass that overrides :meth:`tweet` works, and needs no library.  It is called in a thread
    of its own, so that log calls do not wait; see `RemoteHandler`.  Another :attr:`formatter_class`
    sets another length.

    .. deprecated:: 3.0
       Use `sprockets.logbook.notifiers.AppriseHandler`.

    Args:
        consumer_key: Key of the application.
        consumer_secret: Its secret.
        username: Name of the user.
        password: The password.
        level: Least level it is interested in, a number or a name.
        format_string: Layout of a text; ``None`` means :attr:`default_format_string`.
        filter: Called with record and handler; the handler takes what it answers true for.
        bubble: Whether records go on to the next handler.
        **options: Of `RemoteHandler`.

    Raises:
        ServiceGoneError: :meth:`tweet` is not overridden.
    """

    default_format_string: ClassVar[str] = TWITTER_FORMAT_STRING
    formatter_class: ClassVar[Callable[[str], Any]] = TwitterFormatter

    consumer_key: str
    consumer_secret: str
    username: str
    password: str

    def __init__(
        self,
        consumer_key: str,
        consumer_secret: str,
        username: str,
        password: str,
        level: Level = NOTSET,
        format_string: str | None = None,
        filter: Filter | None = None,
        bubble: bool = False,
        **options: Any,
    ) -> None:
        warnings.warn("TwitterHandler is deprecated", DeprecationWarning, stacklevel=2)
        if type(self).tweet is TwitterHandler.tweet:
            raise ServiceGoneError(f"TwitterHandler cannot work: {_GONE}")
        RemoteHandler.__init__(self, level, filter, bubble, **{"batch_size": 1, **options})
        StringFormatterHandlerMixin.__init__(self, format_string)
        self.consumer_key = consumer_key
        self.consumer_secret = consumer_secret
        self.username = username
        self.password = password
        self.ready(TwitterHandler)

    def get_oauth_token(self) -> Any:
        """Exchange the password for a token.

        Raises:
            ServiceGoneError: Unless a subclass can.
        """
        raise ServiceGoneError(f"there is no token to be had: {_GONE}")

    def make_client(self) -> Any:
        """Return a client that is logged in.

        Raises:
            ServiceGoneError: Unless a subclass can.
        """
        raise ServiceGoneError(f"there is no client to be made: {_GONE}")

    def tweet(self, status: str) -> bool:
        """Publish *status*, and return whether that worked; for a subclass to write.

        Called in the engine's thread, never twice at once.  Limits its own waits.  After ``False``
        it is tried again some times; an `OSError` means that nobody is there, which will pass.

        Raises:
            ServiceGoneError: Unless a subclass can.
        """
        raise ServiceGoneError(f"nothing can be published: {_GONE}")

    def encode(self, record: LogRecord) -> bytes:
        """Return the text of *record*, in UTF-8."""
        return str(self.format(record)).encode("utf-8", "replace")

    def deliver(self, items: list[Any]) -> None:
        """Publish texts.

        Raises:
            RuntimeError: :meth:`tweet` says that it did not work.
            PartlyDelivered: The first of them are published.
        """
        for index, item in enumerate(items):
            try:
                if not self.tweet(item.decode("utf-8")):
                    raise RuntimeError("tweet() returned False: the text was not published")
            except Exception as error:
                if index:
                    raise PartlyDelivered(index) from error
                raise
