"""Tickets: the web frontend over what services counted."""

__all__: list[str] = []
