from __future__ import annotations

import pytest

from chaos.errors import Misuse
from chaos.identity import Badge, Box, Key, Register
from chaos.identity.badge import MESSAGE_BYTES, PAYLOAD_BYTES, dynamic_payload, parse, static_payload


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("case", -1),
        ("case", 1 << 24),
        ("owner", 0),
        ("owner", 1 << 16),
        ("camera", 0),
        ("camera", 256),
        ("frame", 65536),
        ("time_ms", 1 << 40),
        ("time_ms", -1),
        ("time_ms", 1.5),
        ("owner", True),
    ],
)
def test_numbers_that_a_tile_has_no_room_for_are_misuse(field, value):
    numbers = {"case": 1, "owner": 1, "camera": 1, "frame": 1, "time_ms": 1} | {field: value}
    with pytest.raises(Misuse, match=field):
        Badge(**numbers)


def test_payloads_are_fourteen_bytes_and_say_what_they_are():
    key = Key.fresh()
    badge = Badge(case=(1 << 24) - 1, owner=65535, camera=255, frame=65535, time_ms=(1 << 40) - 1)
    for payload, moving in ((static_payload(badge, key), False), (dynamic_payload(badge), True)):
        assert len(payload) == PAYLOAD_BYTES
        assert len(payload + key.mac(payload)) == MESSAGE_BYTES
        message = parse(payload + key.mac(payload), key)
        assert message is not None
        assert (message.case, message.owner, message.camera) == (badge.case, badge.owner, badge.camera)
        assert (message.frame, message.time_ms) == ((badge.frame, badge.time_ms) if moving else (None, None))


def test_a_static_payload_does_not_change_from_frame_to_frame():
    key = Key.fresh()
    assert static_payload(Badge(1, 2, 3, 4, 5), key) == static_payload(Badge(1, 2, 3, 400, 500), key)


def test_nothing_is_parsed_that_the_key_does_not_vouch_for():
    key = Key.fresh()
    payload = dynamic_payload(Badge(1, 2, 3, 4, 5))
    message = payload + key.mac(payload)
    for i in range(len(message)):
        damaged = message[:i] + bytes([message[i] ^ 1]) + message[i + 1 :]
        assert parse(damaged, key) is None
    unknown_version = bytes([9]) + payload[1:]
    assert parse(unknown_version + key.mac(unknown_version), key) is None


def test_a_register_numbers_from_one_and_names_strangers():
    register = Register(("ada", "grace", "lin"), ("living-room", "porch"))
    assert [register.owner_number(n) for n in register.owners] == [1, 2, 3]
    assert register.owner_name(2) == "grace"
    assert register.owner_name(17) == "unknown owner 17"
    assert register.owner_name(0) == "unknown owner 0"
    assert register.camera_name(register.camera_number("porch")) == "porch"
    assert register.camera_name(9) == "unknown camera 9"
    with pytest.raises(Misuse, match="did you mean 'grace'"):
        register.owner_number("grase")


@pytest.mark.parametrize(
    ("owners", "cameras"), [((), ("a",)), (("a",), ()), (("a", "a"), ("b",)), (("a",), ("b",) * 2)]
)
def test_a_register_names_everybody_once(owners, cameras):
    with pytest.raises(Misuse, match="register names"):
        Register(owners, cameras)


def test_a_register_of_a_thousand_owners():
    register = Register(tuple(f"owner {i}" for i in range(1, 1045)), ("door",))
    assert register.owner_name(register.owner_number("owner 1044")) == "owner 1044"


def test_a_box_has_an_area_and_scales():
    assert Box(8, 16, 80, 40).scaled(1 / 8) == Box(1, 2, 10, 5)
    with pytest.raises(Misuse, match="above zero"):
        Box(0, 0, 0, 10)
