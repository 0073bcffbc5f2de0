"""Is every id drawn once, also by processes that are forks of one another?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from uuid import UUID

DRAWS = """
import os
from runtime.compose import new_id
new_id()
pid = os.fork()
if pid:
    os.waitpid(pid, 0)  # so that the two do not write at once
print("\\n".join(str(new_id()) for _ in range(600)), flush=True)
"""


def test_a_fork_draws_other_ids_than_its_parent() -> None:
    root = Path(__file__).parent.parent.parent
    drawn = subprocess.run(
        [sys.executable, "-c", DRAWS], cwd=root, capture_output=True, text=True, timeout=60, check=True
    ).stdout.split()
    assert len(drawn) == len(set(drawn)) == 1200
    assert {UUID(each).version for each in drawn} == {7}
