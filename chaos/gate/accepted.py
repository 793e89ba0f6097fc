"""Findings that somebody answers for until a date: read from a TOML file, matched by fingerprint.

```toml
[[accepted]]
fingerprint = "0b1f3c5a7d9e"
owner = "Mira, video team"
reason = "only with the old relay, which is gone in week 12"
expires = 2027-03-31
```
"""

from __future__ import annotations

import re
import tomllib
from datetime import date, datetime
from pathlib import Path

import msgspec

from chaos.errors import Misuse, nearest

_FINGERPRINT = re.compile(r"[0-9a-f]{8,64}")


class Accepted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A finding that fails no gate until `expires`, that day included; `owner` answers for it, for that `reason`."""

    fingerprint: str
    owner: str
    reason: str
    expires: date

    def expired(self, today: date) -> bool:
        """Whether its time is over."""
        return today > self.expires

    def describe(self) -> str:
        """Return what is told of it."""
        return f"{self.fingerprint}, accepted by {self.owner} until {self.expires}: {self.reason}"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    accepted: tuple[Accepted, ...] = ()


def read(file: Path) -> tuple[Accepted, ...]:
    """Return what a file accepts. Raises `Misuse` that says which entry lacks what."""
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as refused:
        raise Misuse(f"the accepted findings in {file} cannot be read ({refused.strerror or refused})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise Misuse(f"{file} is no TOML: {wrong}") from None
    for table in raw.keys() - {"accepted"}:
        raise Misuse(f"{file} has {table!r}{nearest(table, ['accepted'])}")
    entries = raw.get("accepted", [])
    for number, entry in enumerate(entries if isinstance(entries, list) else [], 1):
        for field in entry.keys() - set(Accepted.__struct_fields__) if isinstance(entry, dict) else ():
            raise Misuse(f"{file}, entry {number}, has {field!r}{nearest(field, Accepted.__struct_fields__)}")
        if isinstance(entry, dict) and isinstance(entry.get("expires"), datetime):
            entry["expires"] = entry["expires"].date()
    try:
        found = msgspec.convert(raw, _File).accepted
    except msgspec.ValidationError as wrong:
        raise Misuse(
            f"{file}: {wrong}; each [[accepted]] has a fingerprint, an owner, a reason, and expires = 2027-03-31"
        ) from None
    known: set[str] = set()
    for number, one in enumerate(found, 1):
        where = f"{file}, entry {number}"
        if not _FINGERPRINT.fullmatch(one.fingerprint):
            raise Misuse(
                f"{where}: {one.fingerprint!r} is no fingerprint; a gate prints them, hexadecimal digits such as "
                "'0b1f3c5a7d9e'"
            )
        for field in ("owner", "reason"):
            if not getattr(one, field).strip():
                raise Misuse(f"{where} has no {field}; who accepts a leak says who and why")
        if one.fingerprint in known:
            raise Misuse(f"{where} accepts {one.fingerprint} a second time; expected each once")
        known.add(one.fingerprint)
    return found
