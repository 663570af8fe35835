"""Bridges: stdlib logging and warnings into the stacks, and the stacks into stdlib logging."""

from sprockets.logbook.compat._logging import (
    LoggingCompatRecord,
    LoggingHandler,
    RedirectLoggingHandler,
    redirect_logging,
    redirected_logging,
)
from sprockets.logbook.compat._warnings import redirect_warnings, redirected_warnings

__all__ = [
    "LoggingCompatRecord",
    "LoggingHandler",
    "RedirectLoggingHandler",
    "redirect_logging",
    "redirect_warnings",
    "redirected_logging",
    "redirected_warnings",
]
