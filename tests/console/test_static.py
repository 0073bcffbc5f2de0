"""Are the browser's files those of the manifest, with their licences, and do pages load nothing else?"""

from __future__ import annotations

import hashlib
import json
import re
from importlib.resources import files

STATIC = files("console") / "static"
TEMPLATES = files("console") / "templates"
FOREIGN = {".min.js", ".min.css"}


def test_each_foreign_file_is_in_the_manifest_with_its_digest_and_its_licence() -> None:
    manifest = json.loads((STATIC / "manifest.json").read_text())
    there = {file.name for file in STATIC.iterdir() if any(file.name.endswith(end) for end in FOREIGN)}
    assert there == set(manifest)
    for name, entry in manifest.items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == entry["sha256"], name
        assert entry["license"] in ("0BSD", "MIT")
        assert (STATIC / f"{name.partition('.')[0]}.LICENSE").read_text().strip(), name


def test_no_template_has_a_script_a_style_or_an_address_of_elsewhere() -> None:
    for file in TEMPLATES.iterdir():
        text = file.read_text()
        assert not re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:|https?://", text), file.name
        assert not re.findall(r"\|\s*safe\b", text), file.name


def test_our_own_script_and_style_name_nothing_of_elsewhere() -> None:
    for name in ("console.js", "console.css"):
        assert "http" not in (STATIC / name).read_text().replace("httpx", "")
    assert "eval(" not in (STATIC / "console.js").read_text()
    assert "innerHTML" not in (STATIC / "console.js").read_text()
