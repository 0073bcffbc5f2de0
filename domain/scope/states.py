"""States of a scope: the words, written here once; status.py says when each holds.

in_progress ──blocked──▶ waiting ──▶ in_progress ──▶ converged | failed | on_hold

on_hold      an operator keeps it, or a removal that failed: an operator must look
failed       the desired state failed, and is not tried any more until it changes or an operator retries
waiting      for something that has a name: another scope, an obstacle, a time, an approval
in_progress  the saga is at it, or tries a step again
converged    there is nothing to do
"""

from __future__ import annotations

from typing import Final, Literal, get_args

ScopeState = Literal["on_hold", "failed", "waiting", "in_progress", "converged"]

SCOPE_STATES: Final[tuple[ScopeState, ...]] = get_args(ScopeState)
"""In the order of need: first the state that needs an operator most, last the one that needs none."""
