"""Does `up` say which folder is to blame where the fork server cannot make its socket?"""

from __future__ import annotations

from pathlib import Path

from tests.journeys.running import tenantry_process


def test_a_folder_for_temporary_files_with_too_long_a_path_is_named_with_the_remedy(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    told = tenantry_process("up", "--data-dir", tmp_path / "d", env={"TMPDIR": str(folder)})
    assert told.exit_code == 2
    assert told.error.startswith(
        f"error: a Unix socket in the folder for temporary files, {folder}, has too long a path"
    )
