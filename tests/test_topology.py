"""The nodes and links of a home, from its ``home.toml``."""

from __future__ import annotations

import copy
import tomllib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos import updates
from chaos.errors import Misuse
from chaos.topology import Node, check_owners, fill, from_toml
from tests.makers import OWNERS

REFERENCE = tomllib.loads((updates.home_folder() / "home.toml").read_text())


def changed(path: str, value: object) -> dict[str, object]:
    """Return the reference's description with one value changed, or removed when `value` is None."""
    described = copy.deepcopy(REFERENCE)
    *way, last = path.split("/")
    table = described
    for step in way:
        table = table.setdefault(step, {})
    if value is None:
        del table[last]
    else:
        table[last] = value
    return described


def test_the_reference_home_has_a_camera_and_a_hub_for_each_owner_around_one_relay():
    home = from_toml(REFERENCE, OWNERS)

    assert sorted(n.name for n in home.nodes) == sorted(
        ["relay", "cache", "accounts", *(f"{o}.{device}" for o in OWNERS for device in ("camera", "hub"))]
    )
    assert sorted(k.name for k in home.links) == sorted(
        ["relay.cache", "relay.accounts", *(f"{o}.{device}" for o in OWNERS for device in ("camera", "hub"))]
    )
    assert home.owners == OWNERS


def test_each_device_belongs_to_its_owner_and_the_relay_to_nobody():
    home = from_toml(REFERENCE, OWNERS)

    assert {n.owner for n in home.with_role("hub")} == set(OWNERS)
    assert [n.name for n in home.with_role("camera", "grace")] == ["grace.camera"]
    assert home.node("relay").owner is None
    assert home.node("ada.camera").environment["DEVICE_SECRET"] == "device-of-ada"
    assert "/lens/ada/" in home.node("ada.camera").environment["LENS"]


def test_a_link_is_named_for_the_device_and_dialled_by_whoever_dials():
    links = {k.name: k for k in from_toml(REFERENCE, OWNERS).links}

    assert (links["ada.hub"].client, links["ada.hub"].server, links["ada.hub"].device_dials) == (
        "ada.hub",
        "relay",
        True,
    )
    assert (links["ada.camera"].client, links["ada.camera"].server) == ("relay", "ada.camera")
    assert not links["ada.camera"].device_dials
    assert not links["relay.cache"].device_dials


def test_what_is_dialled_starts_before_what_dials_it():
    home = from_toml(REFERENCE, OWNERS)
    order = home.start_order()
    wave_of = {name: number for number, wave in enumerate(order) for name in wave}

    assert wave_of.keys() == {n.name for n in home.nodes}
    assert all(wave_of[k.server] < wave_of[k.client] for k in home.links)
    assert order[-1] == tuple(sorted(f"{o}.hub" for o in OWNERS))


def test_links_in_a_circle_are_refused():
    described = changed("link/back", {"client": "cache", "server": "relay", "port": "public"})

    with pytest.raises(Misuse, match=r"circle among ada.hub, cache, grace.hub, lin.hub, relay"):
        from_toml(described, OWNERS).start_order()


@pytest.mark.parametrize(
    "owners",
    [(), ("ada",), ("ada", "grace"), ("ada", "ada", "ada"), ("ada", "grace", "ada"), ("ada", "grace", "lin", "ada")],
)
def test_fewer_than_three_different_owners_are_refused_with_the_reason(owners):
    with pytest.raises(Misuse, match=r"at least 3 different ones.*a mix-up that happens twice looks right"):
        from_toml(REFERENCE, owners)


@pytest.mark.parametrize(
    "name", ["", "Ada", "ada lovelace", "ada.l", "1ada", "-ada", "ada\n", "ada/..", "åsa", "a" * 32, "${owner}"]
)
def test_a_name_that_cannot_be_part_of_an_address_is_refused(name):
    with pytest.raises(Misuse, match="is no owner's name"):
        check_owners(("grace", "lin", name))


@pytest.mark.parametrize("name", ["a", "ada-2", "a" * 31])
def test_a_name_that_can_be_is_taken(name):
    check_owners(("grace", "lin", name))


@pytest.mark.parametrize(
    ("described", "told"),
    [
        (changed("link/x", {"client": "relay", "server": "moon", "port": "public"}), "link x ends at 'moon'"),
        (changed("link/x", {"client": "moon", "server": "relay", "port": "public"}), "link x ends at 'moon'"),
        (changed("link/x", {"client": "relay", "server": "cache", "port": "side"}), "dials port 'side', which cache"),
        (changed("link/x", {"client": "relay", "server": "cache"}), "link x: .*missing required field `port`"),
        (changed("link/relay.cache/speed", 3), "link relay.cache: .*unknown field `speed`"),
        (changed("node/relay/colour", "red"), "node relay: .*unknown field `colour`"),
        (changed("node/relay/command", None), "node relay: .*missing required field `command`"),
        (changed("node/relay/role", "butler"), "node relay: .*Invalid enum value 'butler'"),
        (changed("node/relay/environment/LISTEN", 3), "node relay: .*Expected `str`"),
        (changed("node/ada.hub", REFERENCE["node"]["cache"]), "two nodes the name 'ada.hub'"),
        (changed("link/ada.hub", REFERENCE["link"]["relay.cache"]), "two links the name 'ada.hub'"),
        (changed("lnk/x", {}), "a table 'lnk'; did you mean 'link'"),
        (changed("schema", 2), "schema 2; this version reads schema 1"),
    ],
)
def test_a_description_that_makes_no_home_is_refused_with_what_is_wrong(described, told):
    with pytest.raises(Misuse, match=told):
        from_toml(described, OWNERS)


def test_a_choice_replaces_the_nodes_that_it_has_and_no_other():
    chosen, first = (from_toml(REFERENCE, OWNERS, c) for c in ({"display": "chromium", "camera": "reference"}, None))
    assert [n.name for n in chosen.nodes] == [n.name for n in first.nodes]
    assert chosen.links == first.links
    other = {n.name for n, before in zip(chosen.nodes, first.nodes, strict=True) if n != before}
    assert other == {f"{o}.hub" for o in OWNERS}
    assert chosen.node("lin.hub").owner == "lin"
    assert from_toml(REFERENCE, OWNERS, {"display": "headless"}) == first


def test_a_choice_may_tell_other_nodes_more_also_those_of_another_choice():
    chosen = from_toml(REFERENCE, OWNERS, {"display": "chromium", "camera": "mediamtx"})
    for owner in OWNERS:
        told = chosen.node(f"{owner}.hub").environment
        assert (told["ASK_TOTAL"], told["SCREEN"]) == ("2.5", "chromium")
    assert "ASK_TOTAL" not in from_toml(REFERENCE, OWNERS).node("ada.hub").environment


def test_the_camera_behind_mediamtx_speaks_rtsp_over_the_link_that_it_has_and_video_goes_beside_it():
    links = {k.name: k for k in from_toml(REFERENCE, OWNERS, {"camera": "mediamtx"}).links}
    assert (links["ada.camera"].port, links["ada.camera"].protocol) == ("rtsp", "tcp")
    for name in ("rtp", "rtcp"):
        beside = links[f"ada.camera.{name}"]
        assert (beside.client, beside.server, beside.port, beside.protocol) == ("relay", "ada.camera", name, "udp")
        assert not beside.device_dials
    rooms = {k.name: k for k in from_toml(REFERENCE, OWNERS, {"camera": "mediamtx"}, ("nursery",)).links}
    assert (rooms["ada.nursery"].server, rooms["ada.nursery"].port) == ("ada.nursery", "rtsp")
    assert (rooms["ada.nursery.rtp"].server, rooms["ada.nursery.rtp"].device) == ("ada.nursery", "ada.nursery")


@pytest.mark.parametrize(
    ("described", "choices", "told"),
    [
        (REFERENCE, {"display": "cromium"}, "no display 'cromium'; did you mean 'chromium'"),
        (changed("display/x/node/moon", {}), {"display": "x"}, "display x replaces the node 'moon'"),
        (changed("display/x/node/relay", {"rol": 1}), {"display": "x"}, "node relay: "),
        (changed("display/x/environment/relais", {}), {"display": "x"}, "an environment for 'relais'; did you mean"),
    ],
)
def test_a_choice_that_there_is_not_is_refused(described, choices, told):
    with pytest.raises(Misuse, match=told):
        from_toml(described, OWNERS, choices)


VALUES = {"link:relay.cache": "127.0.0.1:9", "owner": "ada", "scene": "http://127.0.0.1:7"}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("redis://${link:relay.cache}/0", "redis://127.0.0.1:9/0"),
        ("${scene}/lens/${owner}/${owner}", "http://127.0.0.1:7/lens/ada/ada"),
        ("nothing to fill in, $owner {owner} $", "nothing to fill in, $owner {owner} $"),
        ("", ""),
    ],
)
def test_placeholders_are_filled_in(text, filled):
    assert fill(text, VALUES) == filled


@pytest.mark.parametrize(("text", "key"), [("${moon}", "moon"), ("a ${link:ada.hub} b", "link:ada.hub")])
def test_a_placeholder_that_nothing_fills_in_is_named_with_those_that_are(text, key):
    with pytest.raises(Misuse) as refused:
        fill(text, VALUES)

    assert f"${{{key}}}, which nothing fills in; known: link:relay.cache, owner, scene" in str(refused.value)


@settings(deadline=None)
@given(st.text())
def test_what_is_filled_in_is_not_filled_in_again(value):
    assert fill("<${owner}>", {"owner": value}) == f"<{value}>"


def test_an_ask_crosses_the_hubs_link_what_is_shared_and_the_cameras_link_and_no_neighbours():
    topology = from_toml(REFERENCE, OWNERS)
    assert [k.name for k in topology.between("ada", "grace")] == [
        "ada.hub",
        "relay.cache",
        "relay.accounts",
        "grace.camera",
    ]
    assert [k.name for k in topology.between("ada", None)] == ["ada.hub", "relay.cache", "relay.accounts"]


EDGE = Node(name="edge", role="other", command=("edge",), ports=("public",), environment={}, source="edge")


@pytest.mark.parametrize(
    ("node", "of", "port", "message"),
    [
        (EDGE, "relais", "public", "'relais', which is no node; did you mean 'relay'"),
        (EDGE, "relay", "publik", "relay has no port 'publik'; did you mean 'public'"),
        (msgspec.structs.replace(EDGE, name="accounts"), "relay", "public", "there is a node 'accounts' already"),
        (msgspec.structs.replace(EDGE, ports=()), "relay", "public", "edge has no port"),
    ],
)
def test_a_node_in_front_of_what_is_not_there_is_misuse(node, of, port, message):
    with pytest.raises(Misuse, match=message):
        from_toml(REFERENCE, OWNERS).in_front(node, of, port)


def test_a_node_in_front_takes_over_one_port_alone():
    changed = from_toml(REFERENCE, OWNERS).in_front(EDGE, "accounts", "public")
    ends = {k.name: (k.client, k.server, k.port) for k in changed.links}
    assert ends["relay.accounts"] == ("relay", "edge", "public")
    assert ends["edge.accounts"] == ("edge", "accounts", "public")
    assert ends["ada.hub"] == ("ada.hub", "relay", "public")
