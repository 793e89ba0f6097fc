from __future__ import annotations

import pytest

from chaos.errors import Misuse
from chaos.identity import Key


def test_keys_are_fresh():
    assert Key.fresh() != Key.fresh()


def test_a_key_survives_its_file():
    key = Key.fresh()
    assert Key.from_hex(key.hex() + "\n") == key
    assert Key.from_hex(key.hex()).id == key.id
    assert hash(Key.from_hex(key.hex())) == hash(key)


def test_a_key_never_shows_its_secret():
    key = Key.fresh()
    for shown in (repr(key), str(key), f"{key}", key.id):
        assert key.hex()[:8] not in shown
    assert len(key.id) == 8
    assert int(key.id, 16) >= 0
    assert key.id in repr(key)


def test_ids_tell_keys_apart():
    assert len({Key.fresh().id for _ in range(50)}) == 50


@pytest.mark.parametrize("text", ["", "zz" * 32, "5a" * 31, "5a" * 33])
def test_a_wrong_key_is_refused_without_being_repeated(text):
    with pytest.raises(Misuse, match="badge key") as refused:
        Key.from_hex(text)
    assert not text or text not in str(refused.value)


def test_a_mac_is_for_one_payload_and_one_key():
    key = Key.fresh()
    assert key.vouches(b"payload", key.mac(b"payload"))
    assert not key.vouches(b"Payload", key.mac(b"payload"))
    assert not Key.fresh().vouches(b"payload", key.mac(b"payload"))
