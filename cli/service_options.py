"""Options of the commands that serve other services: the keys by which their callers are verified."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

TenancyDir = Annotated[
    Path | None,
    typer.Option(help="The directory of this host's sidecar, which tells the keys in force; this, or --keys."),
]
KeysFolder = Annotated[
    Path | None, typer.Option(help="The folder of the services' public keys, as `service-keys` writes it.")
]
