"""What does Tenantry do, in one minute, and how do we know that it did it right?

    stories.py   what happens to tenants, told by telling.py, mixed by stream.py ─▶ input.jsonl (entries.py)
    play.py      sends it through everything, and shows it
    settling.py  when has everything come to rest?
    oracle.py    what must be there, from input.jsonl alone, by reading.py and rules.py  ┐
    findings.py  what is there, from the databases alone                                 ┴▶ disagreements

The journeys of the tests ask the oracle and wait for the same rest.
"""

from demo.play import demo

__all__ = ["demo"]
