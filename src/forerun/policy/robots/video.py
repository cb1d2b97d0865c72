"""Videos of an arm at work, rendered without a screen: by OSMesa, or by what MUJOCO_GL names, such as egl."""

from __future__ import annotations

import ctypes.util
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, final

import numpy as np

from forerun.policy.robots.environment import Environment

RATE = 80  # steps a second
KINDS = {".gif": "PIL", ".mp4": "imageio_ffmpeg"}  # and what writes them


def refuse_video(path: Path) -> None:
    """See that a video can be made, before anything runs.

    Raises:
        ValueError: the file's name ends otherwise.
        ImportError: what renders or writes it is not installed; the message has the line to type.
    """
    if path.suffix not in KINDS:
        raise ValueError(f"{path} is no video that can be written here; name it {path.stem}.mp4 or {path.stem}.gif")
    if "MUJOCO_GL" not in os.environ and ctypes.util.find_library("OSMesa") is None:
        raise ImportError("no video: rendering without a screen needs OSMesa; on Debian: apt-get install libosmesa6")
    if find_spec(KINDS[path.suffix]) is None:
        raise ImportError(f"{path.suffix} needs {KINDS[path.suffix]}: pip install 'forerun[robots]'")


@final
class Recorder:
    """Takes a picture every few steps.

    Args:
        every: steps between pictures.
        width, height: of a picture, in pixels.
        limit: pictures at most; what comes later is not taken.
    """

    def __init__(self, *, every: int = 4, width: int = 320, height: int = 240, limit: int = 500) -> None:
        self.every, self.width, self.height, self.limit = every, width, height, limit
        self.frames: list[Any] = []
        self._seen = 0
        self._stage: _Stage | None = None

    def watch(self, environment: Environment) -> None:
        """See one step."""
        self._seen += 1
        if self._seen % self.every == 0 and len(self.frames) < self.limit:
            self.frames.append(self._picture(environment))

    def save(self, path: Path) -> None:
        """Write the pictures as a video, as fast as they were taken; `.gif` or `.mp4`."""
        rate = RATE / self.every
        if path.suffix == ".gif":
            from PIL import Image

            first, *rest = (Image.fromarray(frame) for frame in self.frames)
            first.save(path, save_all=True, append_images=rest, duration=1000 / rate, loop=0)
            return
        import imageio_ffmpeg

        writer = imageio_ffmpeg.write_frames(str(path), (self.width, self.height), fps=rate, macro_block_size=1)
        writer.send(None)
        for frame in self.frames:
            writer.send(frame.tobytes())
        writer.close()

    def _picture(self, environment: Environment) -> Any:
        self._stage = self._stage or _Stage(environment.arm.model, self.width, self.height)
        return self._stage.picture(environment)


class _Stage:
    """A context to draw in; made by hand, since `mujoco.Renderer` takes what it found when mujoco was imported."""

    def __init__(self, model: Any, width: int, height: int) -> None:
        import mujoco
        from mujoco import osmesa

        kind = mujoco.GLContext if "MUJOCO_GL" in os.environ else osmesa.GLContext
        self._model, self._size = model, mujoco.MjrRect(0, 0, width, height)
        self._context = kind(width, height)
        self._context.make_current()
        self._scene, self._camera = mujoco.MjvScene(model, maxgeom=10000), _camera()
        for effect in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[effect] = 0  # most of the time of a picture
        self._paper = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._paper)

    def picture(self, environment: Environment) -> Any:
        """Uint8 `(height, width, 3)`."""
        import mujoco

        self._context.make_current()
        seen, option = mujoco.mjtCatBit.mjCAT_ALL, mujoco.MjvOption()
        mujoco.mjv_updateScene(self._model, environment.arm.data, option, None, self._camera, seen, self._scene)
        environment.task.course.draw(self._scene, environment.features)
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
