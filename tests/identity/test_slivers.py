from __future__ import annotations

import numpy as np
import pytest

from chaos.frames import luma_of_jpeg
from chaos.identity import Badge, Key, Registered, Slivers, read
from chaos.identity.slivers import CASES, CHANCE, allowed_errors, looks
from tests.pictures import KEY, jpeg, scaled, stamped, textured

ADA = Badge(case=12, owner=3, camera=1, frame=9, time_ms=900)
GRACE = Badge(case=12, owner=1_044, camera=1, frame=9, time_ms=900)
EVERYBODY = tuple(Registered(owner, 1) for owner in range(1, 1_045))


def sliver(top: int, rows: int = 64, of: Badge = GRACE, on: Badge = ADA) -> np.ndarray:
    torn = stamped(on)
    torn[top : top + rows] = stamped(of, seed=2)[top : top + rows]
    return torn


def owners(luma: np.ndarray, slivers: Slivers) -> set[int]:
    return {s.owner for s in read(luma, [KEY], None, slivers)}


def test_64_rows_anywhere_name_their_owner_among_1044():
    slivers = Slivers(KEY, EVERYBODY)
    for top in range(0, 1080 - 64 + 1, 23):
        seen = read(sliver(top), [KEY], None, slivers)
        assert {s.owner for s in seen} == {3, 1_044}, top


def test_a_match_is_a_weaker_finding_than_a_mac():
    ada, grace = read(sliver(400), [KEY], None, Slivers(KEY, EVERYBODY))
    assert (ada.chance, ada.tiles > 0) == (None, True)
    assert grace.tiles == 0
    assert grace.time_ms is None
    assert grace.chance is not None
    assert 0 < grace.chance <= CHANCE


def test_without_a_register_a_sliver_names_nobody_more():
    assert {s.owner for s in read(sliver(400), [KEY])} == {3}


@pytest.mark.parametrize("size", [(1920, 1080), (1024, 576), (640, 360), (320, 180)])
def test_a_sliver_is_matched_in_a_jpeg_of_any_size(size):
    slivers = Slivers(KEY, EVERYBODY)
    for top in (100, 340, 700):
        luma = luma_of_jpeg(jpeg(scaled(sliver(top), *size), 75))
        assert luma is not None
        assert owners(luma, slivers) == {3, 1_044}


def test_a_sliver_of_somebody_who_is_not_registered_is_nobody():
    stranger = Badge(case=12, owner=5_000, camera=1, frame=9, time_ms=900)
    slivers = Slivers(KEY, EVERYBODY)
    for top in range(0, 1000, 61):
        assert owners(sliver(top, of=stranger), slivers) == {3}


def test_a_sliver_of_an_earlier_case_is_told_from_this_one():
    earlier = Badge(case=11, owner=3, camera=1, frame=2, time_ms=200)
    torn = sliver(400, of=earlier)
    slivers = Slivers(KEY, EVERYBODY, cases=[11])
    assert {(s.owner, s.case) for s in read(torn, [KEY], None, slivers)} == {(3, 12), (3, 11)}


def test_cases_are_learned_from_pictures_and_forgotten_again():
    slivers = Slivers(KEY, EVERYBODY[:5])
    for case in range(100, 100 + 3 * CASES):
        luma = scaled(stamped(Badge(case, 3, 1, 1, 1)), 240, 135)
        luma[40:60] = 0
        read(luma, [KEY], None, slivers)
    assert len(slivers._looks) <= CASES
    assert 100 + 3 * CASES - 1 in slivers._looks
    assert 100 not in slivers._looks


def test_scenes_and_noise_match_nobody():
    rng = np.random.default_rng(6)
    slivers = Slivers(KEY, EVERYBODY, cases=[12])
    for seed in range(5):
        assert owners(textured(seed), slivers) == set()
    for _ in range(40):
        assert owners(rng.integers(0, 256, (135, 240), np.uint8), slivers) == set()


def test_a_sliver_under_another_key_is_nobody():
    torn = stamped(ADA)
    torn[400:464] = stamped(GRACE, Key.fresh(), seed=2)[400:464]
    assert owners(torn, Slivers(KEY, EVERYBODY)) == {3}


def test_the_bound_tightens_with_everybody_who_is_compared():
    few, many = allowed_errors(3, 10), allowed_errors(3, 1_044 * 16)
    assert few > many > 0
    assert allowed_errors(2, 1_044) >= 0


def test_what_is_compared_is_random_from_owner_to_owner():
    look = looks(KEY, 12, EVERYBODY[:200])
    wrong = np.bitwise_count(look[:, :, None] ^ look[:, None, :])[:, ~np.eye(200, dtype=bool)]
    assert abs(wrong.mean() - 16) < 0.2
    assert wrong.std() == pytest.approx(0.5 * 32**0.5, rel=0.1)
