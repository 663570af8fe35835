"""The built-in logging set-ups and their formatters, and what is kept out of the access log."""

from sprockets.http._access_log import add_secret_names, scrub_headers, scrub_uri
from sprockets.http._logging import StructuredFormatter, make_setup
from sprockets.logbook._console import ConsoleFormatter

__all__ = [
    "ConsoleFormatter",
    "StructuredFormatter",
    "add_secret_names",
    "make_setup",
    "scrub_headers",
    "scrub_uri",
]
