"""The kill switch: the account service stops everything at once, and what stands on a hub goes with its lease."""

from __future__ import annotations

import time

import pytest

from tests.home.homes import CAMERA, PATIENCE, Hub, Street, call, delayed, hub_of, wait_until

LEASE = 1.5
"""Seconds; the hub's own default."""


def switch(street: Street, state: str) -> None:
    assert call(street.accounts.operator, "/operator/integration", {"state": state}).status == 200


@pytest.fixture(autouse=True)
def on_again(street: Street):
    yield
    switch(street, "on")


def shows_a_camera(street: Street, hub: Hub) -> bool:
    """Whether a hub shows a picture: the lenses are coloured, and where the hub itself writes nothing it is dark."""
    red, green, blue = hub.screen().getpixel((512, 500))
    return max(red, green, blue) > 100


def test_while_the_integration_is_suspended_nobody_signs_in_and_no_camera_is_seen(street):
    token = street.token("ada")
    switch(street, "suspended")
    assert call(street.accounts.listen, "/login", {"owner": "ada", "password": "pw-ada"}).status == 403
    answer = street.still(token)
    assert (answer.status, answer.json()["error"]) == (403, "the integration is suspended")
    assert call(street.relay.listen, f"/v1/cameras/{CAMERA}/lease", Authorization=f"Bearer {token}").status == 403


def test_restored_without_cameras_everything_else_is_back(street):
    token = street.token("ada")
    switch(street, "without cameras")
    assert call(street.accounts.listen, "/login", {"owner": "ada", "password": "pw-ada"}).status == 200
    assert street.still(token).status == 403
    switch(street, "on")
    assert street.still(token).status == 200, "its session is the one from before"


def test_the_account_service_takes_no_state_that_it_does_not_know(street):
    answer = call(street.accounts.operator, "/operator/integration", {"state": "off"})
    assert (answer.status, "expected one of on, suspended, without cameras" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize("feed", ["still", "stream"])
def test_what_stands_or_plays_is_off_once_the_relay_refuses_its_lease(street, feed):
    hub = street.hubs["ada"]
    assert hub.sign_in("ada").status == 200
    ask = hub.ask(feed)
    assert hub.settled(ask) == "picture"
    switch(street, "suspended")
    switched = time.monotonic()
    wait_until("the screen is dark", lambda: not shows_a_camera(street, hub))
    assert "lease-ended" in hub.node.log
    dark = hub.journal()[-1]["from"]
    assert dark - switched < LEASE + 0.5
    assert hub.settled(ask, wait=0) == ("picture" if feed == "still" else "unavailable")
    assert hub.settled(hub.ask(feed)) == "unavailable"


def test_a_lease_that_is_renewed_lets_a_still_stand(street):
    hub = street.hubs["ada"]
    assert hub.sign_in("ada").status == 200
    assert hub.settled(hub.ask()) == "picture"
    painted = hub.journal()[-1]
    wait_until("two leases are over", lambda: time.monotonic() > painted["from"] + 2 * LEASE)
    assert hub.journal()[-1] == painted
    assert hub.post("close").status == 200


def test_a_hub_that_the_network_reaches_no_more_takes_the_picture_off_by_itself(street):
    held = [0.0]
    with delayed(street.relay.listen, lambda: held[0]) as address:
        hub = Hub(street.start("far", "hub/app.py", **hub_of(address=address, LEASE=f"{LEASE}")))
        hub.node.wait_ready()
        assert hub.sign_in("ada").status == 200
        assert hub.settled(hub.ask()) == "picture"
        held[0] = PATIENCE
        cut = time.monotonic()
        wait_until("the screen is dark", lambda: not shows_a_camera(street, hub))
        assert hub.journal()[-1]["from"] - cut < LEASE + 0.5
        assert "nobody confirmed for 1.5 s" in hub.node.log


def test_a_last_frame_that_is_kept_is_kept_no_longer_than_its_lease(street):
    node = street.start("keeper", "hub/app.py", **hub_of(street.relay, LAST_FRAME="keep", ASK_TOTAL="0.2"))
    node.wait_ready()
    hub = Hub(node)
    assert hub.sign_in("ada").status == 200
    wait_until("a picture came in time", lambda: hub.settled(hub.ask()) == "picture")
    street.lenses.silent.add("ada")
    wait_until("the camera's last picture is too old", lambda: hub.settled(hub.ask()) == "unavailable")
    assert shows_a_camera(street, hub)
    switch(street, "suspended")
    wait_until("the screen is dark", lambda: not shows_a_camera(street, hub))


def test_an_account_whose_sessions_end_is_dark_wherever_it_is_signed_in_and_can_sign_in_anew(street):
    at_home, abroad, other = street.hubs["ada"], street.hubs["grace"], street.hubs["lin"]
    for hub, owner in ((at_home, "ada"), (abroad, "ada"), (other, "lin")):
        assert hub.sign_in(owner).status == 200
        assert hub.settled(hub.ask()) == "picture"
    ended = call(street.accounts.operator, "/operator/end-sessions", {"owner": "ada"})
    assert ended.json()["ended"] >= 2
    wait_until("both are dark", lambda: not shows_a_camera(street, at_home) and not shows_a_camera(street, abroad))
    assert shows_a_camera(street, other)
    assert at_home.settled(at_home.ask()) == "unavailable"
    assert at_home.sign_in("ada").status == 200
    assert at_home.settled(at_home.ask()) == "picture"
