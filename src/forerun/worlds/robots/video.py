"""Videos of a robot at work, drawn without a screen."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, final

from forerun.worlds.robots.environment import Environment, EnvironmentRenderer, RobotTask

PICTURES_PER_SECOND = 20  # or as many as there are steps
VIDEO_WRITERS = {".gif": "PIL", ".mp4": "imageio_ffmpeg"}  # what writes which ending


def check_video(path: Path, task: RobotTask) -> None:
    """Make sure that a video of a task can be made, before anything runs.

    Raises:
        ValueError: the file's name ends otherwise.
        ImportError: what renders or writes it is not installed; the message has the line to type.
    """
    if path.suffix not in VIDEO_WRITERS:
        raise ValueError(
            f"a video is written as .mp4 or .gif, and {path} is neither; name it {path.stem}.mp4 or {path.stem}.gif"
        )
    task.check_rendering()
    if find_spec(VIDEO_WRITERS[path.suffix]) is None:
        raise ImportError(f"{path.suffix} needs {VIDEO_WRITERS[path.suffix]}: pip install 'forerun[robots]'")


@final
class VideoRecorder:
    """Records a picture every few steps.

    Args:
        every: steps between pictures; None for some twenty pictures a second.
        width, height: of a picture, in pixels.
        max_frames: pictures at most; later steps are not recorded.
    """

    def __init__(
        self,
        *,
        every: int | None = None,
        width: int = 320,
        height: int = 240,
        max_frames: int = 500,
    ) -> None:
        self.every = every
        self.width = width
        self.height = height
        self.max_frames = max_frames
        self.frames: list[Any] = []
        self._step_count = 0
        self._frame_rate = 0.0
        self._renderers: dict[int, EnvironmentRenderer] = {}

    def record_step(self, environment: Environment) -> None:
        """Record the picture after a step, where it is its turn."""
        self._step_count += 1
        every = self.every or max(environment.rate // PICTURES_PER_SECOND, 1)
        if self._step_count % every == 0 and len(self.frames) < self.max_frames:
            self._frame_rate = environment.rate / every
            self.frames.append(self._draw_picture(environment))

    def save(self, path: Path) -> None:
        """Write the pictures as a video that runs as fast as the robot did; `.gif` or `.mp4`."""
        if path.suffix == ".gif":
            self._save_gif(path)
        else:
            self._save_mp4(path)

    def _save_gif(self, path: Path) -> None:
        from PIL import Image

        first, *others = [Image.fromarray(frame) for frame in self.frames]
        milliseconds = 1000 / self._frame_rate
        first.save(
            path,
            save_all=True,
            append_images=others,
            duration=milliseconds,
            loop=0,
        )

    def _save_mp4(self, path: Path) -> None:
        import imageio_ffmpeg

        writer = imageio_ffmpeg.write_frames(
            str(path),
            (self.width, self.height),
            fps=self._frame_rate,
            macro_block_size=1,
        )
        writer.send(None)
        for frame in self.frames:
            writer.send(frame.tobytes())
        writer.close()

    def _draw_picture(self, environment: Environment) -> Any:
        renderer = self._renderers.get(id(environment))
        if renderer is None:
            renderer = environment.make_renderer(self.width, self.height)
            self._renderers[id(environment)] = renderer
        return renderer.draw_picture()
