"""Takes the picture of the tutorial again: ``python -m tests.docs.screenshot``.

Follows the tutorial up to the page that it opens in the browser, and has Chromium show that.
"""

import re
import subprocess
import tempfile
from pathlib import Path

from tests.docs.walking import Walk
from tests.tickets.pages.chromium import CHROMIUM

DOCS = Path(__file__).resolve().parents[2] / "docs"
PICTURE = DOCS / "_static" / "tutorial-request.png"
PORT = 8000  # it is in the picture
SIZE = "1100,860"


class _Reader(Walk):
    """One who keeps what the browser shows."""

    def _look(self, text: str, opened: str) -> str:
        opened = super()._look(text, opened)
        if text.startswith("* "):
            with tempfile.TemporaryDirectory() as profile:
                subprocess.run(
                    [
                        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu"),
                        *("--disable-background-networking", "--hide-scrollbars"),
                        *(f"--user-data-dir={profile}", f"--window-size={SIZE}"),
                        *(f"--screenshot={PICTURE}", f"http://127.0.0.1:{self._port}{opened}"),
                    ],
                    capture_output=True,
                    timeout=60,
                    check=True,
                )
        return opened


def main() -> None:
    """Take it."""
    chapters = re.findall(
        r"^   ([\w-]+)$", (DOCS / "tutorial" / "index.rst").read_text("utf-8"), re.MULTILINE
    )
    with tempfile.TemporaryDirectory() as folder:
        reader = _Reader(Path(folder), PORT)
        try:
            for chapter in chapters[: chapters.index("failed-request") + 1]:
                reader.follow(DOCS / "tutorial" / f"{chapter}.rst")
        finally:
            reader.close()
    print(f"{PICTURE} is taken")


if __name__ == "__main__":
    main()
