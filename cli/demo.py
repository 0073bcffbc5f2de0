"""What does Tenantry do, in one minute?"""

from __future__ import annotations

from cli.output import AsJson, command


@command
def demo(as_json: AsJson = False) -> None:
    """Run a realistic stream through everything, and check the result against an oracle."""
