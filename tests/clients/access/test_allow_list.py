"""The allow-list and raw paths: what is not allowed is refused, and a path has one meaning or none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tenantry_client.access import AllowList, InvalidAllowList, WatchedAllowList
from tenantry_client.access.paths import AmbiguousPath, segments

TEXT = """
[[allow]]
caller = "billing"
callee = "context-service"
routes = ["GET /v1/tenants/{id}", "POST /v1/files/{rest...}", "GET /"]

[[allow]]
caller = "support-console"
callee = "engine"
commands = ["runs.retry"]
"""

AMBIGUOUS = [
    b"/v1/tenants/a%2fb",
    b"/v1/tenants/a%2Fb",
    b"/v1/tenants/%252f",
    b"/v1/tenants/%2e%2e",
    b"/v1/tenants/%2e",
    b"/v1/tenants/..",
    b"/v1/tenants/.",
    b"/v1/x/../tenants/a",
    b"/v1//tenants/a",
    b"//v1/tenants/a",
    b"/v1/tenants/a/",
    b"/v1/tenants/a;b",
    b"/v1/tenants/a%3bb",
    b"/v1;x=1/tenants/a",
    b"/v1\\tenants\\a",
    b"/v1/tenants/a%5cb",
    b"/v1/tenants/a%00",
    b"/v1/tenants/a%0a",
    b"/v1/tenants/a%",
    b"/v1/tenants/a%g0",
    b"/v1/tenants/a%2",
    b"/v1/tenants/%ff",
    b"/v1/tenants/%c0%af",
    b"/v1/tenants/a%3f",
    b"/v1/tenants/a%23",
    b"/v1/tenants/a?b",
    b"/v1/tenants/a#b",
    b"/v1/tenants/a b",
    b"/v1/tenants/\xc3\xa4",
    b"/v1/tenants/a\r\nx: y",
    b"http://context-service/v1/tenants/a",
    b"context-service:443",
    b"*",
    b"v1/tenants/a",
    b"",
    b"/v1/tenants/" + b"a" * 3000,
]


@pytest.fixture
def allow_list() -> AllowList:
    return AllowList.parse(TEXT)


@pytest.mark.parametrize("raw", AMBIGUOUS)
def test_a_path_that_two_readers_could_read_in_two_ways_is_refused(raw: bytes, allow_list: AllowList) -> None:
    with pytest.raises(AmbiguousPath):
        segments(raw)
    assert not allow_list.route("billing", "context-service", "GET", raw).allowed


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"/", ()),
        (b"/v1/a%20b", ("v1", "a b")),
        (b"/%C3%A4", ("ä",)),
        (b"/a.b/...", ("a.b", "...")),
        (b"/a=@:~", ("a=@:~",)),
    ],
)
def test_a_plain_path_has_one_meaning(raw: bytes, expected: tuple[str, ...]) -> None:
    assert segments(raw) == expected


def test_what_an_entry_names_is_allowed_and_the_answer_says_which(allow_list: AllowList) -> None:
    answer = allow_list.route("billing", "context-service", "GET", b"/v1/tenants/t-1")
    assert answer.allowed
    assert answer.reason == "entry 1 (line 2) allows billing -> context-service: GET /v1/tenants/{id}"
    assert allow_list.route("billing", "context-service", "POST", b"/v1/files/a/b/c").allowed
    assert allow_list.route("billing", "context-service", "GET", b"/").allowed
    assert allow_list.command("support-console", "engine", "runs.retry").allowed


@pytest.mark.parametrize(
    ("caller", "callee", "method", "path"),
    [
        ("billing", "context-service", "DELETE", b"/v1/tenants/t-1"),
        ("billing", "context-service", "HEAD", b"/v1/tenants/t-1"),
        ("billing", "context-service", "get", b"/v1/tenants/t-1"),
        ("billing", "context-service", "GET", b"/v1/tenants"),
        ("billing", "context-service", "GET", b"/v1/tenants/t-1/more"),
        ("billing", "context-service", "GET", b"/V1/tenants/t-1"),
        ("billing", "context-service", "POST", b"/v1/files"),
        ("billing", "engine", "GET", b"/v1/tenants/t-1"),
        ("billing2", "context-service", "GET", b"/v1/tenants/t-1"),
        ("context-service", "billing", "GET", b"/v1/tenants/t-1"),
        ("support-console", "engine", "GET", b"/runs.retry"),
    ],
)
def test_what_no_entry_names_is_refused(
    allow_list: AllowList, caller: str, callee: str, method: str, path: bytes
) -> None:
    answer = allow_list.route(caller, callee, method, path)
    assert not answer.allowed
    assert answer.reason.startswith("no entry allows")


def test_an_empty_list_allows_nothing() -> None:
    empty = AllowList.parse("")
    assert not empty.knows("billing", callee="context-service")
    assert not empty.route("billing", "context-service", "GET", b"/").allowed
    assert not empty.command("billing", "context-service", "x").allowed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[allow", "not TOML"),
        ("[allow]\ncaller = 'a'", "double brackets"),
        ("[[deny]]\ncaller = 'a'", "'deny' is unknown"),
        ("[[allow]]\ncaller = 'a'\ncallee = 'b'", "allows nothing"),
        ("[[allow]]\ncaller = 'a'\ncallee = 'b'\nroutes = []", "allows nothing"),
        ("[[allow]]\ncallee = 'b'\ncommands = ['x']", "caller"),
        ("[[allow]]\ncaller = '*'\ncallee = 'b'\ncommands = ['x']", "caller"),
        ("[[allow]]\ncaller = 'a'\ncallee = '../b'\ncommands = ['x']", "callee"),
        ("[[allow]]\ncaller = 'a'\ncallee = 'b'\nroutes = 'GET /'", "no list of texts"),
        ("[[allow]]\ncaller = 'a'\ncallee = 'b'\nroutes = ['/x']", "does not begin with one of"),
        ("[[allow]]\ncaller = 'a'\ncallee = 'b'\nroutes = ['ANY /x']", "does not begin with one of"),
        ("[[allow]]\ncaller = 'a'\ncallee = 'b'\nroutes = ['GET x']", "does not begin with /"),
        ("[[allow]]\ncaller = 'a'\ncallee = 'b'\nroutes = ['GET /a//b']", "neither a plain segment"),
        ("[[allow]]\ncaller = 'a'\ncallee = 'b'\nroutes = ['GET /../b']", "neither a plain segment"),
        ("[[allow]]\ncaller = 'a'\ncallee = 'b'\nroutes = ['GET /a%2fb']", "neither a plain segment"),
        ("[[allow]]\ncaller = 'a'\ncallee = 'b'\nroutes = ['GET /{a...}/b']", "stands at the end"),
        ("[[allow]]\ncaller = 'a'\ncallee = 'b'\nroutes = ['GET /*']", "neither"),
        ("[[allow]]\ncaller = 'a'\ncallee = 'b'\nmethods = ['GET']", "'methods' is unknown"),
    ],
)
def test_a_file_that_cannot_be_used_says_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(InvalidAllowList, match=says):
        AllowList.parse(text)


class Watch:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_changed_file_is_read_again_without_a_restart(tmp_path: Path) -> None:
    file, watch = tmp_path / "access.toml", Watch()
    file.write_text(TEXT)
    watched = WatchedAllowList(file, every=1.0, monotonic=watch)
    assert watched.refresh().knows("billing", callee="context-service")
    file.write_text(TEXT.replace("billing", "invoices"))
    watch.now = 0.9
    assert watched.refresh().knows("billing", callee="context-service")
    watch.now = 1.0
    assert not watched.refresh().knows("billing", callee="context-service")
    assert watched.refresh().knows("invoices", callee="context-service")


def test_a_file_that_became_wrong_leaves_the_last_good_list_and_says_so(tmp_path: Path) -> None:
    file, watch = tmp_path / "access.toml", Watch()
    file.write_text(TEXT)
    watched = WatchedAllowList(file, every=0.0, monotonic=watch)
    good = watched.refresh()
    for break_it in (lambda: file.write_text("[[allow"), lambda: file.write_bytes(b"\xff"), file.unlink):
        break_it()
        assert watched.refresh() is good
        assert watched.problem
    file.write_text(TEXT)
    assert watched.refresh() is not good
    assert watched.problem is None


def test_a_file_that_is_replaced_by_another_of_its_size_and_time_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "access.toml"
    file.write_text(TEXT)
    watched = WatchedAllowList(file, every=0.0)
    other = tmp_path / "new.toml"
    other.write_text(TEXT.replace("billing", "support"))
    os.utime(other, ns=(file.stat().st_atime_ns, file.stat().st_mtime_ns))
    other.replace(file)
    assert watched.refresh().knows("support", callee="context-service")


def test_the_first_read_of_a_wrong_file_fails(tmp_path: Path) -> None:
    (tmp_path / "access.toml").write_text("[[allow")
    with pytest.raises(InvalidAllowList):
        WatchedAllowList(tmp_path / "access.toml")
