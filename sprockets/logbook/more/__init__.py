"""More: tags, colours, templates, programs, and the services that few need.

Two names that once were here still are, and warn: ``DatabaseHandler`` is
`sprockets.logbook.ticketing.TicketingHandler`, and ``FingersCrossedHandler`` is
`sprockets.logbook.FingersCrossedHandler`.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sprockets.logbook.more._color import ColorizedStderrHandler, ColorizingStreamHandlerMixin
    from sprockets.logbook.more._couchdb import CouchDBBackend
    from sprockets.logbook.more._dedup import DedupHandler
    from sprockets.logbook.more._jinja import JinjaFormatter
    from sprockets.logbook.more._process import ExternalApplicationHandler
    from sprockets.logbook.more._raising import ExceptionHandler
    from sprockets.logbook.more._rich import RichHandler
    from sprockets.logbook.more._riemann import RiemannHandler
    from sprockets.logbook.more._slack import SlackHandler
    from sprockets.logbook.more._tagging import TaggingHandler, TaggingLogger
    from sprockets.logbook.more._twitter import (
        NEW_TWEET_URL,
        TWITTER_ACCESS_TOKEN_URL,
        TWITTER_FORMAT_STRING,
        TwitterFormatter,
        TwitterHandler,
    )

# Imported when they are first asked for: each is one idea, and few need more than one.
_LAZY: Final = {
    "ColorizedStderrHandler": "_color",
    "ColorizingStreamHandlerMixin": "_color",
    "CouchDBBackend": "_couchdb",
    "DedupHandler": "_dedup",
    "ExceptionHandler": "_raising",
    "ExternalApplicationHandler": "_process",
    "JinjaFormatter": "_jinja",
    "NEW_TWEET_URL": "_twitter",
    "RichHandler": "_rich",
    "RiemannHandler": "_riemann",
    "SlackHandler": "_slack",
    "TWITTER_ACCESS_TOKEN_URL": "_twitter",
    "TWITTER_FORMAT_STRING": "_twitter",
    "TaggingHandler": "_tagging",
    "TaggingLogger": "_tagging",
    "TwitterFormatter": "_twitter",
    "TwitterHandler": "_twitter",
}

# Old names: not in __all__, so that importing all names is silent.
_MOVED: Final = {
    "DatabaseHandler": (
        "sprockets.logbook.ticketing",
        "TicketingHandler",
        "sprockets.logbook.more.DatabaseHandler is a deprecated alias to"
        " sprockets.logbook.ticketing.TicketingHandler",
    ),
    "FingersCrossedHandler": (
        "sprockets.logbook.handlers",
        "FingersCrossedHandler",
        "FingersCrossedHandler was moved to sprockets.logbook.handlers",
    ),
}

__all__ = [
    "NEW_TWEET_URL",
    "TWITTER_ACCESS_TOKEN_URL",
    "TWITTER_FORMAT_STRING",
    "ColorizedStderrHandler",
    "ColorizingStreamHandlerMixin",
    "CouchDBBackend",
    "DedupHandler",
    "ExceptionHandler",
    "ExternalApplicationHandler",
    "JinjaFormatter",
    "RichHandler",
    "RiemannHandler",
    "SlackHandler",
    "TaggingHandler",
    "TaggingLogger",
    "TwitterFormatter",
    "TwitterHandler",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        found = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
        globals()[name] = found
        return found
    if name in _MOVED:
        # Not kept: whoever asks is told, wherever that is.
        module, target, text = _MOVED[name]
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return getattr(import_module(module), target)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
