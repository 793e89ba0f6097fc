"""What stands on the screen while there is nothing new to show: the policy for the last frame."""

from __future__ import annotations

from screen import Screen

POLICIES = ("clear", "keep")


class LastFrame:
    """``clear``: a summons, a failure and a close each take the last frame off the screen at once.

    ``keep``: it stays while the same account's same camera is summoned again and does not answer; whenever account or
    camera change, or the feed is closed, it goes.
    """

    def __init__(self, screen: Screen, policy: str) -> None:
        self._screen = screen
        self._keeps = policy == "keep"
        self._shown: tuple[str, str] | None = None
        self._asked: tuple[str, str] | None = None
        self._stands = 0

    def on_ask(self, account: str, camera: str) -> None:
        """Decide what stands while a summoned camera has not answered."""
        self._asked = (account, camera)
        if not self._keeps or self._shown != self._asked:
            self._shown = None
            self._screen.loading()

    def on_picture(self) -> None:
        """Remember that what is on screen now is what was asked for."""
        self._shown, self._stands = self._asked, self._screen.seq

    def on_failure(self) -> None:
        """Decide what stands when the camera does not answer. Part of a newer picture is no last frame."""
        if not self._keeps or self._shown != self._asked or self._screen.seq != self._stands:
            self._shown = None
            self._screen.unavailable()

    def on_close(self) -> None:
        """Clear: the feed was closed."""
        self._shown = self._asked = None
        self._screen.home()

    def on_sign_out(self) -> None:
        """Clear: whoever looks at the screen from here on may be somebody else."""
        self.on_close()
