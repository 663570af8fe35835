"""Requests: run a Tornado application as a service that can be asked what happened."""

__all__: list[str] = []
