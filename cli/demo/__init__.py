"""What does Tenantry do, in one minute, and how do we know that it did it right?

stream.py    what happens to sixty customers and more          ─▶ input.jsonl
play.py      sends it through everything, and shows it
settling.py  when has everything come to rest?
oracle.py    what must be there, from input.jsonl alone        ┐
findings.py  what is there, from the databases alone           ┴▶ disagreements
"""

from cli.demo.play import demo

__all__ = ["demo"]
