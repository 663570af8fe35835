"""Keys: who may send to a ZeroMQ subscriber.

With CURVE everything is encrypted, the sender knows the key of the subscriber, and the subscriber
may know those of its senders.  A key is 40 characters of Z85, as ``zmq.curve_keypair()`` makes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    import zmq

Key: TypeAlias = str | bytes
AllowedKeys: TypeAlias = "str | os.PathLike[str] | Iterable[Key] | Callable[[str], object]"

_LENGTH: Final = 40
_ADDRESS: Final = "inproc://zeromq.zap.01"
DOMAIN: Final = b"sprockets.logbook"


def checked_key(key: Key, whose: str) -> bytes:
    """Return *key*.

    Args:
        key: 40 characters of Z85.
        whose: How an error calls it.

    Raises:
        ValueError: It is none.
    """
    import zmq.utils.z85

    try:
        data = key.encode("ascii") if isinstance(key, str) else key
        if len(data) == _LENGTH and len(zmq.utils.z85.decode(data)) == 32:
            return data
    except (ValueError, LookupError, ArithmeticError, AttributeError, TypeError):
        pass  # told below
    except Exception as error:  # noqa: BLE001 - struct.error and what else Z85 may say
        raise ValueError(f"{whose} is no key of {_LENGTH} characters in Z85: {error}") from None
    # Not shown: it may be a secret one.
    raise ValueError(
        f"{whose} is no key of {_LENGTH} characters in Z85; zmq.curve_keypair() makes a pair"
    )


def key_check(allowed: AllowedKeys) -> Callable[[str], object]:
    """Return what says whether the sender with a public key may send.

    Args:
        allowed: A function that does; keys; or a file with a key a line, where ``#`` begins a
            comment.  The file is read at every connection, so that it may change.

    Raises:
        ValueError: One of the keys is none.
        OSError: The file cannot be read.
    """
    if callable(allowed):
        return allowed
    if isinstance(allowed, (str, os.PathLike)):
        path = Path(allowed)
        _keys_in(path)
        return lambda key: key in _keys_in(path)
    keys = {checked_key(key, "an allowed key").decode("ascii") for key in allowed}
    return keys.__contains__


def _keys_in(path: Path) -> set[str]:
    lines = (line.partition(" #")[0].strip() for line in path.read_text("utf-8").splitlines())
    return {
        checked_key(line, f"a line of {str(path)!r}").decode("ascii")
        for line in lines
        if line and not line.startswith("# ")
    }


class Gate:
    """Answers ZeroMQ's question whether a sender may connect.

    Args:
        context: That of the subscriber, which must be its own: there is one gate in a context.
        is_allowed: Called with a public key.
        refuse: Called with the key that was refused, and why; in the thread that receives.

    Raises:
        zmq.ZMQError: There is a gate in this context already.

    Source: RFC 27 of ZeroMQ, https://rfc.zeromq.org/spec/27/.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        is_allowed: Callable[[str], object],
        refuse: Callable[[str, str], object],
    ) -> None:
        import zmq
        from zmq.utils import z85

        self._zmq = zmq
        self._z85 = z85
        self._is_allowed = is_allowed
        self._refuse = refuse
        self.socket: zmq.Socket[Any] = context.socket(zmq.REP)
        self.socket.setsockopt(zmq.LINGER, 0)
        try:
            self.socket.bind(_ADDRESS)
        except BaseException:
            self.socket.close()
            raise

    def answer(self) -> None:
        """Answer all that was asked so far."""
        while True:
            try:
                frames = self.socket.recv_multipart(self._zmq.NOBLOCK)
            except self._zmq.Again:
                return
            self.socket.send_multipart(self._answer_to(frames))

    def _answer_to(self, frames: list[bytes]) -> list[bytes]:
        request = frames[1] if len(frames) > 1 else b""
        mechanism = frames[5] if len(frames) > 5 else b""
        if mechanism != b"CURVE" or len(frames) < 7:
            reason = f"mechanism {mechanism!r}"
            key = ""
        else:
            key = self._z85.encode(frames[6]).decode("ascii")
            try:
                if self._is_allowed(key):
                    return [b"1.0", request, b"200", b"OK", key.encode("ascii"), b""]
                reason = "not among the allowed keys"
            except Exception as error:  # noqa: BLE001 - who cannot be checked is not let in
                reason = f"cannot be checked: {error!r}"
        self._refuse(key, reason)
        return [b"1.0", request, b"400", b"refused", b"", b""]
