"""Does the shop hold what its page promises, on the real store and on the one in memory?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psycopg
import pytest

from domain.errors import UsageError
from domain.personal import FORGOTTEN
from examples.shop import PROJECTION, REGISTRY, OrderPlaced, Shop, ShopLog, main
from examples.store import Store, opened
from tests.fakes.event_log import MemoryEventLog

KEY = bytes(range(32))


@dataclass
class CountingTill:
    """Charges once for a key; `meanwhile` happens while it does."""

    meanwhile: Callable[[], None] = lambda: None
    charged: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def charge(self, key: str, cents: int) -> str:
        self.asked.append(key)
        self.charged.setdefault(key, cents)
        self.meanwhile()
        return f"receipt {key}"

    def refund(self, key: str) -> None:
        self.charged.pop(key, None)


@pytest.fixture
def store(migrated_database: str) -> Iterator[Store]:
    with opened(migrated_database, master_key=KEY, registry=REGISTRY, projections=[PROJECTION]) as found:
        yield found


@pytest.fixture(params=["memory", "postgres"])
def log(request: pytest.FixtureRequest) -> ShopLog:
    if request.param == "memory":
        return MemoryEventLog()
    found: Store = request.getfixturevalue("store")
    return found.log


def place(shop: Shop, key: str = "o-1") -> None:
    shop.place(key, item="teapot", cents=1995, address="12 Analytical Row", by="Ada")


def test_an_order_is_charged_once_and_then_at_rest(log: ShopLog) -> None:
    shop, till = Shop(log), CountingTill()
    place(shop)
    assert shop.settle(till, owner="w-1") == 1
    assert shop.settle(till, owner="w-1") == 0
    assert (till.charged, till.asked) == ({"order:o-1": 1995}, ["order:o-1"])
    with pytest.raises(UsageError, match="order o-1 is paid: this needs one that is placed"):
        shop.cancel("o-1", reason="late", by="Ada")


def test_an_order_that_is_cancelled_while_it_is_charged_is_refunded(log: ShopLog) -> None:
    shop, till = Shop(log), CountingTill()
    place(shop)
    till.meanwhile = lambda: shop.cancel("o-1", reason="in two minds", by="Ada")
    shop.settle(till, owner="w-1")
    assert (till.charged, till.asked) == ({}, ["order:o-1"])
    till.meanwhile = lambda: None
    shop.settle(till, owner="w-1")
    assert till.charged == {}


def test_the_same_order_is_placed_once(log: ShopLog) -> None:
    place(Shop(log))
    with pytest.raises(UsageError, match="order o-1 is placed: this needs one that is unknown"):
        place(Shop(log))


def test_the_read_model_follows_and_the_address_is_in_the_log_in_no_clear_text(
    store: Store, migrated_database: str
) -> None:
    shop = Shop(store.log)
    for number in range(20):
        place(shop, f"o-{number}")
    while shop.settle(CountingTill(), owner="w-1"):
        pass
    assert store.rows(PROJECTION, "o-7") == [{"order": "o-7", "item": "teapot", "cents": 1995, "state": "paid"}]
    with psycopg.connect(migrated_database) as connection:
        stored = b"".join(row[0] for row in connection.execute("SELECT state FROM stored_events").fetchall())
    assert b"teapot" in stored
    assert b"Analytical" not in stored


def test_a_forgotten_address_is_gone_and_the_order_stays(store: Store) -> None:
    place(Shop(store.log))
    store.keys.forget("order:o-1")
    [recorded] = store.log.load({"order:o-1": 0})["order:o-1"]
    assert recorded.event == OrderPlaced(order="o-1", item="teapot", cents=1995, address=FORGOTTEN)


def test_the_story_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("[")] == [
        "[{'order': 'o-1', 'item': 'teapot', 'cents': 1995, 'state': 'paid'}]",
        "[{'order': 'o-2', 'item': 'kettle', 'cents': 4900, 'state': 'cancelled'}]",
    ]
