"""The command `tenantry context-sidecar`: the contexts of all tenants, kept on this host."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.command import command
from cli.output import out
from domain.errors import Unavailable, UsageError, problem
from runtime.telemetry import configure_logging
from tenantry_client.asap import Refused, Signer, SigningKey, UnusableKey

AUDIENCE = "context-service"
SOCKET = "sidecar.sock"
LONGEST_SOCKET = 107


@command
def context_sidecar(
    service: Annotated[list[str], typer.Option(help="The URL of a context service; give two.")],
    directory: Annotated[
        Path, typer.Option("--dir", envvar="TENANCY_DIR", help="Where the host's processes look.")
    ] = Path("/run/tenancy"),
    term: Annotated[float, typer.Option(min=1.0, help="T: for how many seconds an answer of a service counts.")] = 30.0,
    issuer: Annotated[
        str | None, typer.Option(help="Our name in service tokens; the key is that of ASAP_KEY_ID.")
    ] = None,
    log_level: Annotated[Literal["debug", "info", "warning"], typer.Option(help="What is logged.")] = "info",
    log_format: Annotated[Literal["text", "json"], typer.Option(help="How it is logged.")] = "text",
) -> None:
    """Keep the contexts of all tenants on this host, for any process to read, until a signal ends it.

    T must be the services' own (TENANTRY_CONTEXT_LEASE_SECONDS there): what they record as in force rests on it.
    """
    if find_spec("uvicorn") is None:
        raise UsageError(problem("sidecar-not-installed"))
    if bad := [each for each in service if not each.startswith(("http://", "https://"))]:
        raise UsageError(problem("sidecar-url", bad=bad[0]))
    if len(os.fsencode(directory / SOCKET)) > LONGEST_SOCKET:
        raise UsageError(problem("sidecar-directory-too-long", directory=directory))
    configure_logging(level=log_level, log_format=log_format)
    _run(directory, service, term, _authorization(issuer))


def _run(directory: Path, urls: list[str], term: float, authorize: Callable[[], Mapping[str, str]]) -> None:
    from context.sidecar.run import run_sidecar  # noqa: PLC0415 - uvicorn, where it is asked for
    from context.sidecar.services import Service  # noqa: PLC0415
    from tenantry_client.context.lease import LeaseUnusable  # noqa: PLC0415
    from tenantry_client.context.store import StoreTaken  # noqa: PLC0415

    services = [Service(each, authorize=authorize) for each in urls]
    try:
        run_sidecar(directory, services, term=term, ready=lambda: _ready(directory))
    except (StoreTaken, LeaseUnusable) as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise Unavailable(
            problem("sidecar-directory-unusable", directory=directory, reason=error.strerror or error)
        ) from None


def _ready(directory: Path) -> None:
    out.print(f"ready  {directory / SOCKET}")


def _authorization(issuer: str | None) -> Callable[[], Mapping[str, str]]:
    """The header that says who asks; none without an issuer."""
    if issuer is None:
        return dict
    try:
        signer = Signer(issuer, SigningKey.from_environment())
    except (Refused, UnusableKey, OSError) as error:
        raise UsageError(problem("sidecar-key-missing", reason=error)) from None
    return lambda: {"Authorization": f"Bearer {signer.token(AUDIENCE)}"}
