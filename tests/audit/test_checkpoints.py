"""Does a signature stand for what was signed, and for nothing else?"""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from audit.checkpoints import Checkpoint, Keyring, Note, Signer, Verifier, key_ids
from domain.errors import UsageError

ORIGIN = "tenantry.example/log"
CHECKPOINT = Checkpoint(ORIGIN, 1234, bytes(range(32)), 1240)

# From the documentation of golang.org/x/mod/sumdb/note, which wrote the format down first.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_KEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="


def ring(*keys: Signer | Verifier) -> Keyring:
    return Keyring.parse("\n".join(key.secret_text() if isinstance(key, Signer) else str(key) for key in keys))


def test_a_key_is_read_and_its_signature_verified_as_others_write_them() -> None:
    found = Keyring.parse(f"# of the documentation\n\n{PETERS_KEY}\n{PETER}\n")
    assert [str(verifier) for verifier in found.verifiers] == [PETER]
    assert found.signer is not None
    assert found.signer.secret_text() == PETERS_KEY
    signature = base64.b64decode(SIGNATURE)
    assert signature[:4] == found.verifiers[0].key_hash
    assert found.verifiers[0].holds(signature[4:], TEXT)
    assert not found.verifiers[0].holds(signature[4:], TEXT + " ")


def test_a_checkpoint_is_written_as_the_format_says_and_read_back() -> None:
    signer = Signer.generate(ORIGIN)
    note = signer.sign(CHECKPOINT)
    origin, size, root, position, blank, signature, end = str(note).split("\n")
    assert (origin, size, position, blank, end) == (ORIGIN, "1234", "position 1240", "", "")
    assert base64.b64decode(root) == CHECKPOINT.root
    assert signature.startswith(f"— {ORIGIN} ")
    assert Note.parse(str(note)) == note
    assert Note.parse(str(Note(CHECKPOINT))) == Note(CHECKPOINT)


def test_only_a_known_key_and_the_text_it_signed_count() -> None:
    ours, theirs = Signer.generate(ORIGIN), Signer.generate(ORIGIN)
    note = ours.sign(CHECKPOINT)
    assert ring(ours).standing(note) == "signed"
    assert ring(ours.verifier).standing(note) == "signed"
    assert ring(theirs).standing(note) == "unknown"
    assert ring(ours).standing(Note(CHECKPOINT)) == "unsigned"
    for change in ({"size": 1235}, {"position": 1}, {"root": bytes(32)}):
        assert ring(ours).standing(replace(note, checkpoint=replace(CHECKPOINT, **change))) == "forged"
    elsewhere = replace(note, checkpoint=replace(CHECKPOINT, origin="elsewhere"))
    assert ring(ours).standing(elsewhere) == "unknown"


def test_after_a_rotation_the_new_key_signs_and_what_the_old_one_signed_still_counts() -> None:
    old, new = Signer.generate(ORIGIN), Signer.generate(ORIGIN)
    before = ring(old).note(CHECKPOINT)
    rotated = ring(new, old.verifier)
    after = rotated.note(CHECKPOINT)
    assert key_ids(after) == [f"{ORIGIN}+{new.verifier.key_hash.hex()}"]
    assert (rotated.standing(before), rotated.standing(after)) == ("signed", "signed")
    assert (rotated.signed_by_the_newest(before), rotated.signed_by_the_newest(after)) == (False, True)


def test_a_signature_of_a_witness_beside_ours_is_passed_over() -> None:
    ours, witness = Signer.generate(ORIGIN), Signer.generate("witness.example")
    note = ours.sign(CHECKPOINT)
    both = replace(note, signatures=(*note.signatures, *witness.sign(CHECKPOINT).signatures))
    assert ring(ours).standing(Note.parse(str(both))) == "signed"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        str(Note(CHECKPOINT))[:-1],
        str(Note(CHECKPOINT)) + "\n",
        str(Note(CHECKPOINT)) + "— nobody\n",
        str(Note(CHECKPOINT)).replace("1234", "01234"),
        str(Note(CHECKPOINT)).replace("1234", "-1"),
        str(Note(CHECKPOINT)).replace("position 1240", "position x"),
        str(Note(CHECKPOINT)).replace("AAEC", "AAE"),
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no checkpoint of Tenantry"):
        Note.parse(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("# nothing", "holds no key"),
        ("hello", "line 1 is no Ed25519 key"),
        (f"{PETER}\n{PETERS_KEY[:-4]}", "line 2 is no Ed25519 key"),
        (PETER.replace("c74f", "c74e"), "line 1 is mistyped"),
    ],
)
def test_a_wrong_key_is_named_by_its_line_and_never_repeated(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        Keyring.parse(text)
    assert "AYEK" not in str(caught.value)


def test_a_key_does_not_tell_itself() -> None:
    signer = Signer.generate(ORIGIN)
    assert repr(signer) == f"Signer(name='{ORIGIN}')"
    assert signer.secret_text()[-20:] not in repr(ring(signer))
