r"""Filters and changes messages by an expression: ``python -m sprockets.eliot.filter EXPRESSION``.

The expression is code of whoever types it, and can do all that they can: never take it from others.

>>> import io
>>> output = io.StringIO()
>>> lines = ['{"message_type": "sale", "price": 42}', '{"message_type": "visit"}']
>>> EliotFilter("J['price'] if 'price' in J else SKIP", lines, output).run()
>>> output.getvalue()
'42\n'
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import datetime, timedelta
from types import CodeType
from typing import Any, Final

from sprockets.eliot._pipes import run_quietly
from sprockets.eliot.json import encode, json_default

__all__ = ["USAGE", "EliotFilter", "main"]

USAGE: Final = """\
usage: python -m sprockets.eliot.filter EXPRESSION

Reads messages as lines of JSON from standard input, evaluates the Python expression for each, and
writes what it gives to standard output, one line of JSON each.

The expression may use:
  J           the message, a dict
  datetime    the class of that name, as in datetime.fromtimestamp(J["timestamp"])
  timedelta   the class of that name
  SKIP        what the expression gives if nothing is to be written

Failed actions, and how long ago they were:
  python -m sprockets.eliot.filter 'J if J.get("action_status") == "failed" else SKIP'
  python -m sprockets.eliot.filter 'datetime.now() - datetime.fromtimestamp(J["timestamp"])'

An expression is a program: do not run those of people you do not trust.
"""


class EliotFilter:
    """Evaluates an expression for each message.

    Args:
        expr: A Python expression; its names are ``J``, ``datetime``, ``timedelta`` and ``SKIP``.
        incoming: Messages as JSON, with or without line break; bytes are UTF-8.
        output: Has ``write`` and ``flush``, takes text or bytes; which, is tried with an empty
            write.  It is not closed.

    Raises:
        SyntaxError: It is no expression.
    """

    SKIP: Final = object()
    """What the expression gives where nothing is to be written."""

    def __init__(self, expr: str, incoming: Iterable[bytes | str], output: Any) -> None:
        self.code: CodeType = compile(expr.strip(), "<expression>", "eval")
        self.incoming = incoming
        self.output = output
        self._takes_bytes = _takes_bytes(output)

    def run(self) -> None:
        """Evaluate the expression for each message, and write what it gives.

        Raises:
            ValueError: A line is not JSON.
            Exception: What the expression raises.
        """
        for line in self.incoming:
            result = self._evaluate(json.loads(line))
            if result is not self.SKIP:
                text = _encode(result) + "\n"
                self.output.write(text.encode() if self._takes_bytes else text)
                # Whoever reads on sees it when it is there.
                self.output.flush()

    def _evaluate(self, message: object) -> object:
        # As globals, so that they are also known within comprehensions and lambdas.
        names = {"J": message, "SKIP": self.SKIP, "datetime": datetime, "timedelta": timedelta}
        result: object = eval(self.code, names)  # noqa: S307 - what the user asked for
        return result


def _takes_bytes(output: Any) -> bool:
    try:
        output.write("")
    except TypeError:
        return True
    return False


def _encode(value: object) -> str:
    try:
        return json.dumps(value, default=json_default, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        return encode(value).decode()


def main(sys: Any = sys) -> int:
    """Filter standard input to standard output, and return the exit status.

    Args:
        sys: What has the arguments, ``argv``, and ``stdin``, ``stdout`` and ``stderr``.
    """
    if len(sys.argv) != 2:
        sys.stderr.write(USAGE)
        return 1
    # Messages are UTF-8, whatever the terminal's encoding is.
    EliotFilter(sys.argv[1], getattr(sys.stdin, "buffer", sys.stdin), sys.stdout).run()
    return 0


if __name__ == "__main__":
    sys.exit(run_quietly(main))
