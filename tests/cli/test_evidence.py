"""Is an evidence pack verified by its own program alone, and is any byte that was changed found in its part?"""

from __future__ import annotations

import io
import json
import random
import re
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from audit import evidence_verifier
from audit.checkpoints import Signer
from audit.evidence_verifier import PackRefused, packed, unpacked, verify
from tests.audit.sealing import SIGNER
from tests.cli.conftest import TENANT, Desk, failure
from tests.offline import imported, run_verifier

KEY = str(SIGNER.verifier)
PROGRAM = Path(evidence_verifier.__file__)


@pytest.fixture
def sealed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A tenant that failed, was retried, suspended; all of it sealed, but for one event."""
    monkeypatch.setenv("TENANTRY_SEAL_KEY", SIGNER.secret_text())
    failure(desk)
    desk.says("runs", "retry", f"family:{TENANT}:jira", "--reason", "the disk is in", "--as", "Bob")
    desk.work()
    desk.comes("product.suspended", product="jira-software", reason="unpaid")
    desk.work()
    desk.says("audit", "seal")
    return desk


@pytest.fixture
def pack(sealed: Desk, tmp_path: Path) -> bytes:
    sealed.says("audit", "evidence", TENANT)
    return (tmp_path / f"evidence-{TENANT}.zip").read_bytes()


def test_the_program_needs_nothing_of_ours_and_is_short() -> None:
    ours = {"base64", "cryptography", "hashlib", "io", "json", "pathlib", "sys", "typing", "zipfile"}
    assert imported(PROGRAM.read_text()) == ours
    assert len([line for line in PROGRAM.read_text().splitlines() if line.strip()]) <= 100


def test_a_pack_is_verified_by_its_own_program_and_tells_the_whole_story(pack: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "pack.zip").write_bytes(pack)
    parts = unpacked(pack)
    (folder / "verify.py").write_bytes(parts["verify.py"])
    code, text = run_verifier(folder, "pack.zip", KEY)
    assert (code, f"events of tenant {TENANT} are in the log of" in text) == (0, True), text
    assert run_verifier(folder, "pack.zip")[0] == 0
    other = str(Signer.generate(SIGNER.name).verifier)
    assert run_verifier(folder, "pack.zip", other) == (
        1,
        "refused: key.txt: it is another key than the one that you trust\n",
    )
    timeline = parts["timeline.json"].decode()
    assert "the disk is in" in timeline
    assert "unpaid" in timeline
    [product] = json.loads(parts["explain.json"])["products"]
    assert product["for_customer"].startswith("Jira Software is suspended")
    assert all("Lovelace" not in content.decode("latin1") for content in parts.values())
    assert "persons.json" not in parts


def test_the_program_says_what_it_needs_and_what_it_cannot_read(pack: bytes, tmp_path: Path) -> None:
    parts = unpacked(pack)
    (tmp_path / "verify.py").write_bytes(parts["verify.py"])
    (tmp_path / "other.zip").write_bytes(packed({"a.txt": b"a"}))
    gone = "refused: [Errno 2] No such file or directory: '{}'\n"
    assert run_verifier(tmp_path) == (1, gone.format("PACK.zip"))
    assert run_verifier(tmp_path, "gone.zip", KEY) == (1, gone.format("gone.zip"))
    assert run_verifier(tmp_path, "verify.py") == (1, "refused: the archive: it is damaged (BadZipFile)\n")
    assert run_verifier(tmp_path, "other.zip") == (1, "refused: 'manifest.json'\n")


def test_the_same_checkpoint_gives_the_same_bytes(sealed: Desk, pack: bytes, tmp_path: Path) -> None:
    sealed.comes("product.unsuspended", product="jira-software")
    sealed.work()
    told = sealed.json("audit", "evidence", TENANT, "--out", "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == pack
    assert told["not_sealed"] > 0
    assert "cannot be written" in sealed.says("audit", "evidence", TENANT, "--out", "again.zip", code=2)
    assert "there is no tenant nobody" in sealed.says("audit", "evidence", "nobody", code=2)


def test_one_byte_that_was_changed_anywhere_is_refused_with_the_name_of_its_part(pack: bytes) -> None:
    """Every byte of the archive's own, and some hundreds of each part."""
    with zipfile.ZipFile(io.BytesIO(pack)) as archive:
        infos = archive.infolist()
    content: dict[int, str] = {}
    for info in infos:
        begin = info.header_offset + 30 + len(info.filename)
        content.update(dict.fromkeys(range(begin, begin + info.file_size), info.filename))
    dice = random.Random(4711)  # noqa: S311
    chosen = [at for at in range(len(pack)) if at not in content]
    for info in infos:
        its = [at for at, name in content.items() if name == info.filename]
        chosen += dice.sample(its, min(200, len(its)))
    assert len(chosen) > 1_500
    for at in chosen:
        changed = bytearray(pack)
        changed[at] ^= dice.randrange(1, 256)
        with pytest.raises(PackRefused) as refused:
            verify(bytes(changed), KEY)
        part = refused.value.args[0]
        assert part == content.get(at, part), f"byte {at} of {content.get(at)}"
        assert part in {"the archive", *(info.filename for info in infos)} or at not in content


Edit = Callable[[dict[str, bytes]], object]


def in_timeline(parts: dict[str, bytes]) -> None:
    parts["timeline.json"] = parts["timeline.json"].replace(b"unpaid", b"a mistake")


def in_events(parts: dict[str, bytes]) -> None:
    parts["events.jsonl"] = parts["events.jsonl"].replace(b"unpaid", b"a mistake")


def without_an_event(parts: dict[str, bytes]) -> None:
    parts["events.jsonl"] = b"".join(parts["events.jsonl"].splitlines(keepends=True)[1:])


def invented(parts: dict[str, bytes]) -> None:
    entries = json.loads(parts["timeline.json"])
    parts["timeline.json"] = json.dumps([*entries, {**entries[0], "version": 99}]).encode()


EDITED: list[tuple[Edit, str]] = [
    (in_timeline, "timeline.json"),
    (in_events, "events.jsonl"),
    (lambda parts: parts.pop("explain.json"), "explain.json"),
    (lambda parts: parts.update({"more.txt": b"x"}), "more.txt"),
]
SIGNED_ANEW: list[tuple[Edit, str]] = [
    (in_events, r"events.jsonl: the event at position \d+ is not in the signed log"),
    (without_an_event, r"events.jsonl: .* has no version before that at \d+"),
    (invented, "timeline.json: it names an event that is not proved"),
]


def refusal(parts: dict[str, bytes]) -> str:
    with pytest.raises(PackRefused) as refused:
        verify(packed(parts), KEY)
    return ": ".join(refused.value.args)


def test_what_was_edited_and_packed_again_is_refused(pack: bytes) -> None:
    for edit, part in EDITED:
        parts = unpacked(pack)
        edit(parts)
        assert refusal(parts) == f"{part}: it is not what the manifest says"
    parts = unpacked(pack)
    parts["manifest.json"] = parts["manifest.json"].replace(b"tenantry-evidence", b"tenantry-nonsense")
    assert refusal(parts).startswith("manifest.json: it is not signed by")
    for edit, why in SIGNED_ANEW:  # by who holds the key: the checkpoint was given to others before
        parts = unpacked(pack)
        edit(parts)
        manifest = json.loads(parts["manifest.json"])
        own = {name: content for name, content in parts.items() if not name.startswith("manifest.")}
        manifest["parts"] = {name: sha256(content).hexdigest() for name, content in own.items()}
        parts["manifest.json"] = json.dumps(manifest).encode()
        parts["manifest.sig"] = SIGNER.signature(parts["manifest.json"]).encode()
        assert re.match(why, refusal(parts))


def test_persons_are_in_it_only_with_a_reason_and_by_an_act(sealed: Desk, tmp_path: Path) -> None:
    ask = ("audit", "evidence", TENANT, "--out", "persons.zip", "--persons")
    assert "--persons needs a --reason" in sealed.says(*ask, code=2)
    assert not (tmp_path / "persons.zip").exists()
    sealed.says(*ask, "--reason", "the court asks")
    content = (tmp_path / "persons.zip").read_bytes()
    assert "Lovelace" in unpacked(content)["persons.json"].decode()
    assert verify(content, KEY)
    assert (tmp_path / "persons.zip").stat().st_mode & 0o777 == 0o600
    sealed.work()
    [act] = [json.loads(line) for line in sealed.says("acts", "--what", "personal", "--json").splitlines()]
    assert (act["why"], act["details"]) == ("the court asks", {"what": "evidence"})


def test_without_the_key_there_is_no_pack(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.work()
    assert "this process has no seal key" in desk.says("audit", "evidence", TENANT, code=2)
