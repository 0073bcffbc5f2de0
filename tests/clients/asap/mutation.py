"""Mutated tokens without end: what somebody can make of good tokens who has seen them and holds no key of the issuer.

Flipped bits, parts cut, doubled and swapped, headers and claims rewritten in JSON under the old signature or one of
another key, and the same bytes spelled in other ways of base64.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Final

from tests.clients.asap.mutants import (
    AUDIENCE,
    GOOD_TOKENS,
    ISSUER,
    KEY_ID,
    NOW,
    b64,
    dumped,
)

SEEN: Final = tuple(GOOD_TOKENS.values())
ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, NOW, NOW + 60, NOW + 3600, NOW + 3601, 1e308, 2**63, 0.5, "", " ", "\n", "\0", "none",
    "None", "HS256", "RS256", "PS256", "ES256", "EdDSA", ISSUER, f"{ISSUER}/", KEY_ID, f"{KEY_ID}\n", f"{KEY_ID}/..",
    "billing/ec", "support/1", "../support/1", AUDIENCE, "*", "ключ", [], [AUDIENCE], [None], {}, {"a": {}}, [[]],
)  # fmt: skip
NAMES: Final = (
    "alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc", "cty", "iss", "aud", "iat", "exp",
    "nbf", "jti", "sub", "tenant", "ALG", "kid ", "", "__proto__",
)  # fmt: skip


def flipped_bit(text: str, random: Random) -> str:
    place = random.randrange(len(text))
    return text[:place] + chr(ord(text[place]) ^ (1 << random.randrange(8))) + text[place + 1 :]


def another_letter(text: str, random: Random) -> str:
    """Another letter of base64url: the form stays, the content does not."""
    place = random.randrange(len(text))
    return text[:place] + random.choice(ALPHABET) + text[place + 1 :]


def flipped_byte(text: str, random: Random) -> str:
    """A bit of the decoded content, written canonically."""
    parts = text.split(".")
    which = random.randrange(3)
    content = bytearray(_decoded(parts[which]))
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    parts[which] = b64(bytes(content))
    return ".".join(parts)


def moved(text: str, random: Random) -> str:
    """Cut off, doubled, swapped, or a part of another token."""
    parts, other = text.split("."), random.choice(SEEN).split(".")
    place = random.randrange(len(text))
    return random.choice(
        (
            text[:place],
            text[place:],
            text[:place] + text[place:] * 2,
            text[:place] + random.choice(". =%+/\n\0A") + text[place:],
            ".".join(random.sample(parts, 3)),
            ".".join([*parts, parts[random.randrange(3)]]),
            ".".join([parts[0], other[1], parts[2][:place]]),
            ".".join([other[0], parts[1], other[2][::-1]]),
        )
    )


def rewritten(text: str, random: Random) -> str:
    """Header and claims of another content, under the old signature, an empty or a shorter one."""
    parts = text.split(".")
    for which in random.choice(((0,), (1,), (0, 1))):
        content = json.loads(_decoded(parts[which]))
        for _ in range(random.randint(1, 3)):
            _change(content, random)
        parts[which] = b64(dumped(content))
    parts[2] = random.choice((parts[2], parts[2], parts[2], "", "AA", parts[2][:-4]))
    return ".".join(parts)


def _change(content: dict[str, Any], random: Random) -> None:
    if random.random() < 0.1 and "iat" in content:
        by = random.choice((-7200, -3601, -70, -60, 11, 60, 3600))
        content.update({each: content[each] + by for each in ("iat", "exp") if isinstance(content.get(each), int)})
        return
    name = random.choice((*NAMES, *content))
    if random.random() < 0.2:
        content.pop(name, None)
    else:
        content[name] = random.choice(VALUES)


def respaced(text: str, random: Random) -> str:
    """The same JSON in other bytes: spaces, order, escapes, a key twice."""
    parts = text.split(".")
    which = random.randrange(2)
    content = json.loads(_decoded(parts[which]))
    plain = json.dumps(content, separators=random.choice(((",", ":"), (", ", ": "), (" ,", " :"))))
    name = random.choice(list(content))
    shuffled = dict(random.sample(list(content.items()), len(content)))
    parts[which] = b64(
        random.choice(
            (
                plain + random.choice(" \n\t\0"),
                random.choice(" \n\ufeff") + plain,
                plain[:-1] + f",{json.dumps(name)}:{json.dumps(random.choice(VALUES))}}}",
                f"{{{json.dumps(name)}:{json.dumps(random.choice(VALUES))}," + plain[1:],
                plain.replace(name, f"\\u{ord(name[0]):04x}{name[1:]}", 1),
                json.dumps(shuffled, indent=random.randrange(3)),
            )
        ).encode()
    )
    return ".".join(parts)


def respelled(text: str, random: Random) -> str:
    """The same bytes in another base64: padding, the other alphabet, stray bits, breaks of lines."""
    parts = text.split(".")
    which = random.randrange(3)
    part = parts[which]
    place = random.randrange(len(part))
    parts[which] = random.choice(
        (
            part + "=" * random.randint(1, 3),
            base64.b64encode(_decoded(part)).decode(),
            base64.b32encode(_decoded(part)).decode(),
            _decoded(part).hex(),
            part[:place] + random.choice("\r\n\t =,") + part[place:],
            part[:-1] + random.choice(ALPHABET),
            part + random.choice(ALPHABET),
            part[:place] + f"%{ord(part[place]):02x}" + part[place + 1 :],
        )
    )
    return ".".join(parts)


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


MUTATIONS: Final[tuple[Callable[[str, Random], str], ...]] = (
    flipped_bit,
    another_letter,
    flipped_byte,
    moved,
    rewritten,
    respaced,
    respelled,
)


def mutated(seed: int, number: int) -> Iterator[str]:
    """That many tokens, none of them a good one; the same for the same seed."""
    random, made = Random(seed), 0  # noqa: S311
    while made < number:
        text = random.choice(SEEN)
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            try:
                text = random.choice(MUTATIONS)(text, random)
            except (
                ValueError,
                AttributeError,
                IndexError,
                KeyError,
            ):  # what is left is no token that could be changed so
                break
        if text not in SEEN:
            made += 1
            yield text
