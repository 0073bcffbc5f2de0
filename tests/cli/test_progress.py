"""Does a long command stop well when it is told to?"""

from __future__ import annotations

import os
import signal

import pytest

from cli.progress import progress


def test_a_sigterm_is_what_ctrl_c_is_and_only_as_long_as_the_bar_is_there() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), progress("looking"):
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
