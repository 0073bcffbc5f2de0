"""Which fields are about a person, and are all of them found?"""

from __future__ import annotations

from typing import Any

from domain.customer import CustomerUpdated
from domain.event import Value
from domain.personal import Personal, personal_paths, replace_personal, says_of_persons
from domain.scope.state import StepCompleted, StepStarted
from domain.stored_form import as_json


class Pet(Value):
    name: Personal
    colour: str


class House(Value):
    owner: Personal | None = None
    number: int
    names: tuple[Personal, ...] = ()
    pets: tuple[Pet, ...] = ()
    best: Pet | None = None


PATHS = personal_paths(House)


def loud(value: str, path: str) -> str:
    return f"{path}={value}"


def test_personal_fields_are_found_in_models_unions_and_sequences() -> None:
    assert PATHS == (("owner",), ("names", "*"), ("pets", "*", "name"), ("best", "name"))


def test_every_value_is_replaced_under_the_path_of_its_own_place() -> None:
    house = House(owner="o", number=1, names=("x", "y"), pets=(Pet(name="p", colour="red"),))
    data = as_json(house)
    assert replace_personal(data, PATHS, loud) == {
        "owner": "owner=o",
        "number": 1,
        "names": ["names/0=x", "names/1=y"],
        "pets": [{"name": "pets/0/name=p", "colour": "red"}],
        "best": None,
    }


def test_a_value_says_something_of_persons_where_one_personal_field_holds_anything() -> None:
    nothing = [House(number=1), House(number=1, names=(), pets=())]
    something = [
        House(owner="o", number=1),
        House(number=1, names=("x",)),
        House(number=1, pets=(Pet(name="p", colour="red"),)),
        House(number=1, best=Pet(name="b", colour="red")),
    ]
    assert [says_of_persons(house) for house in nothing] == [False, False]
    assert all(says_of_persons(house) for house in something)


def test_the_original_is_left_alone() -> None:
    data: dict[str, Any] = {"owner": "o", "names": ["x"], "pets": [{"name": "p"}], "best": {"name": "b"}}
    replace_personal(data, PATHS, loud)
    assert data == {"owner": "o", "names": ["x"], "pets": [{"name": "p"}], "best": {"name": "b"}}


def test_what_is_not_there_is_left_alone() -> None:
    assert replace_personal({"number": 1}, PATHS, loud) == {"number": 1}


def test_customers_and_the_facts_of_steps_know_their_persons() -> None:
    assert ("contacts", "*") in personal_paths(CustomerUpdated)
    assert ("administrators", "*", "email") in personal_paths(CustomerUpdated)
    assert ("facts", "users", "*", "email") in personal_paths(StepCompleted)
    assert ("facts", "organization") in personal_paths(StepCompleted)
    assert personal_paths(StepStarted) == ()
