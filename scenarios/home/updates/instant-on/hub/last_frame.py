"""What stands on the screen while there is nothing new to show: the policy for the last frame.

'Camera unavailable' is all that an owner sees of a poor network. So the last picture of each camera is kept, and shown
when the camera does not answer, until its feed is closed.
"""

from __future__ import annotations

from PIL import Image
from screen import HEIGHT, WIDTH, Screen

POLICIES = ("clear", "keep")
"""What the setting may say; this hub keeps."""


class LastFrame:
    """Keeps the last frame of each camera, and shows it in place of a failure."""

    def __init__(self, screen: Screen, policy: str) -> None:  # noqa: ARG002
        self._screen = screen
        self._asked = ""
        self._kept: dict[str, bytes] = {}

    def on_ask(self, account: str, camera: str) -> None:  # noqa: ARG002
        """Paint that a camera was summoned: the picture on the screen is not its newest."""
        self._asked = camera
        self._screen.loading()

    def on_picture(self) -> None:
        """Keep what is on the screen now for the next time that this camera does not answer."""
        _, (shown,) = self._screen.entries(self._screen.seq)
        rgb = self._screen.raster(shown.raster)
        assert rgb is not None, "the journal keeps what stands on the screen"
        self._kept[self._asked] = rgb

    def on_failure(self) -> None:
        """Show the last frame of the camera, if there is one."""
        kept = self._kept.get(self._asked)
        if kept is None:
            self._screen.unavailable()
        else:
            self._screen.picture(Image.frombytes("RGB", (WIDTH, HEIGHT), kept))

    def on_close(self) -> None:
        """Clear: the feed was closed, and with it goes what was kept."""
        self._kept.clear()
        self._screen.home()

    def on_sign_out(self) -> None:
        """Clear the screen."""
        self._screen.home()
