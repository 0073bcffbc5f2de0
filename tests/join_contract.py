"""Contract of import-linter: no module imports from both of two packages, but for those that are named.

`forbidden` can say that a module may not import a package; it cannot say that one may import either and not both. An
exception that joins nothing any more breaks the contract too, so the list in pyproject.toml stays true.
"""

from __future__ import annotations

from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class JoinContract(Contract):
    """Only `joined_by`, modules or packages, import from `left` and from `right`."""

    left = fields.StringField()
    right = fields.StringField()
    joined_by = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        left, right, allowed = str(self.left), str(self.right), [str(each) for each in self.joined_by]  # type: ignore[attr-defined]
        joins: list[str] = []
        used: set[str] = set()
        for module in sorted(graph.modules - graph.find_descendants(left) - graph.find_descendants(right)):
            imported = {name.partition(".")[0] for name in graph.find_modules_directly_imported_by(module)}
            if not {left, right} <= imported:
                continue
            excuse = next((each for each in allowed if module == each or module.startswith(f"{each}.")), None)
            if excuse is None:
                joins.append(module)
            else:
                used.add(excuse)
        idle = [each for each in allowed if each not in used]
        return ContractCheck(kept=not joins and not idle, metadata={"joins": joins, "idle": idle})

    def render_broken_contract(self, check: ContractCheck) -> None:
        found: dict[str, Any] = check.metadata
        for module in found["joins"]:
            output.print_error(f"{module} imports from {self.left} and {self.right}: let runtime.compose join them")
        for module in found["idle"]:
            output.print_error(f"{module} is named as an exception and joins nothing: take it off the list")
