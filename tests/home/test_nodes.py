"""What every node does: says why it cannot run, ends when told to, is ready only when it is."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.home.homes import Node, call, free_address, wait_until

PROGRAMS = {
    "cache": "cache/run.py",
    "accounts": "accounts/app.py",
    "camera": "camera/app.py",
    "relay": "relay/app.py",
    "hub": "hub/app.py",
}
SETTINGS = {
    "LENS": "http://127.0.0.1:9/lens",
    "DEVICE_SECRET": "s",
    "CACHE_URL": "redis://127.0.0.1:9/0",
    "ACCOUNTS_URL": "http://127.0.0.1:9",
    "RELAY_URL": "http://127.0.0.1:9",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_taken_port_is_said_in_one_line_and_ends_with_3(start: Callable[..., Node], name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        port = "OPERATOR" if name == "hub" else "LISTEN"
        where = {"LISTEN": free_address(), "OPERATOR": free_address()} | {port: address}
        node = start(name, PROGRAMS[name], **SETTINGS, **where)
        assert node.process.wait(15) == 3
    said = [line for line in node.log.splitlines() if address in line]
    assert len(said) == 1
    assert "Address already in use" in said[0]
    assert "Traceback" not in node.log


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_missing_setting_is_said_and_ends_with_3(start: Callable[..., Node], name: str) -> None:
    node = start(name, PROGRAMS[name], LISTEN="", OPERATOR="")
    assert node.process.wait(15) == 3
    assert "event=cannot-run" in node.log
    assert "Traceback" not in node.log


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("camera", "CAMERA_TZ", "Nowhere/Never"),
        ("camera", "SIZE", "huge"),
        ("camera", "FPS", "0"),
        ("camera", "QUALITY", "200"),
        ("relay", "UPLINK_TOTAL", "soon"),
        ("hub", "LAST_FRAME", "forever"),
    ],
)
def test_a_setting_that_makes_no_sense_is_said_and_ends_with_3(
    start: Callable[..., Node], name: str, setting: str, value: str
) -> None:
    where = {"LISTEN": free_address(), "OPERATOR": free_address()}
    node = start(name, PROGRAMS[name], **SETTINGS, **where, **{setting: value})
    assert node.process.wait(15) == 3
    assert setting in node.log
    assert "Traceback" not in node.log


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_node_ends_with_0_when_it_is_told_to(start: Callable[..., Node], name: str) -> None:
    node = start(name, PROGRAMS[name], LISTEN=free_address(), OPERATOR=free_address(), **SETTINGS)
    ready = "Ready to accept" if name == "cache" else "name=OPERATOR"
    wait_until("it listens", lambda: ready in node.log)
    assert node.end() == 0
    assert "Traceback" not in node.log


def test_a_relay_is_not_ready_without_the_others_and_says_which(start: Callable[..., Node]) -> None:
    node = start("relay", PROGRAMS["relay"], LISTEN=free_address(), OPERATOR=free_address(), **SETTINGS)
    wait_until("it listens", lambda: "name=OPERATOR" in node.log)
    answer = call(node.operator, "/healthz")
    assert answer.status == 503
    assert [m.split(":")[0] for m in answer.json()["missing"]] == ["cache", "accounts"]
    assert all("127.0.0.1:9" in m or "registry" in m for m in answer.json()["missing"])


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/operator/provision", {}),
        ("/operator/provision", {"accounts": [{"owner": "ada"}]}),
        ("/operator/provision", {"accounts": [{"owner": "a:b", "password": "p", "cameras": []}]}),
        ("/operator/provision", {"accounts": [{"owner": "ada", "password": "p", "cameras": ["x:y"]}]}),
        ("/operator/provision", []),
    ],
)
def test_what_cannot_be_provisioned_is_refused_and_changes_nothing(
    start: Callable[..., Node], path: str, body: object
) -> None:
    node = start("accounts", PROGRAMS["accounts"], LISTEN=free_address(), OPERATOR=free_address())
    node.wait_ready()
    account = {"owner": "ada", "password": "p", "cameras": ["living-room"]}
    assert call(node.operator, path, {"accounts": [account]}).status == 200
    assert call(node.operator, path, body).status == 400
    assert call(node.listen, "/login", {"owner": "ada", "password": "p"}).status == 200
