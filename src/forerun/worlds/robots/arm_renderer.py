"""Draws an arm without a screen: by OSMesa, or by what MUJOCO_GL names, such as egl."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, final

import numpy as np


@final
class ArmRenderer:
    """A context to draw in; made by hand, since `mujoco.Renderer` uses what was there when mujoco was imported.

    Args:
        simulation: with MuJoCo's `model` and `data`.
        add_features: adds to a `mujoco.MjvScene` what is to be seen beside the simulation.
        width, height: of a picture, in pixels.
    """

    def __init__(
        self,
        simulation: Any,
        add_features: Callable[[Any], None],
        width: int,
        height: int,
    ) -> None:
        import mujoco

        self._simulation = simulation
        self._add_features = add_features
        self._size = mujoco.MjrRect(0, 0, width, height)
        self._window = _make_window(width, height)
        self._scene = _make_scene(simulation.model)
        self._camera = _make_camera()
        self._drawing = mujoco.MjrContext(simulation.model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._drawing)

    def draw_picture(self) -> Any:
        """Return the arm as it is now, uint8 `(height, width, 3)`."""
        import mujoco

        self._window.make_current()
        mujoco.mjv_updateScene(
            self._simulation.model,
            self._simulation.data,
            mujoco.MjvOption(),
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        self._add_features(self._scene)
        mujoco.mjr_render(self._size, self._scene, self._drawing)
        pixels = np.empty((self._size.height, self._size.width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(pixels, None, self._size, self._drawing)
        return np.flipud(pixels).copy()


def _make_window(width: int, height: int) -> Any:
    """Return a context of OpenGL, current in this thread."""
    import mujoco
    from mujoco import osmesa

    if "MUJOCO_GL" in os.environ:
        window = mujoco.GLContext(width, height)
    else:
        window = osmesa.GLContext(width, height)
    window.make_current()
    return window


def _make_scene(model: Any) -> Any:
    """Return a scene without shadows and reflections, which take most of the time of a picture."""
    import mujoco

    scene = mujoco.MjvScene(model, maxgeom=10000)
    scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
    scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
    return scene


def _make_camera() -> Any:
    """Return a camera in front and above, that looks on the part of the table where the tasks are."""
    import mujoco

    camera = mujoco.MjvCamera()
    camera.lookat[:] = 0.0, 0.7, 0.1
    camera.distance = 0.85
    camera.azimuth = -65
    camera.elevation = -32
    return camera
