"""Tokens: secrets for programs, of which only digests are kept."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SCOPES: Final = ("read", "write")
"""What a token may be good for; to write without reading is of no use, so it means both."""

PREFIX: Final = "spt_"
"""Begin of every token, by which scanners of leaked secrets know one."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"[^\s\x00-\x1f\x7f]{1,80}")


@dataclass(frozen=True, slots=True)
class Token:
    """Lets a program in.

    Args:
        name: Whose it is, 1 to 80 characters and no spaces; history says that it did what is done
            with it.
        digest: SHA-256 of the token, in hexadecimal.
        scopes: Of ``"read"`` and ``"write"``.

    Raises:
        ValueError: One of these is not as it must be.
    """

    name: str
    digest: str
    scopes: frozenset[str] = frozenset(SCOPES)

    def __post_init__(self) -> None:
        check_name(self.name)
        check_scopes(self.scopes)
        if not _DIGEST.fullmatch(self.digest):
            raise ValueError(
                "expected the SHA-256 of a token, 64 hexadecimal digits in lower case, got"
                f" {len(self.digest)} characters"  # which may be the token itself
            )

    @classmethod
    def from_text(cls, text: str, name: str, scopes: Iterable[str] = SCOPES) -> Token:
        """Return what is kept of the token *text*, which is not."""
        return cls(name, digest_of(text), frozenset(scopes))


def make_token() -> str:
    """Return a new token, with 256 bits that nobody can guess."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(text: str) -> str:
    """Return what is kept of the token *text*.

    No salt and no stretching: there are 256 random bits to be guessed.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def check_name(name: str) -> str:
    """Return *name* if a token may be called so.

    Raises:
        ValueError: It may not.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"expected a name of 1 to 80 characters, none of them a space, got {name!r}"
        )
    return name


def check_scopes(scopes: Iterable[str]) -> frozenset[str]:
    """Return *scopes* as a set.

    Raises:
        ValueError: There are none, or others than ``"read"`` and ``"write"``.
    """
    found = frozenset(scopes)
    if not found or not found <= set(SCOPES):
        given = ",".join(sorted(found))
        raise ValueError(f"expected the scopes {' or '.join(SCOPES)}, or both, got {given!r}")
    return found


def find_token(tokens: Iterable[Token], digest: str) -> Token | None:
    """Return the token of that digest, in a time that does not depend on where they differ."""
    found = None
    for token in tokens:
        if hmac.compare_digest(token.digest, digest):
            found = token
    return found


def parse_tokens(text: str) -> list[Token]:
    """Return the tokens that a file holds.

    Each has a line: name, scopes with commas between them, digest.  Empty lines and those that
    begin with ``#`` say nothing.

    >>> digest = digest_of("spt_example")
    >>> [token.name for token in parse_tokens(f"ci read,write {digest}")]
    ['ci']

    Raises:
        ValueError: A line is not as it must be; the text names its number.
    """
    tokens = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        words = line.split()
        try:
            if len(words) != 3:
                raise ValueError("expected three words: name, scopes, SHA-256 of the token")
            tokens.append(Token(words[0], words[2], frozenset(words[1].split(","))))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    return tokens
