"""Report of the demo: the result for programs, and the tables at the end for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from cli.output import Styled, Table, table
from cli.show import tables_of
from demo.oracle import Disagreement, Expected
from runtime.compose import Parts
from runtime.reports.tenant import tell


@dataclass(slots=True)
class Report:
    """The result. `seconds` by section; `cpu_seconds` of this process and all that it started and awaited."""

    tenants: int
    messages: int
    levels: dict[str, int]
    checked: int
    disagreements: list[Disagreement]
    status: dict[str, Any]
    quarantine: list[dict[str, Any]]
    waiting: list[dict[str, Any]]
    requests: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    cpu_seconds: float = 0.0

    @property
    def agreed(self) -> bool:
        """Whether everything is as expected, at the edge as well, and the stream had a product at every level."""
        as_expected = all(each["is_as_expected"] for each in self.requests)
        return not self.disagreements and all(self.levels.values()) and as_expected

    def to_dict(self) -> dict[str, Any]:
        report = {"agreed": self.agreed, **{name: getattr(self, name) for name in self.__slots__}}
        report["disagreements"] = [
            {**each.claim._asdict(), "expected": each.expected, "found": each.found} for each in self.disagreements
        ]
        return report


def tour(parts: Parts, expected: Expected) -> list[Table]:
    """The report on the tenant with products at the most levels."""
    richest = max(
        expected.tenants.values(),
        key=lambda tenant: (len({each.level for each in tenant.products.values()}), len(tenant.products)),
    )
    return list(tables_of(tell(parts, richest.id)))


def totals(report: Report) -> Iterator[Table | Styled]:
    scopes, messages = report.status["scopes"], report.status["messages"]
    yield table(
        f"quarantine: {messages['quarantined']} messages",
        ("rule", "messages", "for example"),
        [(row["rule"], row["messages"], row["for_example"]) for row in report.quarantine],
    )
    yield table(
        f"waiting for their tenant: {len(report.waiting)}",
        ("tenant", "type", "place on Kafka"),
        [(row["tenant_id"], row["type"], f"{row['topic']}/{row['partition']}") for row in report.waiting],
    )
    yield table(
        "totals",
        ("tenants", "messages", "duplicates", "stale", "events in the log", *(f"scopes {state}" for state in scopes)),
        [
            (
                report.tenants,
                report.messages,
                messages["duplicates"],
                messages["stale"],
                report.status["log"]["position"],
                *scopes.values(),
            )
        ],
    )
    yield table("the oracle: products by level", tuple(report.levels), [tuple(report.levels.values())])
    if report.disagreements:
        yield table(
            f"the oracle DISAGREES in {len(report.disagreements)} of {report.checked} claims",
            ("tenant", "subject", "what", "expected", "found"),
            [(*each.claim, each.expected, each.found) for each in report.disagreements],
        )
    elif not report.agreed:
        yield Styled("the oracle agrees, but a level has no product: try another --seed, or more --tenants", "bold red")
    else:
        yield Styled(
            f"the oracle agrees: all {report.checked} values of read models and shards are as the input says",
            "bold green",
        )
