"""Videos of a robot at work, drawn without a screen."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, final

from forerun.worlds.robots.environment import Environment, PictureSource, RobotTask

PICTURES_PER_SECOND = 20  # pictures a second, or as many as there are steps
VIDEO_WRITERS = {".gif": "PIL", ".mp4": "imageio_ffmpeg"}  # and what writes them


def check_video(path: Path, task: RobotTask) -> None:
    """See that a video of a task can be made, before anything runs.

    Raises:
        ValueError: the file's name ends otherwise.
        ImportError: what renders or writes it is not installed; the message has the line to type.
    """
    if path.suffix not in VIDEO_WRITERS:
        raise ValueError(f"{path} is no video that can be written here; name it {path.stem}.mp4 or {path.stem}.gif")
    task.check_rendering()
    if find_spec(VIDEO_WRITERS[path.suffix]) is None:
        raise ImportError(f"{path.suffix} needs {VIDEO_WRITERS[path.suffix]}: pip install 'forerun[robots]'")


@final
class VideoRecorder:
    """Takes a picture every few steps.

    Args:
        every: steps between pictures; None for some twenty pictures a second.
        width, height: of a picture, in pixels.
        max_frames: pictures at most; what comes later is not taken.
    """

    def __init__(self, *, every: int | None = None, width: int = 320, height: int = 240, max_frames: int = 500) -> None:
        self.every, self.width, self.height, self.max_frames = every, width, height, max_frames
        self.frames: list[Any] = []
        self._seen, self._rate = 0, 0.0
        self._stages: dict[int, PictureSource] = {}

    def record_step(self, environment: Environment) -> None:
        """See one step."""
        self._seen += 1
        every = self.every or max(environment.rate // PICTURES_PER_SECOND, 1)
        if self._seen % every == 0 and len(self.frames) < self.max_frames:
            self._rate = environment.rate / every
            self.frames.append(self._picture(environment))

    def save(self, path: Path) -> None:
        """Write the pictures as a video, as fast as they were taken; `.gif` or `.mp4`."""
        rate = self._rate
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
        if id(environment) not in self._stages:
            self._stages[id(environment)] = environment.stage(self.width, self.height)
        return self._stages[id(environment)].picture()
