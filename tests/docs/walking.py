"""Follows a page of the documentation as its reader would: writes its files, types its commands.

A page is read from top to bottom.  What counts are

* ``code-block:: python`` with a caption, a file of that name,
* ``code-block:: console``, commands after ``$``, with what they answer,
* ``code-block:: text``, what the service says meanwhile,
* *Ctrl-C* in the text, which stops the service, and
* a URL in the text, which is opened; the bullets after it begin with what is seen there.

A line ``...`` in what is shown stands for any number of lines.
"""

import html
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import dropwhile, takewhile
from pathlib import Path
from time import monotonic

from packaging.requirements import Requirement

from tests.examples.test_orders import curl
from tests.examples.test_orders import normalise as normalise_log
from tests.examples.test_two_services import neutral
from tests.http.serving.driver import Service, get, wait_until

DISTRIBUTION = "sprockets.http"
LIMIT = 60.0  # seconds
PORT = "8000"  # the one that pages name

_DIRECTIVE = re.compile(r"^\.\. ([\w-]+):: ?(.*)$")
_LOOKING = re.compile("sprockets tickets (list|request|show) ")
_UNLOGGED = re.compile(r"/(alive|ready|status|metrics)\b")
_URL = re.compile(rf"http://127\.0\.0\.1:{PORT}(/[\w./-]*\w)")


@dataclass(frozen=True)
class Part:
    """A part of a page: a paragraph, which has no *kind*, or a directive with what is in it."""

    kind: str
    argument: str
    lines: Sequence[str]
    line: int

    @property
    def options(self) -> dict[str, str]:
        """What stands between colons at the beginning of a directive."""
        head = textwrap.dedent("\n".join(takewhile(str.strip, self.lines)))
        found = re.findall(r"^:([\w-]+):((?:.*\n?)(?:[ ]+.*\n?)*)", head, re.MULTILINE)
        return {name: " ".join(text.split()) for name, text in found}

    @property
    def content(self) -> str:
        """What a directive has in it, without its options."""
        lines = self.lines
        if self.options:
            lines = list(dropwhile(str.strip, lines))
        return textwrap.dedent("\n".join(lines)).strip("\n")


def parts_of(page: Path) -> Iterator[Part]:
    """Yield what a page consists of, from top to bottom."""
    lines = page.read_text("utf-8").splitlines()
    number = 0
    while number < len(lines):
        start, line = number, lines[number]
        number += 1
        if not line.strip():
            continue
        found = _DIRECTIVE.match(line)
        inside = []
        while number < len(lines) and (
            (lines[number].startswith(" ") or not lines[number].strip()) if found else lines[number]
        ):
            inside.append(lines[number])
            number += 1
        if found:
            yield Part(found[1], found[2], inside, start + 1)
        else:
            yield Part("", "", [line, *inside], start + 1)


def directives_of(page: Path) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield the directives of a page, with their arguments and options."""
    for part in parts_of(page):
        if part.kind:
            yield part.kind, part.argument, part.options


def normalise(text: str) -> str:
    """Return *text* without what differs from run to run."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?Z?", "MOMENT", text)
    text = re.sub(r"\b\d+\.\d+\.\d+(a\d+)?\b(?!\.\d)(?=[,) ])", "VERSION", text)
    text = re.sub(r'"pid": \d+', '"pid": PID', text)
    # Columns are as wide as what is in them.
    return re.sub(r"(?<=\S) {2,}", "  ", neutral(normalise_log(text)).strip("\n"))


def pattern_of(shown: str) -> re.Pattern[str]:
    """Return what finds the lines *shown* in what was really said."""
    parts = re.split(r"^\.\.\.$\n?", normalise(shown), flags=re.MULTILINE)
    return re.compile(r"(?:.*\n)*?".join(map(re.escape, parts)), re.MULTILINE)


class Walk:
    """One reader, who begins in an empty folder.

    Args:
        folder: Where.
        port: Where services listen, instead of the port that pages name.
    """

    def __init__(self, folder: Path, port: int):
        self._folder = folder
        self._port = port
        self._bin: Path | None = None
        self._service: Service | None = None
        self._log: Path | None = None
        self._said = ""
        self._answered = 0

    def follow(self, page: Path) -> None:
        """Do what a page says."""
        opened = ""
        for part in parts_of(page):
            try:
                match part.kind, part.argument:
                    case "code-block", "python" if "caption" in part.options:
                        path = self._folder / part.options["caption"]
                        path.write_text(f"{part.content}\n", "utf-8")
                    case "code-block", "console":
                        self._type(part.content)
                    case "code-block", "text":
                        self._expect_said(part.content)
                    case "", _:
                        opened = self._look(part.content, opened)
            except Exception as error:
                error.add_note(f"{page}:{part.line}")
                raise

    def close(self) -> None:
        """End what still runs, without asking."""
        if self._service is not None:
            self._service.close()

    # -- what a page shows

    def _look(self, text: str, opened: str) -> str:
        """Read a paragraph; return the path of what is open in the browser."""
        if "Ctrl-C" in text:
            self._stop()
        for path in _URL.findall(text):
            opened = path
        if text.startswith("* "):
            literals = re.findall(r"^\* ``(.*?)``", text, re.MULTILINE)
            wait_until(
                lambda: all(literal in self._page(opened) for literal in literals),
                LIMIT,
                f"{literals} on {opened}",
            )
        return opened

    def _page(self, path: str) -> str:
        """Return a page as source, and as text."""
        answer = get(self._port, path, {"Host": f"127.0.0.1:{self._port}"}, LIMIT)
        assert answer.status == 200, answer.status
        source = html.unescape(answer.body.decode())
        return source + re.sub("<[^>]*>", "", source)

    def _expect_said(self, shown: str) -> None:
        """Wait until the service has said something."""
        pattern = pattern_of(shown)
        wait_until(
            lambda: pattern.search(normalise(self._output())),
            LIMIT,
            f"{pattern.pattern}\n in \n{normalise(self._output())}",
        )

    def _type(self, text: str) -> None:
        """Type commands, and compare what they answer."""
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            command = command.replace(f":{PORT}", f":{self._port}")
            said = self._do(command)
            if not shown.strip():
                continue
            if said is None:
                self._expect_said(shown.strip("\n"))
                continue
            # All of it, from the first line to the last.
            pattern = pattern_of(shown.strip("\n"))
            deadline = monotonic() + LIMIT
            while not pattern.fullmatch(normalise(said)):
                # What was logged is in the store a moment later; a reader is not that fast.
                is_looking = _LOOKING.match(command) and monotonic() < deadline
                assert is_looking, f"{command} said:\n{said}"
                said = self._run(command)

    # -- commands

    def _do(self, command: str) -> str | None:
        """Do what a command line means; return its output, None for a service's."""
        words = shlex.split(command)
        if words[0] == "mkdir":
            (self._folder / words[1]).mkdir()
        elif words[0] == "cd":
            self._folder /= words[1]
        elif words[:3] == ["python3", "-m", "venv"]:
            self._make_environment(words[3])
        elif words[0] == ".":
            self._bin = (self._folder / words[1]).parent
            assert (self._bin / "activate").exists()
        elif words[:2] == ["pip", "install"]:
            self._install(words[2])
        elif "shop.py" in words:
            self._start(command)
            return None
        elif words[0] == "curl":
            said = curl(command)
            self._answered += not _UNLOGGED.search(command)
            # What other processes write comes in the order in which it was asked for.
            wait_until(lambda: self._output().count("tornado.access") >= self._answered, LIMIT)
            return said
        else:
            return self._run(command)
        return ""

    def _run(self, command: str) -> str:
        assert self._bin is not None
        assert (self._bin / command.split()[0]).exists(), command
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self._folder,
            env=self._environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=LIMIT,
            check=False,
        )
        return done.stdout

    def _environ(self) -> dict[str, str]:
        left_out = ("COLUMNS", "LOG_FORMAT", "SPROCKETS_", "PYTHONPATH")
        ours = {name: text for name, text in os.environ.items() if not name.startswith(left_out)}
        path = f"{self._bin}{os.pathsep}{ours.get('PATH', os.defpath)}"
        return {**ours, "PATH": path, "PORT": str(self._port), "PYTHONUTF8": "1"}

    def _make_environment(self, name: str) -> None:
        command = [sys.executable, "-m", "venv", "--without-pip", name]
        subprocess.run(command, cwd=self._folder, timeout=LIMIT, check=True)

    def _install(self, wanted: str) -> None:
        """Give the environment what is installed here, if that is what pip would install.

        No package is fetched: those of the tests are used, through a path file.
        """
        requirement = Requirement(wanted)
        there = metadata.distribution(DISTRIBUTION)
        assert requirement.name == DISTRIBUTION
        assert requirement.specifier.contains(there.version, prereleases=True)
        assert requirement.extras <= set(there.metadata.get_all("Provides-Extra") or ())
        assert self._bin is not None
        (packages,) = self._bin.parent.glob("lib/python*/site-packages")
        folders = [path for path in sys.path if path.endswith("site-packages")]
        lines = [f"import site; site.addsitedir({path!r})\n" for path in folders]
        (packages / "installed_here.pth").write_text("".join(lines))
        (script,) = (each for each in there.entry_points if each.name == "sprockets")
        path = self._bin / "sprockets"
        path.write_text(
            f"#!{self._bin / 'python'}\n"
            f"import sys\nfrom {script.module} import {script.attr}\nsys.exit({script.attr}())\n"
        )
        path.chmod(0o755)

    # -- the service

    def _start(self, command: str) -> None:
        command, _, target = command.partition(" > ")
        self._log = self._folder / target if target else None
        redirect = f" > {target}" if target else ""
        self._said, self._answered = "", 0
        self._service = Service(
            ["sh", "-c", f"exec env -u LOG_FORMAT {command}{redirect}"],
            port=self._port,
            env=self._environ(),
            cwd=self._folder,
            ready_path=None,
        )
        self._service.start()
        wait_until(lambda: "with 2 workers" in self._output(), LIMIT, "the start of the service")

    def _stop(self) -> None:
        """Stop it as a terminal does."""
        assert self._service is not None
        self._service.signal_group(signal.SIGINT)
        assert self._service.wait(LIMIT) == 0, self._service.output()
        self._service.wait_gone(LIMIT)
        self._said = self._output()
        self._service.close()
        self._service = None

    def _output(self) -> str:
        if self._service is None:
            return self._said
        if self._log is not None:
            return self._log.read_text("utf-8") if self._log.exists() else ""
        return self._service.output()
