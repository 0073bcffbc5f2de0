"""Demo of Tenantry in one minute: a realistic stream of events, and an oracle that checks the result.

    stories.py   stories of tenants, written by telling.py, mixed by stream.py ─▶ input.jsonl (entries.py)
    play.py      sends the stream through all workers; progress.py shows it, report.py the result
    settling.py  waits until all work is done
    oracle.py    the expected state, from input.jsonl only, by reading.py and rules.py  ┐
    findings.py  the actual state, from the databases only                              ┴▶ disagreements

The journeys of the tests use the same oracle and the same wait.
"""

from demo.play import demo

__all__ = ["demo"]
