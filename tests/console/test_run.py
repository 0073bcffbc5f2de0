"""Does the console start where it may, say where it is, and refuse to where anybody could come in?"""

from __future__ import annotations

import threading
import urllib.request
from pathlib import Path

import pytest
from pydantic import SecretStr

from console.access import Person
from console.run import ConsoleAddress, access_of, serve
from domain.errors import Unavailable, UsageError
from runtime.compose.console import console_parts_of
from runtime.settings import Settings
from runtime.settings_error import SettingsError
from runtime.settings_layers import load_settings
from tests.cli.conftest import Desk
from tests.console.conftest import drop_role
from tests.console.served import TOKEN, Served


def test_on_another_address_than_the_loopback_it_needs_a_proxy(desk: Desk) -> None:
    with pytest.raises(UsageError) as refused:
        access_of(Settings(), ConsoleAddress("0.0.0.0"))  # noqa: S104 - that is what is refused
    assert refused.value.problem is not None
    assert refused.value.problem.code == "console-without-proxy"
    assert "TENANTRY_CONSOLE_PROXIES" in desk.says("console", "--host", "0.0.0.0", code=2)  # noqa: S104
    behind = access_of(Settings(console_proxies=("10.0.0.5",)), ConsoleAddress("10.0.0.7", 8080))
    assert behind.token is None
    assert behind.proxies.trusts("10.0.0.5")
    assert not behind.proxies.trusts("10.0.0.6")


def test_a_token_that_is_set_makes_forms_outlive_a_restart_and_a_new_one_does_not() -> None:
    ada, place = Person("ada", "desk", frozenset()), ConsoleAddress()
    given = Settings(console_token=SecretStr("x" * 32))
    assert access_of(given, place).form_token(ada) == access_of(given, place).form_token(ada)
    assert access_of(Settings(), place).token != access_of(Settings(), place).token
    assert access_of(Settings(), place).form_token(ada) != access_of(Settings(), place).form_token(ada)


def test_a_proxy_that_is_no_address_and_a_short_token_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_CONSOLE_PROXIES", '["10.0.0.5", "the proxy"]')
    monkeypatch.setenv("TENANTRY_CONSOLE_TOKEN", "short")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert "entry 2 is no address and no network" in str(refused.value.problems)
    assert "console_token" in str(refused.value.problems)
    assert "the proxy" not in str(refused.value.problems).replace("TENANTRY", "")


def test_a_port_that_is_taken_is_said(desk: Desk) -> None:
    made_of, stop, ports = console_parts_of(desk.parts), threading.Event(), list[int]()
    access, came = access_of(Settings(), ConsoleAddress()), threading.Event()

    def ready(port: int) -> None:
        ports.append(port)
        came.set()

    thread = threading.Thread(target=lambda: serve(made_of, access, ConsoleAddress(), stop=stop, ready=ready))
    thread.start()
    try:
        assert came.wait(20)
        with pytest.raises(Unavailable) as refused:
            serve(made_of, access, ConsoleAddress(port=ports[0]), stop=threading.Event())
        assert refused.value.problem is not None
        assert refused.value.problem.code == "console-address"
    finally:
        stop.set()
        thread.join(20)
        drop_role(desk.parts.endpoints.database_url)
    assert not thread.is_alive()


def test_the_command_says_its_address_and_serves_there(desk: Desk, tmp_path: Path) -> None:
    served = Served(tmp_path)
    served.start()
    try:
        asked = urllib.request.Request(f"{served.url}/now.json", headers={"Cookie": f"tenantry_console={TOKEN}"})  # noqa: S310 - ours
        with urllib.request.urlopen(asked, timeout=20) as answer:  # noqa: S310
            assert answer.status == 200
    finally:
        served.stop()
        drop_role(desk.parts.endpoints.database_url)
