from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos.identity.repair import encode, repair


def damaged(word: bytes, wrong: int, rng: np.random.Generator) -> bytes:
    hurt = np.frombuffer(word, np.uint8).copy()
    hurt[rng.choice(40, wrong, replace=False)] ^= rng.integers(1, 256, wrong, np.uint8)
    return hurt.tobytes()


@settings(max_examples=60, deadline=None)
@given(
    messages=st.lists(st.tuples(st.binary(min_size=22, max_size=22), st.integers(0, 9)), min_size=1, max_size=12),
    seed=st.integers(0, 9_999),
)
def test_up_to_nine_wrong_bytes_are_repaired_in_one_word_and_in_many(messages, seed):
    rng = np.random.default_rng(seed)
    assert repair([damaged(encode(m), wrong, rng) for m, wrong in messages]) == [m for m, _ in messages]


def test_noise_is_beyond_repair_and_reedsolo_is_not_asked(monkeypatch):
    rng = np.random.default_rng(4)
    words = [rng.integers(0, 256, 40, np.uint8).tobytes() for _ in range(3_000)]
    assert repair(words) == [repair([w])[0] for w in words] == [None] * 3_000
    asked = []
    monkeypatch.setattr("chaos.identity.repair._repaired", asked.append)
    repair(words)
    assert asked == []


def test_a_whole_word_is_itself(monkeypatch):
    monkeypatch.setattr("chaos.identity.repair._repaired", None)
    assert repair([encode(bytes(range(22)))]) == [bytes(range(22))]
    assert repair([]) == []


@pytest.mark.parametrize("wrong", [10, 11, 18, 30])
def test_what_is_beyond_repair_is_none(wrong):
    rng = np.random.default_rng(wrong)
    words = [damaged(encode(rng.bytes(22)), wrong, rng) for _ in range(200)]
    assert repair(words) == [repair([w])[0] for w in words]
    assert repair(words) == [None] * 200
