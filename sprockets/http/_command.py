"""The command: serves the application that its arguments name.

What the arguments mean for the process is decided here; the serving is that of ``run``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

import tornado

from sprockets import http
from sprockets._support.optional import MissingDependency, optional
from sprockets.http import _collecting, _reload, _settings
from sprockets.http._cpus import count_cpus
from sprockets.http._loading import (
    CommandError,
    Environment,
    Reference,
    Service,
    complain,
    describe_kind,
    find_top,
    load_logging,
    look_here_first,
    make_application,
    parse_reference,
)
from sprockets.http._logging import LOG_FORMATS, LogSetup, parse_log_format
from sprockets.http._settings import FIELDS, Options, variable_of
from sprockets.http._sockets import make_ssl_context

_METAVARS: Final = {
    "address": "HOST",
    "log_format": "FORMAT",
    "pid_file": "PATH",
    "port": "PORT",
    "unix_socket": "PATH",
    "unix_socket_mode": "MODE",
}
_SHORT: Final = {"number_of_procs": ("--workers", "-w"), "port": ("-p",)}


# -- the arguments


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message}; see {self.prog} --help")


def make_parser(program: str) -> argparse.ArgumentParser:
    """Return the parser for the arguments of the command that is called *program*."""
    parser = _Parser(
        prog=program,
        usage="%(prog)s [options] MODULE:FACTORY",
        description="Serve a Tornado application until a signal says stop.",
        epilog="An option beats its variable, and an environment file beats the environment.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "reference",
        nargs="?",
        metavar="MODULE:FACTORY",
        help="what makes the application: a function or class that takes keyword arguments",
    )
    add("--application", "-a", metavar="MODULE:FACTORY", help="another way to say the same")
    add(
        "--env-file",
        "-e",
        action="append",
        default=[],
        metavar="PATH",
        help="environment definitions; may be repeated, the last one wins",
    )
    add(
        "--set",
        action="append",
        default=[],
        type=_parse_setting,
        dest="own",
        metavar="KEY=VALUE",
        help="a keyword argument of the factory; the value is JSON, or else text",
    )
    add(
        "--log-config",
        metavar="MODULE:NAME",
        help="what workers log with: a handler, a function that returns one, or a dict",
    )
    add("--reload", action="store_true", help="one process that starts again when a file changes")
    add(
        "--check", action="store_true", help="make the application once, say how it would be served"
    )
    add("--version", action=_Version, help="show its version, Tornado's and Python's, and exit")
    options = parser.add_argument_group("options of the service, with their variables")
    for name, each in FIELDS.items():
        if name != "ssl_options":
            _add_option(options, name, each)
    options.add_argument("--certfile", metavar="PATH", help="serve HTTPS with this certificate")
    options.add_argument("--keyfile", metavar="PATH", help="its key, if it is in another file")
    return parser


def _add_option(group: Any, name: str, each: dataclasses.Field[Any]) -> None:
    text = str(each.metadata["help"]).replace("%", "%%")
    help = f"{text} ({variable_of(name)})"
    flags = [option_of(name), *_SHORT.get(name, ())]
    if each.type == "bool":
        group.add_argument(*flags, action=argparse.BooleanOptionalAction, default=None, help=help)
        return
    convert = parse_log_format if name == "log_format" else each.metadata["convert"]
    metavar = _METAVARS.get(name) or ("SECONDS" if each.type == "float" else "N")
    group.add_argument(*flags, type=_in_words(convert), metavar=metavar, help=help)


def option_of(name: str) -> str:
    """Return how the option *name* is written on the command line."""
    return f"--{name.replace('_', '-')}"


def _in_words(convert: Callable[[Any], Any]) -> Callable[[str], Any]:
    """Return a converter whose errors argparse shows as they are."""

    def converted(text: str) -> Any:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return converted


def _parse_setting(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    key = key.strip()
    if not sign or not key:
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, got {text!r}")
    if key in FIELDS:
        option = "--certfile and --keyfile" if key == "ssl_options" else option_of(key)
        raise argparse.ArgumentTypeError(f"{key!r} has an option of its own: {option}")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


class _Version(argparse.Action):
    """Tells the versions, which are looked up only then."""

    def __init__(self, **options: Any) -> None:
        super().__init__(nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(_describe_version())  # noqa: T201  # what was asked for
        parser.exit()


def _describe_version() -> str:
    from importlib import metadata

    try:
        installed = metadata.version("sprockets.http")
    except metadata.PackageNotFoundError:
        # The sources are used as they are, by their path.
        installed = http.__version__
    return (
        f"sprockets.http {installed}"
        f" (Tornado {tornado.version}, Python {platform.python_version()})"
    )


# -- what they make the process do


def main(argv: Sequence[str] | None = None, *, program: str = "python -m sprockets.http") -> int:
    """Do what the arguments say, and return the exit status.

    Args:
        argv: The arguments; those of the process unless given.
        program: How the command is called.
    """
    try:
        return _main(make_parser(program).parse_args(argv), program)
    except CommandError as error:
        complain(program, error)
        return error.status
    except SystemExit as end:
        if isinstance(end.code, str):
            complain(program, end)
            return 1
        return end.code or 0
    except KeyboardInterrupt:
        return 130


def _main(arguments: argparse.Namespace, program: str) -> int:
    factory = _find_factory(arguments)
    log_config = None
    if arguments.log_config is not None:
        log_config = parse_reference(arguments.log_config)
    overrides = {} if arguments.port is None else {"PORT": str(arguments.port)}
    environment = Environment(arguments.env_file, overrides)
    look_here_first()
    environment.apply_quietly()
    settings = _find_settings(arguments)
    if arguments.reload and not any(("debug" in settings, os.environ.get("DEBUG", "").strip())):
        settings["debug"] = True
    options, keywords = _resolve(settings)
    for reference in (factory, log_config):
        if reference is not None:
            find_top(reference)
    if log_config is not None and options.collector is not None:
        raise CommandError(
            "--log-config and --collector both say where records go; give one of them"
        )
    service = Service(factory, environment, log_config, program)
    if arguments.check:
        _check(service, log_config, settings, options, keywords)
        return 0
    # Serving anew on changes takes one process, which needs no other to write what it logs.
    given = service.log_config
    if arguments.reload:
        _, given, options = _collecting.prepare(None, given, options)
    logs = LogSetup(
        given,
        debug=options.debug,
        log_format=options.log_format,
        log_actions=options.log_actions,
    )
    if environment.paths:
        # Once more, now that it is known how records are to be written.
        logs.bind_in_parent()
        environment.apply()
        logs.unbind()
    if arguments.reload:
        watched = [os.path.abspath(path) for path in environment.paths]
        return _reload.serve(lambda: service.create(**keywords), options, logs, watched)
    http.run(service.create, settings, service.log_config)
    return 0


def _find_factory(arguments: argparse.Namespace) -> Reference:
    given = {each for each in (arguments.reference, arguments.application) if each is not None}
    if not given:
        raise CommandError(
            "which application? name the function that makes it, as in package.module:make_app"
        )
    if len(given) > 1:
        raise CommandError(f"expected one application, got {' and '.join(sorted(given))}")
    return parse_reference(given.pop())


def _find_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the command line says, as ``run`` wants it."""
    settings: dict[str, Any] = dict(arguments.own)
    for name in FIELDS:
        value = getattr(arguments, name, None)
        if value is not None:
            settings[name] = value
    if arguments.certfile is not None:
        settings["ssl_options"] = {"certfile": arguments.certfile}
        if arguments.keyfile is not None:
            settings["ssl_options"]["keyfile"] = arguments.keyfile
    elif arguments.keyfile is not None:
        raise CommandError("--keyfile needs --certfile")
    return settings


def _resolve(settings: Mapping[str, Any]) -> tuple[Options, dict[str, Any]]:
    try:
        options, keywords = _settings.resolve(settings, os.environ)
        if options.log_format is not None:
            parse_log_format(options.log_format, variable_of("log_format"))
        if options.uvloop:
            optional("uvloop", extra="uvloop", needed_by=option_of("uvloop"))
    except (ValueError, MissingDependency) as error:
        raise CommandError(str(error)) from None
    try:
        make_ssl_context(options.ssl_options)
    except ValueError as error:
        raise CommandError(f"--certfile: {str(error).removeprefix('ssl_options: ')}") from None
    return options, keywords


def _check(
    service: Service,
    log_config: Reference | None,
    settings: Mapping[str, Any],
    options: Options,
    keywords: Mapping[str, Any],
) -> None:
    """Make the application, and print how it would be served."""
    made = make_application(service.factory, keywords)
    if log_config is not None:
        load_logging(log_config)
    count = 1 if options.debug else options.number_of_procs
    count = count if count > 0 else count_cpus()
    where = f"port {options.port or '(any that is free)'}"
    if options.unix_socket is not None:
        where = f"unix socket {options.unix_socket}"
    elif options.address is not None:
        where = f"{where} of {options.address}"
    logs = f"with {log_config}"
    if log_config is None:
        logs = f"as {options.log_format or ('console' if options.debug else LOG_FORMATS[0])}"
    lines = [
        f"{service.factory} makes {describe_kind(made)}",
        f"to be served on {where} by {count} process{'es' * (count > 1)}, logging {logs}",
    ]
    for name in FIELDS:
        if name in settings:
            lines.append(f"  {name} = {_shown(getattr(options, name))} (from the command line)")
        elif os.environ.get(variable_of(name), "").strip() and name != "ssl_options":
            lines.append(f"  {name} = {_shown(getattr(options, name))} (from {variable_of(name)})")
    own = sorted(keywords.keys() - FIELDS.keys())
    if own:
        # Their values may be secrets.
        lines.append(f"  and for the application: {', '.join(own)}")
    print("\n".join(lines))  # noqa: T201  # what the command was asked for


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {text}" for key, text in value.items())
    return str(value)
