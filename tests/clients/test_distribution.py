"""The client as a distribution of its own: it works where nothing of the engine can be imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

CLIENT = Path(__file__).parents[2] / "clients" / "python"

ALONE = """
import sys

class NothingOfTheEngine:
    ROOMS = {"domain", "application", "projections", "adapters", "runtime", "workers", "history", "audit"}
    ROOMS |= {"cli", "context"}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.ROOMS:
            raise ImportError(f"the client imports {name}, a room of the engine")

sys.meta_path.insert(0, NothingOfTheEngine())

OF_AN_EXTRA = {"fastapi", "databases", "sqlalchemy"}  # they need what the application has, or names in [psycopg]
import importlib, pkgutil
import tenantry_client
for module in pkgutil.walk_packages(tenantry_client.__path__, "tenantry_client."):
    if module.name.rpartition(".")[2] not in OF_AN_EXTRA:
        importlib.import_module(module.name)

allowed = set(sys.stdlib_module_names) | {"tenantry_client", "cryptography", "_cffi_backend", "cffi"}
allowed |= {"idna", "lmdb", "msgspec", "typing_extensions"}  # the last where msgspec finds it
others = {name.partition(".")[0] for name in sys.modules} - allowed
others = {name for name in others if not name.startswith("_")}
assert not others, others

from tenantry_client.asap import FixedKeys, Signer, SigningKey, Verifier
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
key = ec.generate_private_key(ec.SECP256R1())
pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
token = Signer("billing", SigningKey("billing/1", key, "ES256")).token("engine")
print(Verifier("engine", FixedKeys({"billing/1": pem}), may_call=lambda _: True).verify(token).issuer)
"""


def alone(path: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """The program above, with `path` in front; not in this folder, and without what .pth files add."""
    packages = next(entry for entry in sys.path if entry.endswith("site-packages"))
    return subprocess.run(
        [sys.executable, "-S", "-c", ALONE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{packages}"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_client_works_alone(tmp_path: Path) -> None:
    done = alone(CLIENT, tmp_path)
    assert (done.stdout, done.stderr) == ("billing\n", "")


def test_what_the_readme_shows_is_there() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)
    shown = [line for block in blocks for line in block.splitlines() if line.startswith(("from ", "import "))]
    assert len(blocks) == 5
    for block in blocks:
        compile(block, "README.md", "exec")
    exec("\n".join(shown), {})  # noqa: S102


def test_the_wheel_of_the_client_is_whole_and_typed(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*build, str(tmp_path), str(CLIENT)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("tenantry_client-*.whl")
    with zipfile.ZipFile(wheel) as content:
        packed = {name for name in content.namelist() if name.startswith("tenantry_client/")}
    ours = {
        str(file.relative_to(CLIENT))
        for file in (CLIENT / "tenantry_client").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert packed == ours
    assert "tenantry_client/py.typed" in packed
    assert alone(wheel, tmp_path).stdout == "billing\n"
