"""december-26 and its control: silent while the network is well, and what each serves when a camera is gone."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import pytest
from PIL import Image

from chaos import updates
from tests.home.homes import HOME, Node, Street, free_address, owner_of

BOTH = ("december-26", "december-26-fixed")


def seen(street: Street, owner: str, token: str, relay: Node) -> str | int | None:
    answer = street.still(token, relay)
    return owner_of(Image.open(io.BytesIO(answer.data))) if answer.status == 200 else answer.status


def relay_of(street: Street, update: str, folder: Path, **settings: str) -> Node:
    relay = street.another_relay(updates.lay(HOME, updates.find(update), folder / "home"), **settings)
    relay.wait_ready()
    return relay


@pytest.mark.parametrize("update", BOTH)
def test_on_a_healthy_network_eight_owners_at_once_see_their_own(street: Street, update: str, tmp_path: Path) -> None:
    # a machine that is starved for half a second is a slow uplink to a relay with its usual time-outs
    relay = relay_of(street, update, tmp_path, UPLINK_CONNECT="10", UPLINK_TOTAL="10", ACCOUNTS_TOTAL="10")
    tokens = {o: street.token(o) for o in street.owners}
    pictures: list[tuple[str, str | int | None]] = []

    def watch(owner: str) -> None:
        pictures.extend((owner, seen(street, owner, tokens[owner], relay)) for _ in range(10))

    threads = [threading.Thread(target=watch, args=(o,)) for o in street.owners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(pictures) == 80
    assert all(owner == shown for owner, shown in pictures)
    assert "event=last-good-still" not in relay.log


@pytest.mark.parametrize(("update", "shown"), [("december-26", "grace"), ("december-26-fixed", "ada")])
def test_when_a_camera_is_gone_the_key_decides_whose_still_is_shown(
    street: Street, update: str, shown: str, tmp_path: Path
) -> None:
    relay = relay_of(street, update, tmp_path)
    tokens = {o: street.token(o) for o in ("ada", "grace")}
    assert seen(street, "ada", tokens["ada"], relay) == "ada"
    assert seen(street, "grace", tokens["grace"], relay) == "grace"
    street.devices({"ada": free_address(), "grace": street.cameras["grace"].listen})
    assert seen(street, "ada", tokens["ada"], relay) == shown
    assert seen(street, "grace", tokens["grace"], relay) == "grace"


@pytest.mark.parametrize("update", BOTH)
def test_without_a_kept_still_the_camera_is_unavailable(street: Street, update: str, tmp_path: Path) -> None:
    relay = relay_of(street, update, tmp_path)
    street.devices({"ada": free_address()})
    assert seen(street, "ada", street.token("ada"), relay) == 503
