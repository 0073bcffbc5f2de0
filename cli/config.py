"""Configuration commands: show the adopted configuration, compare it with the local files, check and adopt these."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from adapters.postgres.living_products import families_on
from application.problem_texts import sentence
from cli.command import command
from cli.operators import By, Reason
from cli.output import Report
from domain.configuration import Adopted, Configuration, differences
from domain.errors import Obstacle, Retryable, UsageError
from domain.operator import Operator
from runtime import proposal
from runtime.compose import Parts
from runtime.compose.prepare import prepare_shards, prepare_topics
from runtime.settings_layers import where_settings_were_sought

app = typer.Typer(
    help="Show, compare, check and adopt the configuration that every process uses: products, policy and shards.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
@command
def show(
    parts: Parts,
    at: Annotated[
        int | None, typer.Option("--at", metavar="POSITION", help="The configuration at this position of the log.")
    ] = None,
) -> Report:
    """Print the configuration that is in use, the operator who adopted it, and the paths of the local files."""
    parts.warn = _tells_by_itself
    adopted = parts.adopting.adopted() if at is None else parts.past.adopted_at(at)
    configuration = adopted.configuration or parts.at_hand
    used = families_on(parts.endpoints.database_url)
    text = [*proposal.in_use(adopted, parts.settings), *_content(configuration, used)]
    return Report(_data_of(adopted, configuration, parts), text)


@app.command()
@command
def diff(parts: Parts) -> Report:
    """Print how the local files and settings differ from the adopted configuration. Exit 1: they differ."""
    parts.warn = _tells_by_itself
    found = differences(parts.configuration, parts.at_hand)
    if parts.adopted.version == 0:
        return Report(
            None,
            ["no configuration is adopted yet: `tenantry migrate` adopts the local files and settings"],
            good=not found,
        )
    data = [{"where": each.where, "adopted": each.adopted, "at_hand": each.proposed} for each in found]
    text = [f"{each.where}: {_value(each.adopted)} -> {_value(each.proposed)}" for each in found]
    adopt_it = f"{len(found)} values differ; adopt the local files and settings: tenantry config adopt --reason TEXT"
    return Report(
        data, [*text, adopt_it if found else "the local files and settings are those that are adopted"], good=not found
    )


@app.command()
@command
def check(parts: Parts) -> Report:
    """Check the local files and settings, without adopting them, and the shards in use. Exit 1: a check failed."""
    parts.warn = _tells_by_itself
    problems = list(_problems(parts))
    text = problems or ["the local files and settings may be adopted, and every shard in use answers"]
    return Report({"problems": problems}, text, good=not problems)


@app.command()
@command
def adopt(parts: Parts, reason: Reason, by: By = "") -> Report:
    """Adopt the local files and settings: every process uses them with its next decision, without a restart.

    A product that they lack is retired: it cannot be activated any more; closing and removing it still works.
    """
    parts.warn = _tells_by_itself
    before = parts.configuration
    recorded = parts.adopting.adopt(parts.at_hand, reason=reason, by=Operator.parse(by))
    parts.learn()
    prepare_shards(parts)
    if parts.catalog.is_foreign:
        prepare_topics(parts)  # the others exist since the first start
    used = families_on(parts.endpoints.database_url)
    found, version = differences(before, parts.configuration), parts.adopted.version
    warnings = list(_left_behind(parts.configuration, used))
    data = {
        "outcome": "adopted" if recorded else "as it was",
        "version": version,
        "by": by,
        "reason": reason,
        "changes": [each.where for each in found],
        "warnings": warnings,
    }
    text = [f"the local files and settings are configuration {version}, which is adopted already"]
    if recorded is not None:
        text = [
            f"configuration {version} is adopted: {len(found)} values changed",
            "the background sweep finds the scopes with another desired state; `tenantry reconcile` finds them at once",
        ]
    return Report(data, [*text, *warnings])


def _problems(parts: Parts) -> Iterator[str]:
    try:
        parts.adopting.check(parts.at_hand)
    except UsageError as error:
        yield sentence(error)
    for name, shard in parts.topology.shards.items():
        if shard.left and not families_on(parts.endpoints.database_url).get(name):
            continue
        try:
            with parts.topology.connect(name):
                pass
        except (Retryable, Obstacle) as error:
            yield sentence(error)
    yield from _left_behind(parts.configuration, families_on(parts.endpoints.database_url))


def _left_behind(configuration: Configuration, used: dict[str, int]) -> Iterator[str]:
    """Shards that have left the topology although families are on them."""
    offered = {shard.name for shard in configuration.topology.shards}
    for name in sorted(used.keys() - offered):
        yield (
            f"shard {name} has left the topology, and {used[name]} families are on it: they can be closed and removed"
            " while it can be reached, and nothing new comes there"
        )


def _data_of(adopted: Adopted, configuration: Configuration, parts: Parts) -> dict[str, Any]:
    event = adopted.event
    return {
        "version": adopted.version,
        "adopted_at": adopted.at,
        "by": event.operator if event else None,
        "reason": event.reason if event else None,
        "digest": configuration.digest,
        "settings": where_settings_were_sought(),
        "at_hand": proposal.sources(parts.settings),
        "differs_from_what_is_at_hand": len(differences(configuration, parts.at_hand)),
        "catalog": configuration.catalog.model_dump(mode="json"),
        "policy": configuration.policy.model_dump(mode="json"),
        "topology": configuration.topology.model_dump(mode="json"),
    }


def _content(configuration: Configuration, used: dict[str, int]) -> Iterator[str]:
    catalog, topology = configuration.catalog, configuration.topology
    for key, product in catalog.products.items():
        home = f"an app of {product.host}" if product.host else f"family {product.family}"
        yield f"product {key}: {home}, editions {', '.join(product.editions)}"
    for key, product in catalog.retired.items():
        left = f"retired editions {', '.join(product.editions)}" if key in catalog.products else "retired"
        yield f"product {key}: {left}"
    for name, shard in topology.known.items():
        where = shard.address or "beside the log"
        state = shard.state if shard in topology.shards else "left the topology"
        yield f"shard {name}: region {shard.region}, {state}, {used.get(name, 0)} of {shard.capacity} families, {where}"
    yield f"default region {topology.default_region}"
    for name, value in configuration.policy.model_dump(mode="json").items():
        yield f"policy {name}: {value}"


def _value(value: str | None) -> str:
    return "(none)" if value is None else value


def _tells_by_itself(_: str) -> None:
    """No warning about different local files: these commands report the difference themselves."""
