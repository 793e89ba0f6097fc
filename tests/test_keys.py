from __future__ import annotations

import os
import stat

import pytest

from chaos import keys
from chaos.errors import Misuse
from chaos.identity import Key


@pytest.fixture(autouse=True)
def _own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("OWNFRAME_STATE", str(tmp_path / "state"))


FIRST, SECOND = Key(bytes(range(32))), Key(bytes(range(1, 33)))


def test_keys_come_from_a_file_the_runs_own_first(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# ours\n{FIRST.hex()}\n\n{SECOND.hex()}\n")
    assert keys.load(file, {}) == (FIRST, SECOND)


def test_keys_come_from_the_environment():
    assert keys.load(None, {keys.VARIABLE: f"{FIRST.hex()} {SECOND.hex()}"}) == (FIRST, SECOND)


def test_without_a_key_it_is_said_how_to_get_one():
    with pytest.raises(Misuse, match="ownframe key FILE"):
        keys.load(None, {})


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"cafe\n", b"zz" * 32, b"\xff\xfe\x00"])
def test_a_wrong_key_is_a_sentence_that_does_not_repeat_it(tmp_path, content):
    file = tmp_path / "keys"
    file.write_bytes(content)
    with pytest.raises(Misuse, match="key") as refused:
        keys.load(file, {})
    assert "cafe" not in str(refused.value)
    assert "zz" not in str(refused.value)


def test_a_missing_key_file_is_a_sentence(tmp_path):
    with pytest.raises(Misuse, match="cannot be read"):
        keys.load(tmp_path / "missing", {})


def test_a_key_is_made_for_its_owner_only_and_never_overwritten(tmp_path):
    file = tmp_path / "run.key"
    made = keys.create(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert keys.load(file, {}) == (made,)
    with pytest.raises(Misuse, match="already"):
        keys.create(file)
    assert keys.load(file, {}) == (made,)


def test_keys_of_runs_are_remembered_the_newest_first_and_only_so_many(monkeypatch, tmp_path):
    monkeypatch.setattr(keys, "RECENT", 3)
    assert keys.recent() == ()
    made = [Key(bytes([n]) * 32) for n in range(5)]
    for n, key in enumerate(made):
        keys.remember(key)
        file = tmp_path / "state" / "keys" / f"{key.id}.key"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        os.utime(file, ns=(n, n))  # runs within one tick of the file system's clock
    assert keys.recent() == tuple(reversed(made[-3:]))
    assert keys.load(None, {}) == keys.recent()


def test_a_damaged_file_of_a_key_is_passed_over(tmp_path):
    keys.remember(FIRST)
    (tmp_path / "state" / "keys" / "bad.key").write_text("cafe")
    assert keys.recent() == (FIRST,)
