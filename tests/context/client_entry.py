"""A client of the campaign, as a process: it looks up tenants on several sidecars, and writes down what it got.

It forwards its token as an application does: no answer may be older than the newest position that it has met. Results
that repeat are written once, with their number.
"""

from __future__ import annotations

import json
import mmap
import random
import struct
import sys
import time
from pathlib import Path

from tenantry_client.context.lease import now_ns
from tenantry_client.context.refusals import ContextRefused
from tenantry_client.context.tenancy import Tenancy
from tests.context.history import Look

FLUSH_SECONDS = 0.25


class Client:
    """One client. `shared` holds the token that the world has announced last, and whether the campaign is over."""

    def __init__(
        self, number: int, directories: list[str], tenants: list[str], shared: mmap.mmap, *, domain: str, product: str
    ) -> None:
        self._domain = domain
        self._product = product
        self._number = number
        self._tenancies = [Tenancy.open(each, wait=0.02) for each in directories]
        self._tenants = tenants
        self._shared = shared
        self._token = 0
        self._open: dict[str, Look] = {}
        self._done: list[Look] = []
        self._chance = random.Random(number)  # noqa: S311 - where it looks, is no secret

    def run(self, output: Path) -> None:
        with output.open("w") as file:
            while not self._announced()[1]:
                end = time.monotonic() + FLUSH_SECONDS
                while time.monotonic() < end:
                    self._round()
                for look in (*self._done, *self._open.values()):
                    file.write(json.dumps(look) + "\n")
                self._open, self._done = {}, []
                file.flush()

    def _announced(self) -> tuple[int, int]:
        token, over = struct.unpack_from("QQ", self._shared)
        return token, over

    def _round(self) -> None:
        """A few look-ups on one sidecar."""
        tenancy = self._chance.choice(self._tenancies)
        if self._chance.random() < 0.05:
            self._token = max(self._token, self._announced()[0])
        for tenant in self._chance.choices(self._tenants, k=20):
            began = now_ns()
            position, token = tenancy.position, self._token
            version = 0
            try:
                found = tenancy.by_host(f"{tenant}.{self._domain}", token)
                version = found.version
                product = found.products.get(self._product)
                answer = "open" if product is not None and product.level == "open" else "closed"
            except ContextRefused as refused:
                answer = "unknown" if refused.status == 404 else "refused"
            ended = now_ns()
            if answer == "refused":
                time.sleep(0.001)
            else:
                self._token = max(position, token, version)  # what was read may be newer than the position before
            self._note(Look(self._number, tenant, answer, version, token, began, ended, 1))

    def _note(self, look: Look) -> None:
        found = self._open.get(look.tenant)
        if found is not None and (found.answer, found.version) == (look.answer, look.version):
            look = found._replace(began=look.began, token=max(found.token, look.token), times=found.times + 1)
        elif found is not None:
            self._done.append(found)
        self._open[look.tenant] = look


if __name__ == "__main__":
    about = json.loads(sys.argv[1])
    if about["mutant"]:
        from tests.context.mutants import plant

        plant(about["mutant"])
    with Path(about["shared"]).open("rb") as file:
        page = mmap.mmap(file.fileno(), 16, access=mmap.ACCESS_READ)
    client = Client(
        about["number"], about["directories"], about["tenants"], page, domain=about["domain"], product=about["product"]
    )
    client.run(Path(about["output"]))
