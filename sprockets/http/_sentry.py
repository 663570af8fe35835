"""Sentry: told of the service if its SDK is installed, and left alone if it knows already."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

from sprockets.logbook import Logger

_log = Logger("sprockets.http")
_WANTED: Final = ("SENTRY_DSN", "SENTRY_SPOTLIGHT")


def initialise(settings: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> bool:
    """Call ``sentry_sdk.init`` with what *settings* say of the service; return whether it was.

    It is not where the SDK is not installed; where nothing says that Sentry is wanted, neither
    ``sentry_sdk_init`` nor a variable of Sentry's own (its integrations double what a request
    costs); and where the program has a client already and has not set ``sentry_sdk_init``.

    Args:
        settings: Of the application: ``version`` and ``environment`` of the service, and
            ``sentry_sdk_init``, a dict of arguments that win over ours.
        environ: Where the SDK looks for ``SENTRY_DSN``; the environment of the process.
    """
    own = settings.get("sentry_sdk_init")
    environ = os.environ if environ is None else environ
    if own is None and not any(environ.get(name) for name in _WANTED):
        return False
    try:
        sentry_sdk = import_module("sentry_sdk")
    except ImportError:
        return False
    if own is None and sentry_sdk.get_client().is_active():
        return False
    arguments: dict[str, Any] = {
        "release": settings.get("version"),
        "environment": settings.get("environment"),
    }
    arguments.update(own or {})
    if "integrations" not in arguments:
        arguments["integrations"] = _default_integrations()
    sentry_sdk.init(**arguments)
    return True


def _default_integrations() -> list[Any]:
    integrations = []
    for make in (_logging_integration, _tornado_integration):
        try:
            integrations.append(make())
        except Exception as error:  # noqa: BLE001 - a service without it is better than none
            name = make.__name__.strip("_").partition("_")[0]
            _log.warning("sentry does without its {} integration: {!r}", name, error)
    return integrations


def _logging_integration() -> Any:
    # An error that was answered is told by its record; what is critical is an event.
    make: Callable[..., Any] = import_module("sentry_sdk.integrations.logging").LoggingIntegration
    return make(event_level=logging.CRITICAL)


def _tornado_integration() -> Any:
    return import_module("sentry_sdk.integrations.tornado").TornadoIntegration()
