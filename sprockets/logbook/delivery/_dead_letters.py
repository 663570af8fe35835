"""Dead letters: items that are given up, kept as lines of JSON that people can read."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any


class DeadLetters:
    """A folder of items that could not be delivered, each with the reason.

    Every process writes a file of its own; all of them together are bounded.

    Args:
        folder: Where they are; made with the first.
        max_bytes: Bytes of all files, as far as this process knows, at most.
        encode: Makes bytes of an item.
        decode: Makes an item of bytes.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        encode: Callable[[Any], bytes],
        decode: Callable[[bytes], Any],
    ) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._encode = encode
        self._decode = decode
        self._path: Path | None = None
        self._bytes = 0
        self.unkept: int = 0
        """Items that were not kept, for want of room."""

    def bury(self, item: Any, error: BaseException) -> bool:
        """Keep *item*, with the text of *error*; return whether there was room.

        Raises:
            OSError: The disk refuses.
            TypeError: The item cannot be made bytes of.
        """
        payload = self._encode(item)
        line: dict[str, str] = {"error": f"{type(error).__name__}: {error}"}
        try:
            line["item"] = payload.decode()
        except UnicodeDecodeError:
            line["item_base64"] = base64.b64encode(payload).decode()
        data = json.dumps(line).encode() + b"\n"
        if self._path is None:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._bytes = sum(path.stat().st_size for path in self.folder.glob("*.jsonl"))
            self._path = self.folder / f"{secrets.token_hex(8)}.jsonl"
        if self._bytes + len(data) > self.max_bytes:
            self.unkept += 1
            return False
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            self._bytes += os.write(descriptor, data)
        finally:
            os.close(descriptor)
        return True

    def letters(self) -> Iterator[tuple[Any, str]]:
        """Yield what all processes kept, each with why; torn lines are skipped."""
        for path in sorted(self.folder.glob("*.jsonl")):
            with path.open("rb") as file:
                for text in file:
                    with contextlib.suppress(ValueError, KeyError, TypeError):
                        line = json.loads(text)
                        data = (
                            base64.b64decode(line["item_base64"])
                            if "item_base64" in line
                            else line["item"].encode()
                        )
                        yield self._decode(data), line["error"]

    def begin_anew(self) -> None:
        """Have this process, a forked child, write a file of its own."""
        self._path = None
        self.unkept = 0
