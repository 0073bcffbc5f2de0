"""Runs a verifier as somebody else would: apart from our folder, and from whatever the environment says."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path


def run_verifier(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of `verify.py` in the folder."""
    ran = subprocess.run(
        [sys.executable, "-I", "verify.py", *arguments],
        cwd=folder,
        env={},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in ran.stderr
    return ran.returncode, ran.stdout + ran.stderr


def imported(program: str) -> set[str]:
    """The packages that a program imports."""
    return {
        (alias.name if isinstance(node, ast.Import) else str(node.module)).partition(".")[0]
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
