"""The ``httprun`` command of setuptools: serves the application that its options name."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, ClassVar, Final

from setuptools import Command, errors  # type: ignore[import-untyped]  # it ships no types

from sprockets import http
from sprockets.http._loading import (
    CommandError,
    Environment,
    load_callable,
    look_here_first,
    parse_reference,
)
from sprockets.http._logging import UNSET

# Under whatever name setuptools keeps it: its own list of errors leaves this one out.
_ArgError: Final[type[Exception]] = getattr(
    sys.modules[errors.BaseError.__module__], "DistutilsArgError", errors.OptionError
)


class RunCommand(Command):  # type: ignore[misc]  # of no known type, see above
    """Serves an application: ``python setup.py httprun -a package.module:callable``.

    It is there for projects that have it in their scripts; ``python -m sprockets.http`` does the
    same, and more, without setuptools.
    """

    description: ClassVar[str] = "run a Tornado application"
    user_options: ClassVar[Any] = [
        ("application=", "a", "application callable, as package.module:callable"),
        ("env-file=", "e", "file with environment definitions"),
        ("port=", "p", "port to listen on, whatever the environment says"),
        ("dry-run", "n", "find the callable, and do not run it"),
    ]
    boolean_options: ClassVar[list[str]] = ["dry-run"]

    application: str | None
    env_file: str | None
    port: str | int | None

    def initialize_options(self) -> None:
        """Forget all options."""
        self.application = None
        self.env_file = None
        self.port = None
        self.dry_run: Any = None

    def finalize_options(self) -> None:
        """See whether the options make sense.

        Raises:
            DistutilsArgError: There is no application, or no such environment file.
        """
        if self.dry_run is None:
            # Setuptools up to 80 have an option for all commands.
            self.dry_run = getattr(self.distribution, "dry_run", False)
        if not self.application:
            raise _ArgError("application is required, as in --application=package.module:callable")
        if self.env_file and not os.path.isfile(self.env_file):
            raise _ArgError(f"environment file {self.env_file!r} does not exist")

    def run(self) -> None:
        """Read the environment file, import the callable, and serve what it makes.

        Raises:
            DistutilsArgError: The callable cannot be found.
        """
        overrides = {} if self.port is None else {"PORT": str(self.port)}
        try:
            Environment([self.env_file] if self.env_file else [], overrides).apply()
            reference = parse_reference(self.application or "")
            look_here_first()
            found = load_callable(reference)
        except CommandError as error:
            raise _ArgError(str(error)) from error
        if self.dry_run:
            self.announce(f"would run {reference}: {found!r}", logging.INFO)
            return
        http.run(found, log_config=UNSET)
