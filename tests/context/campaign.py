"""A campaign: the services, sidecars and clients as processes, changes all the while, and what came of it, judged.

with Campaign(folder) as campaign:
    campaign.change("t-1", "suspend") ...
campaign.violations
"""

from __future__ import annotations

import json
import mmap
import random
import signal
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Self

from tenantry_client.context.lease import LEASE_END, LeaseReader, lease_path, now_ns
from tests.context.history import Change, History, Look, Violation
from tests.context.mutants import CLIENT, SIDECAR
from tests.context.processes import Process, SidecarProcess, StandInProcess, wait_until

TENANTS = [f"t-{number}" for number in range(20)]
ANSWERS = {"create": "open", "unsuspend": "open", "suspend": "closed", "remove": "unknown"}
SLACK_NS = 2_000_000


class Campaign:
    """`mutant` is planted in sidecars or clients. T is `term` seconds; the services tell the same log on two ports."""

    domain = "example"
    product = "crm"

    def __init__(
        self, folder: Path, *, term: float = 3.0, sidecars: int = 2, clients: int = 2, mutant: str = ""
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.term = term
        self.services = self.teller(folder / "services")
        planted = mutant if mutant in SIDECAR else ""
        self.sidecars = [
            SidecarProcess(folder / f"sidecar-{number}", self.services.urls, term=term, digest=5.0, mutant=planted)
            for number in range(sidecars)
        ]
        self._history = History(int(term * 1e9) + SLACK_NS)
        self._changes: list[Change] = []
        self._lock = threading.Lock()
        self._outputs = [folder / f"client-{number}.jsonl" for number in range(clients)]
        shared = folder / "shared"
        shared.write_bytes(bytes(16))
        with shared.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 16)
        self._clients = [
            Process(
                [sys.executable, "-m", "tests.context.client_entry", json.dumps({
                    "number": number,
                    "directories": [str(each.directory) for each in self.sidecars],
                    "tenants": TENANTS,
                    "domain": self.domain,
                    "product": self.product,
                    "shared": str(shared),
                    "output": str(output),
                    "mutant": mutant if mutant in CLIENT else "",
                })],
                folder / f"client-{number}.txt",
            )
            for number, output in enumerate(self._outputs)
        ]  # fmt: skip

    def __enter__(self) -> Self:
        try:
            self.services.start()
            for name in TENANTS:
                self.change(name, "create")
            for each in (*self.sidecars, *self._clients):
                each.start()
            self.settle()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        struct.pack_into("QQ", self._shared, 0, 0, 1)
        for each in self._clients:
            try:
                wait_until(lambda: not each.is_alive, seconds=10)  # noqa: B023 - called at once
            except TimeoutError:
                each.end()
        for sidecar in self.sidecars:
            sidecar.remove()
        self.services.end()

    def teller(self, folder: Path) -> StandInProcess:
        """What the sidecars follow."""
        return StandInProcess(folder)

    # -- acts

    def change(self, tenant: str, do: str) -> int:
        """One event, with its times; its position."""
        with self._lock:
            began = now_ns()
            position = self.services.do(do, tenant=tenant, host=f"{tenant}.{self.domain}")
            self._changes.append(Change(tenant, position, ANSWERS[do], began, now_ns()))
            return position

    def announce(self, token: int) -> None:
        """Clients demand it from now on."""
        struct.pack_into("Q", self._shared, 0, token)

    def settle(self, seconds: float = 60.0) -> None:
        """Wait until every sidecar has a valid lease. Raises TimeoutError with what the sidecar said last."""
        for each in self.sidecars:
            try:
                wait_until(lambda: _has_lease(each), seconds=seconds, what="a lease")  # noqa: B023 - called at once
            except TimeoutError as error:
                said = "\n".join(each.said.splitlines()[-15:])
                raise TimeoutError(f"{error}; the sidecar (alive: {each.is_alive}) said last:\n{said}") from None

    def pass_term(self, *, more: float = 1.2) -> None:
        time.sleep(self.term + more)

    def is_refused(self, reason: str) -> bool:
        """Whether every sidecar has said that reason."""
        return all(reason in each.said for each in self.sidecars)

    def is_answered(self, answer: str) -> bool:
        """Whether a client was answered so."""
        return any(f'"{answer}"' in each.read_text() for each in self._outputs if each.exists())

    # -- what came of it

    @property
    def looks(self) -> list[Look]:
        found = []
        for output in self._outputs:
            lines = output.read_text().splitlines() if output.exists() else []
            found += [Look(*json.loads(line)) for line in lines if line.endswith("]")]
        return found

    def judge(self) -> tuple[list[Violation], int]:
        """What was promised and not held, and how many look-ups were judged."""
        for each in sorted(self._changes, key=lambda change: change.position):
            self._history.add(each)
        looks = self.looks
        return self._history.violations(looks), sum(each.times for each in looks if each.answer != "refused")


def _has_lease(sidecar: SidecarProcess) -> bool:
    try:
        return LeaseReader(sidecar.directory).words[LEASE_END] > now_ns()
    except Exception:  # noqa: BLE001 - not yet
        return False


# -- scenarios: each is a fault, and a change meanwhile ------------------------------------------------------------


def plain(campaign: Campaign) -> None:
    """Changes, and no fault."""
    for number in range(30):
        campaign.announce(campaign.change(TENANTS[number % 5], "suspend" if number % 2 else "unsuspend"))
        time.sleep(0.05)
    campaign.pass_term()


def nothing_new(campaign: Campaign) -> None:
    """The streams go on with heartbeats that say nothing new."""
    campaign.services.fault("heartbeats-only")
    time.sleep(0.2)
    campaign.change("t-1", "suspend")
    campaign.pass_term()


def another_log_answers(campaign: Campaign) -> None:
    """The lease is answered by another log, the streams are silent."""
    campaign.services.fault("lease-of-other-log")
    campaign.services.fault("silent")
    campaign.change("t-1", "suspend")
    campaign.pass_term()


def slow_answers(campaign: Campaign) -> None:
    """The lease is answered late; then the streams fall silent."""
    campaign.services.fault("lease-delay", 0.6)
    time.sleep(1.5)
    campaign.services.fault("silent")
    for number in range(6):
        campaign.change(TENANTS[number], "suspend")
        time.sleep(0.15)
    campaign.pass_term()


def dropped(campaign: Campaign) -> None:
    """Frames with changes are dropped, those without go on."""
    campaign.services.fault("drop-changes")
    campaign.change("t-1", "suspend")
    campaign.pass_term()
    campaign.services.fault("drop-changes", None)
    campaign.settle()


def rebooted(campaign: Campaign) -> None:
    """The lease of another boot lies where the sidecar's was, and is long."""
    for each in campaign.sidecars:
        each.end()
        path = lease_path(each.directory)
        page = bytearray(path.read_bytes())
        page[64:100] = b"00000000-0000-0000-0000-000000000000"
        struct.pack_into("Q", page, LEASE_END * 8, now_ns() + 10**12)
        path.unlink()
        path.write_bytes(page)
    campaign.change("t-1", "suspend")
    campaign.pass_term()
    for each in campaign.sidecars:
        each.start()
    campaign.settle()


def tokens(campaign: Campaign) -> None:
    """The streams are silent, and clients demand what is newer."""
    campaign.services.fault("silent")
    for number in range(4):
        campaign.announce(campaign.change(TENANTS[number], "suspend"))
        time.sleep(0.5)
    campaign.services.fault("silent", None)
    campaign.settle()


def cut_snapshot(campaign: Campaign) -> None:
    """Nothing is left to start from but a snapshot that is cut off: it is refused by all, or clients answer by it."""
    campaign.pass_term()  # before that nothing is promised of a new tenant
    campaign.services.fault("snapshot", "cut")
    campaign.services.do("forget")
    for each in campaign.sidecars:
        each.end()
        for store in each.directory.glob("store.*/data.mdb"):
            store.unlink()
        each.start()
    wait_until(lambda: campaign.is_refused("cut off") or campaign.is_answered("unknown"), seconds=60, what="its trial")
    campaign.services.fault("snapshot", None)
    campaign.settle()


def one_behind(campaign: Campaign) -> None:
    """One of the two services is half a second behind."""
    campaign.services.fault("lag", 0.5, port=1)
    for number in range(40):
        campaign.change(TENANTS[number % 4], "suspend" if (number // 4) % 2 else "unsuspend")
        time.sleep(0.05)
    campaign.pass_term()


SCENARIOS = {
    "no_barrier": nothing_new,
    "renewed_by_any_frame": nothing_new,
    "lease_of_another_boot": rebooted,
    "position_of_another_log": another_log_answers,
    "lease_from_the_answer": slow_answers,
    "gaps_are_passed_over": dropped,
    "counters_stand_still": plain,
    "token_is_not_asked_for": tokens,
    "snapshot_before_it_is_whole": cut_snapshot,
    "older_frames_are_applied": one_behind,
}
"""The scenario that tells each mutant from the real one."""


# -- chaos ---------------------------------------------------------------------------------------------------------


def chaos(campaign: Campaign, *, seconds: float, seed: int) -> dict[str, int]:
    """Kills, stops and faults of every kind at random, with changes all the while. How often each was done."""
    chance, done = random.Random(seed), dict[str, int]()  # noqa: S311 - what happens, is no secret
    end = time.monotonic() + seconds
    closed: set[str] = set()
    while time.monotonic() < end:
        act = chance.choice((*[_change] * 30, _kill, _stop, _fault, _fault))
        done[act.__name__.strip("_")] = done.get(act.__name__.strip("_"), 0) + 1
        act(campaign, chance, closed)
        time.sleep(chance.random() * 0.1)
    for name in ("silent", "heartbeats-only", "frames", "lag", "lease-of-other-log", "lease-delay", "hang", "snapshot"):
        campaign.services.fault(name, None)
    campaign.settle()
    return done


def _change(campaign: Campaign, chance: random.Random, closed: set[str]) -> None:
    tenant = chance.choice(TENANTS)
    token = campaign.change(tenant, "unsuspend" if tenant in closed else "suspend")
    closed.symmetric_difference_update({tenant})
    if chance.random() < 0.5:
        campaign.announce(token)


def _kill(campaign: Campaign, chance: random.Random, closed: set[str]) -> None:
    each = chance.choice(campaign.sidecars)
    each.end()
    each.start()


def _stop(campaign: Campaign, chance: random.Random, closed: set[str]) -> None:
    each = chance.choice(campaign.sidecars)
    each.send(signal.SIGSTOP)
    until = time.monotonic() + chance.random() * (campaign.term + 1)
    while time.monotonic() < until:
        _change(campaign, chance, closed)
        time.sleep(0.05)
    each.send(signal.SIGCONT)


def _fault(campaign: Campaign, chance: random.Random, closed: set[str]) -> None:
    name, value = chance.choice(
        (("silent", True), ("heartbeats-only", True), ("frames", 0.3), ("lag", 0.5), ("lease-of-other-log", True),
         ("lease-delay", 0.4), ("hang", True), ("snapshot", "cut"), ("snapshot", "garbled"))
    )  # fmt: skip
    port = chance.choice((0, 1, None))
    campaign.services.fault(name, value, port=port)
    until = time.monotonic() + chance.random() * (campaign.term + 1)
    while time.monotonic() < until:
        _change(campaign, chance, closed)
        time.sleep(0.05)
    campaign.services.fault(name, None, port=port)
