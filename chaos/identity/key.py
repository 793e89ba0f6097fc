"""The secret of one run, under which its badges authenticate."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from chaos.errors import Misuse

KEY_BYTES = 32
MAC_BYTES = 8
"""A forged or misread tile passes once in 2**64 tries; a million frames are 1.2e7 tiles."""


class Key:
    """A secret of 32 bytes, fresh for every run. It prints as its `id` and never as itself."""

    __slots__ = ("_secret", "id")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != KEY_BYTES:
            raise Misuse(f"a badge key has {len(secret)} bytes; expected {KEY_BYTES}: use the run's key file")
        self._secret = bytes(secret)
        self.id = hashlib.blake2b(self._secret, digest_size=4, person=b"ownframe key id").hexdigest()
        """Eight hexadecimal digits that tell keys apart and say nothing about the secret: safe to print."""

    @classmethod
    def fresh(cls) -> Key:
        """Return a new key from the system's randomness."""
        return cls(secrets.token_bytes(KEY_BYTES))

    @classmethod
    def from_hex(cls, text: str) -> Key:
        """Return the key that `hex` wrote. Raises `Misuse`, which does not repeat the text."""
        try:
            secret = bytes.fromhex(text.strip())
        except ValueError:
            raise Misuse(
                f"a badge key is not written in hexadecimal; expected {2 * KEY_BYTES} hexadecimal digits:"
                " use the key file that the run wrote"
            ) from None
        return cls(secret)

    def hex(self) -> str:
        """Return the secret as 64 hexadecimal digits: for a file of mode 0600 and for nothing else."""
        return self._secret.hex()

    def mac(self, payload: bytes) -> bytes:
        """Return the 8 bytes that vouch for `payload`: keyed BLAKE2b, personalised for badges."""
        return hashlib.blake2b(payload, digest_size=MAC_BYTES, key=self._secret, person=b"ownframe badge").digest()

    def filling(self, head: bytes) -> bytes:
        """Return the 7 bytes that fill up a static payload, different all over for each `head`."""
        return hashlib.blake2b(head, digest_size=7, key=self._secret, person=b"ownframe filling").digest()

    def vouches(self, payload: bytes, mac: bytes) -> bool:
        """Whether `mac` is the one of `payload` under this key."""
        return hmac.compare_digest(self.mac(payload), mac)

    def __repr__(self) -> str:
        return f"<Key {self.id}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash(self._secret)
