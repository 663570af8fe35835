"""The request at hand: who is being answered, from anywhere in the code that answers."""

from __future__ import annotations

from sprockets.http._request_context import Exchange, current_request, request_id_of

__all__ = ["Exchange", "current_request", "current_request_id", "request_id_of"]


def current_request_id() -> str | None:
    """Return the id of the request in whose context this is called, or None outside of any."""
    request = current_request()
    return None if request is None else request.request_id
