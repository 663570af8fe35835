"""The errors of the package that are its own."""

from __future__ import annotations


class TooManyCalls(Exception):
    """What ``preserve_context`` returned was called a second time; its argument is the function."""


class UnflushedTracebacks(Exception):
    """A test has logged tracebacks that it did not expect; ``args`` are their messages.

    Those it expects, it takes out by ``MemoryLogger.flush_tracebacks``.
    """

    def __str__(self) -> str:
        texts = [str(message.get("traceback", message)).rstrip() for message in self.args]
        return "\n".join(
            [
                f"{len(texts)} logged, and not expected by flush_tracebacks(TypeOfTheException):",
                *texts,
            ]
        )


class ValidationError(Exception):
    """A message is not as its type says; the text says how."""
