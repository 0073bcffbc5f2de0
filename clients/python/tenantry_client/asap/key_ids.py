"""Key identifiers (`kid`): their grammar, and the issuer of a key.

    kid = part 1*( "/" part )      part = 1*( A-Z a-z 0-9 . _ - + ), neither "." nor ".."

The first part or parts are the issuer's name, so `billing/2026-11` is a key of `billing`. The grammar leaves nothing
that a file system, a URL or a log would read in another way.
"""

from __future__ import annotations

import re
from typing import Final

from tenantry_client.asap.refusals import Refused

MAX_LENGTH: Final = 256

_PARTS: Final = re.compile(r"[A-Za-z0-9._+-]+(?:/[A-Za-z0-9._+-]+)*", re.ASCII)


def check_name(text: object, what: str) -> str:
    """`text` as the name of an issuer or a key. Raises Refused(`key-id-invalid`)."""
    if not isinstance(text, str) or len(text) > MAX_LENGTH or not _PARTS.fullmatch(text):
        raise Refused("key-id-invalid", f"{what} is not parts of A-Z a-z 0-9 . _ - + joined by /: name it so")
    if not {".", ".."}.isdisjoint(text.split("/")):
        raise Refused("key-id-invalid", f"{what} has a part that is . or ..: name it without")
    return text


def check_owner(key_id: str, issuer: str) -> None:
    """The key of that (checked) name is the issuer's. Raises Refused(`key-id-not-of-issuer`, `key-id-invalid`)."""
    if not key_id.startswith(f"{issuer}/"):
        check_name(
            issuer, "the issuer"
        )  # the part of a valid name before a / is a valid name, so the check here is enough
        raise Refused("key-id-not-of-issuer", "the key is not the issuer's own: a kid begins with the issuer and a /")
