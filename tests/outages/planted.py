"""`tenantry` with the intake that lost batches, to see that the matrix finds it.

Run as a module in place of `cli.main`. Workers are forks of a server that imports this module first, so they have the
planted intake too.
"""

from __future__ import annotations

from cli.main import main
from tests.workers.planted import ForgetfulIntake
from workers import roles

if __name__ in ("__main__", "__mp_main__"):
    vars(roles)["Intake"] = ForgetfulIntake

if __name__ == "__main__":
    main()
