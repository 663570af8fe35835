"""Tickets: the web frontend over what services counted."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sprockets.tickets._auth import TrustedHeader, User
    from sprockets.tickets._auth_openid import OpenIDConnect
    from sprockets.tickets._token_file import TokenFile
    from sprockets.tickets._tokens import Token, make_token
    from sprockets.tickets.app import handlers, make_app

# Imported when they are first asked for: a program that makes a token serves no pages.
_LAZY: Final = {
    "OpenIDConnect": "_auth_openid",
    "Token": "_tokens",
    "TokenFile": "_token_file",
    "TrustedHeader": "_auth",
    "User": "_auth",
    "handlers": "app",
    "make_app": "app",
    "make_token": "_tokens",
}

__all__ = [
    "OpenIDConnect",
    "Token",
    "TokenFile",
    "TrustedHeader",
    "User",
    "handlers",
    "make_app",
    "make_token",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        found = getattr(import_module(f"sprockets.tickets.{_LAZY[name]}"), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
