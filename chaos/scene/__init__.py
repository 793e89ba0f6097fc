"""The scenes that cameras film: painted, stamped with a badge, and served to their lenses over HTTP.

The harness owns the scene, not the camera, so that any camera that films what its lens gets can be tested.
"""

from __future__ import annotations

from chaos.scene.painting import paint
from chaos.scene.server import SceneServer

__all__ = ["SceneServer", "paint"]
