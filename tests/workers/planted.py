"""What did the intake lose before it went back after each failure? Planted, to see that tests find it."""

from __future__ import annotations

from domain.errors import Conflict, Unavailable
from workers.intake import Intake, Read


class ForgetfulIntake(Intake[Read]):
    """Where nobody says where the database is, it goes on with what comes next, and calls that the next batch."""

    def step(self) -> int:
        before = dict(self._fetched)
        try:
            return super().step()
        except (Conflict, Unavailable):
            self._fetched |= before
            raise

    def _look_for_moved_positions(self) -> None:
        """The intake of old did not look either; this one would find what was lost, and take it."""

    def _resume(self) -> None:
        try:
            self._positions.positions({partition.topic_id for partition in self._fetched})
        except Unavailable:
            return
        super()._resume()
