"""Reed-Solomon for the tiles of a picture: `reedsolo` repairs, and is not asked where it would refuse.

Refusing costs it 0.2 ms a word, and a picture of noise has fifteen words that are beyond repair. So how many bytes are
wrong is found for all of them at once, with the Berlekamp-Massey algorithm (Massey 1969, without inversions) in numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import reedsolo

from chaos.identity import layout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MANY = 3
"""Fewer words than this are cheaper to hand to `reedsolo` at once."""
_WRONG = layout.PARITY_BYTES // 2

_codec = reedsolo.RSCodec(layout.PARITY_BYTES, nsize=layout.CODEWORD_BYTES)
_LOG, _EXP, _ = (np.array(t, np.int64) for t in reedsolo.init_tables())
_PRODUCT: NDArray[np.uint8] = np.zeros((256, 256), np.uint8)
_PRODUCT[1:, 1:] = _EXP[(_LOG[1:, None] + _LOG[None, 1:]) % 255]
"""Products in GF(256), as (256, 256)."""
_powers = np.arange(layout.CODEWORD_BYTES - 1, -1, -1)[:, None] * np.arange(layout.PARITY_BYTES)[None, :]
_SYNDROMES: NDArray[np.uint8] = _PRODUCT[_EXP[_powers % 255]].transpose(0, 2, 1).copy()
"""What a byte at a place adds to the syndromes, as (40, 256, 18)."""
_exponents = -_powers[:, 1:2] * np.arange(_WRONG + 1)[None, :]
_INVERSES: NDArray[np.uint8] = _EXP[_exponents % 255].astype(np.uint8)
"""Powers 0 to 9 of what stands for each place in the locator of wrong bytes, as (40, 10)."""


def encode(message: bytes) -> bytes:
    """Return the 40 bytes of a code word of the 22 of a message."""
    return bytes(_codec.encode(message))


def repair(words: Sequence[bytes]) -> list[bytes | None]:
    """Return the 22 repaired bytes of each word of 40, or None where more than 9 are wrong."""
    if not words:
        return []
    received = np.frombuffer(b"".join(words), np.uint8).reshape(-1, layout.CODEWORD_BYTES)
    syndromes = np.bitwise_xor.reduce(_SYNDROMES[np.arange(layout.CODEWORD_BYTES), received], axis=1)
    wrong = syndromes.any(axis=1)
    likely = _repairable(syndromes) if wrong.sum() >= MANY else wrong
    return [
        word[: layout.CODEWORD_BYTES - layout.PARITY_BYTES] if not w else _repaired(word) if yes else None
        for word, w, yes in zip(words, wrong, likely, strict=True)
    ]


def _repaired(word: bytes) -> bytes | None:
    try:
        return bytes(_codec.decode(word)[0])
    except reedsolo.ReedSolomonError:
        return None


def _repairable(syndromes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether each word can have at most 9 wrong bytes, from its (18) syndromes."""
    many = len(syndromes)
    padded = np.zeros((many, _WRONG + layout.PARITY_BYTES), np.uint8)
    padded[:, _WRONG:] = syndromes
    locator = np.zeros((many, _WRONG + 1), np.uint8)
    locator[:, 0] = 1
    before, scale = locator.copy(), np.ones((many, 1), np.uint8)
    length = np.zeros((many, 1), np.int64)
    shifted = np.zeros_like(before)
    for i in range(layout.PARITY_BYTES):
        recent = padded[:, i : i + _WRONG + 1][:, ::-1]
        delta = np.bitwise_xor.reduce(_PRODUCT[locator, recent], axis=1, keepdims=True)
        shifted[:, 1:] = before[:, :-1]
        longer = (delta != 0) & (2 * length <= i)
        following = _PRODUCT[scale, locator] ^ _PRODUCT[delta, shifted]
        before = np.where(longer, locator, shifted)
        scale = np.where(longer, delta, scale)
        length = np.where(longer, i + 1 - length, length)
        locator = following
    values = np.bitwise_xor.reduce(
        _PRODUCT[locator[:, None, :], _INVERSES], axis=2
    )  # (words, 40), 0 where a byte is wrong
    return np.asarray((values == 0).sum(axis=1) == length[:, 0])
