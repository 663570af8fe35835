"""Tokens of a store, made and removed from a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sprockets.commands._tickets_serving import open_or_complain, resolve_store
from sprockets.http._loading import CommandError
from sprockets.logbook.ticketing._backend import BackendBase
from sprockets.tickets._tokens import SCOPES, check_name, digest_of, make_token


@contextmanager
def _opened(url: str) -> Iterator[BackendBase]:
    store = open_or_complain(resolve_store(url))
    try:
        yield store
    finally:
        store.close()


def add_token(url: str, name: str, *, is_read_only: bool = False) -> str:
    """Return a new token, of which the store has the digest.

    Raises:
        CommandError: The name is taken, or none.
    """
    try:
        check_name(name)
    except ValueError as error:
        raise CommandError(str(error)) from None
    with _opened(url) as store:
        if any(name == other for other, _ in store.get_tokens()):
            raise CommandError(
                f"there is a token {name!r} already; remove it first, or name another"
            )
        text = make_token()
        store.add_token(digest_of(text), name, ["read"] if is_read_only else SCOPES)
    return text


def list_tokens(url: str) -> list[dict[str, Any]]:
    """Return names and scopes of all tokens."""
    with _opened(url) as store:
        return [{"name": name, "scopes": sorted(scopes)} for name, scopes in store.get_tokens()]


def remove_token(url: str, name: str) -> bool:
    """Remove a token; return whether there was one."""
    with _opened(url) as store:
        return store.remove_token(name)
