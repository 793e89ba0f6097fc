"""The ways in which the harness cannot do its work; a finding is none of them.

Seen in h11: one error says that the caller broke the rules, the other that the far side did. An update that was never
tried has a third one. Broken invariants of
our own are none of these: they are ``assert``, crash the run, and never count as a verdict on the home system.
"""

from __future__ import annotations


class OwnframeError(Exception):
    """Base of what a person is told in one sentence: what was seen, what was expected, what to do next."""


class Misuse(OwnframeError):  # noqa: N818 - the word the documentation uses
    """The harness was used wrongly: an unknown name, a value out of range, a scenario that breaks a rule."""


class Surroundings(OwnframeError):  # noqa: N818 - the word the documentation uses
    """Something that the harness needs failed: a server died, a port was taken, a disk is full, a build broke."""


class CannotRunHere(OwnframeError):  # noqa: N818 - the word the documentation uses
    """An update that this stack, this Python or this machine cannot run: told apart from one that was not found out."""


class NoSuchVerb(Misuse, AttributeError):  # noqa: N818 - as its base
    """A scenario or a plain test calls what nothing is called; an `AttributeError`, so that `hasattr` works."""

    @classmethod
    def of(cls, who: object, name: str) -> NoSuchVerb:
        """Return the error that names the nearest verb of `who`."""
        kind = type(who)
        known = [n for n in dir(kind) if not n.startswith("_") and callable(getattr(kind, n, None))]
        return cls(f"{kind.__name__} has no verb {name!r}{nearest(name, known)}")


def nearest(word: str, known: list[str] | tuple[str, ...]) -> str:
    """Return ``'; did you mean X?'`` for the nearest known word, or the list of what is known.

    Meant for the end of a `Misuse` sentence.
    """
    import difflib  # noqa: PLC0415 - only wrong use pays for it

    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known)) or 'none'}"
