"""A desktop without a screen: a session bus of its own, and dunst, which prints what it shows."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection

from tests.logbook.notifiers.conftest import LIMIT, wait_until
from tests.services import require

PROGRAMS = ("Xvfb", "dbus-daemon", "dunst")

# Nothing but what its tests start is on this bus.
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path={folder}/bus</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""
NOTICE = re.compile(
    r"\tsummary: '(?P<summary>.*?)'\n\tbody: '(?P<body>.*?)'\n\ticon: '(?P<icon>.*?)'\n"
    r".*?\ttimeout: (?P<timeout>-?\d+)\n\turgency: (?P<urgency>\w+)\n",
    re.DOTALL,
)


@dataclass
class Shown:
    """What dunst showed."""

    application: str
    summary: str
    body: str
    icon: str
    timeout: int
    urgency: str


class Desktop(contextlib.ExitStack):
    """Runs until it is closed.

    Args:
        markup: dunst's setting: ``full``, or ``no`` for a desktop that knows plain text only.
    """

    def __init__(self, markup="full"):
        for program in PROGRAMS:
            require(shutil.which(program), f"no {program}; install xvfb, dbus and dunst")
        super().__init__()
        try:
            self._start(markup)
        except BaseException:
            self.close()
            raise

    def _start(self, markup):
        # Not below tmp_path: a socket's path is 107 characters long at most.
        folder = Path(self.enter_context(tempfile.TemporaryDirectory(prefix="desk")))
        self.output = folder / "shown"
        self.address = f"unix:path={folder}/bus"
        (folder / "bus.conf").write_text(BUS.format(folder=folder))
        (folder / "dunstrc").write_text(f"[global]\nmarkup = {markup}\n")
        self._run("dbus-daemon", f"--config-file={folder}/bus.conf", "--nofork", "--nopidfile")
        reader, writer = os.pipe()
        screen = ("Xvfb", "-displayfd", str(writer), "-screen", "0", "320x240x8")
        self._run(*screen, "-nolisten", "tcp", pass_fds=[writer])
        os.close(writer)
        with open(reader) as numbers:
            number = numbers.readline().strip()
        assert number, "Xvfb did not start"
        wait_until((folder / "bus").exists, "the bus")
        environ = {
            **os.environ,
            "DISPLAY": f":{number}",
            "DBUS_SESSION_BUS_ADDRESS": self.address,
            "HOME": str(folder),
        }
        output = self.enter_context(self.output.open("wb"))
        config = str(folder / "dunstrc")
        self._run("dunst", "-print", "-config", config, stdout=output, env=environ)
        wait_until(self.is_there, "dunst")

    def _run(self, program, *arguments, **options):
        options = {"stdout": subprocess.DEVNULL, **options}
        process = subprocess.Popen(
            [shutil.which(program), *arguments],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **options,
        )
        self.callback(process.wait, LIMIT)
        self.callback(process.kill)

    def is_there(self):
        """Whether somebody shows notices."""
        with open_dbus_connection(self.address) as connection:
            question = message_bus.NameHasOwner("org.freedesktop.Notifications")
            return connection.send_and_get_reply(question, timeout=LIMIT).body[0]

    def shown(self):
        """Return all that was shown so far."""
        text = self.output.read_text("utf-8")
        found = []
        for block in text.split("\n\tappname: '")[1:]:
            match = NOTICE.search(block)
            if match is not None:
                facts = match.groupdict()
                facts["timeout"] = int(facts["timeout"])
                found.append(Shown(block.partition("'")[0], **facts))
        return found

    def wait_for(self, summary):
        """Return the first notice with *summary*, as soon as it is shown."""
        return wait_until(
            lambda: next((one for one in self.shown() if one.summary == summary), None),
            f"a notice {summary!r}",
        )
