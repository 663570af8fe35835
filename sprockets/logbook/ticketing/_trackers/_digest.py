"""Digest authentication, which ``http.client`` does not know."""

from __future__ import annotations

import hashlib
import re
import secrets


def digest(challenge: str, user: str, password: str, method: str, path: str) -> str:
    """Return the ``Authorization`` that answers *challenge*.

    Args:
        challenge: What ``WWW-Authenticate`` said.
        user: Who asks.
        password: Theirs.
        method: Of the request.
        path: Of the request, with its query.

    Source: RFC 7616, section 3.4; MD5 is what Trac has.
    """
    pairs = re.findall(r'(\w+)\s*=\s*(?:"([^"]*)"|([^\s,]+))', challenge.partition(" ")[2])
    asked = {name.lower(): quoted or bare for name, quoted, bare in pairs}
    realm, nonce = asked.get("realm", ""), asked.get("nonce", "")
    secret = _md5(f"{user}:{realm}:{password}")
    what = _md5(f"{method}:{path}")
    members = {"username": user, "realm": realm, "nonce": nonce, "uri": path}
    if "auth" in re.split(r"[\s,]+", asked.get("qop", "")):
        own = secrets.token_hex(8)
        members["response"] = _md5(f"{secret}:{nonce}:00000001:{own}:auth:{what}")
        members["cnonce"] = own
    else:
        members["response"] = _md5(f"{secret}:{nonce}:{what}")
    if "opaque" in asked:
        members["opaque"] = asked["opaque"]
    text = ", ".join(f'{name}="{value}"' for name, value in members.items())
    return f"Digest {text}{', qop=auth, nc=00000001' if 'cnonce' in members else ''}"


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
