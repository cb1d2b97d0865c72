"""Where an arm is drawn without a screen: by OSMesa, or by what MUJOCO_GL names, such as egl."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, final

import numpy as np


@final
class ArmRenderer:
    """A context to draw in; made by hand, since `mujoco.Renderer` takes what it found when mujoco was imported.

    Args:
        simulation: with MuJoCo's `model` and `data`.
        add: adds what shall be seen besides to a `mujoco.MjvScene`.
        width, height: of a picture, in pixels.
    """

    def __init__(self, simulation: Any, add: Callable[[Any], None], width: int, height: int) -> None:
        import mujoco
        from mujoco import osmesa

        self._simulation, self._add, model = simulation, add, simulation.model
        kind = mujoco.GLContext if "MUJOCO_GL" in os.environ else osmesa.GLContext
        self._model, self._size = model, mujoco.MjrRect(0, 0, width, height)
        self._context = kind(width, height)
        self._context.make_current()
        self._scene, self._camera = mujoco.MjvScene(model, maxgeom=10000), _camera()
        for effect in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[effect] = 0  # most of the time of a picture
        self._paper = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._paper)

    def picture(self) -> Any:
        """Uint8 `(height, width, 3)`."""
        import mujoco

        self._context.make_current()
        seen, option = mujoco.mjtCatBit.mjCAT_ALL, mujoco.MjvOption()
        mujoco.mjv_updateScene(self._model, self._simulation.data, option, None, self._camera, seen, self._scene)
        self._add(self._scene)
        mujoco.mjr_render(self._size, self._scene, self._paper)
        pixels = np.empty((self._size.height, self._size.width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(pixels, None, self._size, self._paper)
        return np.flipud(pixels).copy()


def _camera() -> Any:
    """From the front and above, on the part of the table where the tasks are."""
    import mujoco

    camera = mujoco.MjvCamera()
    camera.lookat[:] = 0.0, 0.7, 0.1
    camera.distance, camera.azimuth, camera.elevation = 0.85, -65, -32
    return camera
