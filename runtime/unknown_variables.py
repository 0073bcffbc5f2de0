"""Unknown variables of the environment that look like settings of ours: each is one warning."""

from __future__ import annotations

import difflib
import os
import re
from typing import Final

from runtime.settings import CONFIG_VARIABLE, PREFIX, Settings


def unknown_variables() -> list[str]:
    """A line for each TENANTRY_* variable of the environment that is no setting: for a warning.

    Unlike the file the environment is not ours alone. The variables that Kubernetes sets for a service whose name
    begins with `tenantry`, and Docker for a link, are known by their form and left out.
    """
    known = {name.upper() for name in (*Settings.model_fields, CONFIG_VARIABLE.removeprefix(PREFIX))}
    warnings = []
    for variable, value in sorted(os.environ.items()):
        name = variable.upper().removeprefix(PREFIX).split("__")[0]
        ours = variable.upper().startswith(PREFIX) and not _is_service_link(variable, value)
        if ours and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            remedy = f"did you mean {PREFIX}{near[0]}?" if near else "docs/reference/settings.md lists all."
            warnings.append(f"unknown setting {variable} in the environment: {remedy} It is passed over")
    return warnings


_SERVICE_LINK: Final = re.compile(
    r"[A-Z0-9_]+_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d{1,5}_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_ADDRESS: Final = re.compile(r"(tcp|udp|sctp)://\S+")


def _is_service_link(name: str, value: str) -> bool:
    """TENANTRY_SERVICE_HOST, TENANTRY_PORT_8080_TCP_ADDR and so on; TENANTRY_PORT by its value, tcp://10.0.0.1:8080."""
    if name.endswith("_PORT") and _SERVICE_ADDRESS.fullmatch(value):
        return True
    return _SERVICE_LINK.fullmatch(name) is not None
