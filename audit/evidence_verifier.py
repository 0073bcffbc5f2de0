"""verify.py PACK.zip [KEY]: is everything in an evidence pack what it was, and is it in the signed log?

It needs Python and the package `cryptography`, and nothing of Tenantry. KEY is the public key that you trust (`tenantry
audit checkpoint key`); without it the pack's own key counts, which shows accidents, but no forger.
"""

import base64
import io
import json
import sys
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class PackRefused(Exception):
    """The part, and why."""


def packed(parts: dict[str, bytes]) -> bytes:
    """The one form of a pack with these parts: stored, in this order, without times."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
        for name, content in parts.items():
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            archive.writestr(entry, content)
    return whole.getvalue()


def unpacked(pack: bytes) -> dict[str, bytes]:
    parts, name = {}, "the archive"
    try:
        with zipfile.ZipFile(io.BytesIO(pack)) as archive:
            for name in archive.namelist():
                parts[name] = archive.read(name)
    except Exception as error:
        raise PackRefused(name, f"it is damaged ({type(error).__name__})") from error
    if packed(parts) != pack:
        raise PackRefused("the archive", "it has bytes that are of no part")
    return parts


def check_signature(part: str, text: bytes, signatures: bytes, key: str) -> None:
    """A signed note (c2sp.org/signed-note): `— name base64`, four bytes of key hash before the signature."""
    name, key_hash, encoded = key.split("+", 2)
    public = base64.b64decode(encoded)
    if sha256(f"{name}\n".encode() + public).digest()[:4].hex() != key_hash:
        raise PackRefused("key.txt", "the key is mistyped")
    for line in signatures.decode().splitlines():
        signer, signature = line.split(" ")[1], base64.b64decode(line.split(" ")[2])
        if (signer, signature[:4].hex()) == (name, key_hash):
            try:
                return Ed25519PublicKey.from_public_bytes(public[1:]).verify(signature[4:], text)
            except InvalidSignature:
                break
    raise PackRefused(part, f"it is not signed by {name}+{key_hash}")


def root_by(row: dict[str, Any], size: int) -> bytes:
    """The root to which the path of an event leads (RFC 9162, section 2.1.3.2)."""
    state = row["state"].encode() if "state" in row else base64.b64decode(row["state_base64"])
    position, version = (row[name].to_bytes(8, "big") for name in ("position", "version"))
    columns = (position, row["stream"].encode(), version, row["topic"].encode(), state)
    leaf = b"\x00\x05" + b"".join(len(each).to_bytes(4, "big") + each for each in columns)
    found, at, last = sha256(b"\x00" + leaf).digest(), row["index"], size - 1
    for sibling in map(base64.b64decode, row["path"]):
        if at & 1 or at == last:
            found = sha256(b"\x01" + sibling + found).digest()
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            found = sha256(b"\x01" + found + sibling).digest()
        at, last = at >> 1, last >> 1
    return found if last == 0 else b""


def named(value: Any) -> Any:
    if isinstance(value, dict) and {"position", "stream", "version"} <= value.keys():
        yield value["position"], value["stream"], value["version"]
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from named(inner)


def verify(pack: bytes, trusted: str | None = None) -> str:
    parts = unpacked(pack)
    manifest, own = json.loads(parts["manifest.json"]), parts["key.txt"].decode().strip()
    if trusted not in (None, own):
        raise PackRefused("key.txt", "it is another key than the one that you trust")
    check_signature("manifest.json", parts["manifest.json"], parts["manifest.sig"], own)
    for name in (parts.keys() | manifest["parts"].keys()) - {"manifest.json", "manifest.sig"}:
        if sha256(parts.get(name, b"")).hexdigest() != manifest["parts"].get(name):
            raise PackRefused(name, "it is not what the manifest says")
    body, _, signatures = parts["checkpoint.txt"].partition(b"\n\n")
    check_signature("checkpoint.txt", body + b"\n", signatures, own)
    size, root = int(body.split(b"\n")[1]), base64.b64decode(body.split(b"\n")[2])
    rows, versions = [json.loads(line) for line in parts["events.jsonl"].splitlines()], dict[str, int]()
    for row in rows:
        if root_by(row, size) != root:
            raise PackRefused("events.jsonl", f"the event at position {row['position']} is not in the signed log")
        if row["version"] != versions.get(row["stream"], 0) + 1:
            raise PackRefused("events.jsonl", f"{row['stream']} has no version before that at {row['position']}")
        versions[row["stream"]] = row["version"]
    for name in ("explain.json", "timeline.json"):
        if missing := set(named(json.loads(parts[name]))) - set(named(rows)):
            raise PackRefused(name, f"it names an event that is not proved: {min(missing)}")
    of = manifest["tenant"]
    return f"{len(rows)} events of tenant {of} are in the log of {size} that {own.split('+')[0]} has signed"


if __name__ == "__main__":
    try:
        sys.stdout.write(verify(Path((sys.argv[1:] or ["PACK.zip"])[0]).read_bytes(), *sys.argv[2:3]) + "\n")
    except Exception as error:  # noqa: BLE001 - whatever it stumbles over is not verified
        sys.exit(f"refused: {': '.join(error.args) if isinstance(error, PackRefused) else error}")
