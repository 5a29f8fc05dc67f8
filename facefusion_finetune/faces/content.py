"""FaceFusion's content check with its three published classifiers, without FaceFusion.

A picture is refused if two of three classifiers flag it; a video, if more than a tenth of its
frames, sampled at one per second, are flagged. The networks' inputs and outputs follow FaceFusion's
contract for these files; the tests compare this module with FaceFusion's own.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy
from numpy.typing import NDArray

from facefusion_finetune.errors import FootageError, UnreadableError
from facefusion_finetune.faces.ffmpeg import decode_frames, probe_video
from facefusion_finetune.faces.protocol import VisionFrame
from facefusion_finetune.home import expand_path
from facefusion_finetune.swappers.known import is_whole
from facefusion_finetune.swappers.sessions import create_session

CONTENT_VARIABLE = "FACEFUSION_FINETUNE_CONTENT_MODELS"

VOTES = 2
MAX_FLAGGED_SHARE = 0.1
"""Largest share of a video's sampled frames that may be flagged."""

Answer = NDArray[numpy.float32]


@dataclass(frozen=True)
class Classifier:
    """The input and output contract of one of the networks."""

    side: int
    """Width and height of its input, in pixels."""
    mean: tuple[float, float, float]
    standard_deviation: tuple[float, float, float]
    """The input is RGB in 0..1, minus `mean`, divided by this."""
    score: Callable[[Answer], float]
    limit: float
    """A score above this flags the picture."""

    def prepare(self, vision_frame: VisionFrame) -> NDArray[numpy.float32]:
        """(1, 3, side, side): the whole picture, centred in a black square."""
        height, width = vision_frame.shape[:2]
        scale = min(self.side / height, self.side / width)
        size = (max(int(width * scale), 1), max(int(height * scale), 1))
        left, top = ((self.side - length) // 2 for length in size)
        square = numpy.zeros((self.side, self.side, 3), numpy.uint8)
        square[top : top + size[1], left : left + size[0]] = cv2.resize(vision_frame, size)
        scaled = (square[..., ::-1] / 255.0 - self.mean) / self.standard_deviation
        return scaled.transpose(2, 0, 1)[None].astype(numpy.float32)

    def flags(self, answer: Answer) -> bool:
        """Whether the output for a picture flags it."""
        return self.score(answer) > self.limit


CLASSIFIERS: Mapping[str, Classifier] = MappingProxyType(
    {
        # boxes: four coordinates, then a score for each class
        "nsfw_1": Classifier(
            640,
            (0.0, 0.0, 0.0),
            (1.0, 1.0, 1.0),
            lambda answer: float(answer[:, 4:].max()),
            0.2,
        ),
        "nsfw_2": Classifier(
            384,
            (0.5, 0.5, 0.5),
            (0.5, 0.5, 0.5),
            lambda answer: float(answer[0, 0] - answer[0, 1]),
            0.25,
        ),
        "nsfw_3": Classifier(
            448,
            (0.48145466, 0.4578275, 0.40821073),
            (0.26862954, 0.26130258, 0.27577711),
            lambda answer: float((answer[0, 2] + answer[0, 3]) - (answer[0, 0] + answer[0, 1])),
            10.5,
        ),
    }
)
"""By the name of the file."""


class ContentCheck:
    """Decides whether footage may be used. The networks are opened on first use.

    Args:
        directory: The folder of `nsfw_1.onnx` to `nsfw_3.onnx`, each with its `.hash`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def is_frame_blocked(self, vision_frame: VisionFrame) -> bool:
        """Whether the picture is refused.

        Raises:
            FootageError: The classifiers are missing or damaged.
        """
        votes = 0
        for name, session in self._sessions.items():
            inputs = {session.get_inputs()[0].name: CLASSIFIERS[name].prepare(vision_frame)}
            votes += CLASSIFIERS[name].flags(session.run(None, inputs)[0])
        return votes >= VOTES

    @cached_property
    def _sessions(self) -> dict[str, Any]:
        paths = {name: self._directory / f"{name}.onnx" for name in CLASSIFIERS}
        faults = [f"{path.name} is missing" for path in paths.values() if not path.is_file()]
        faults = faults or [
            f"{path.name} is damaged (its crc32 does not match its .hash)"
            for path in paths.values()
            if not is_whole(path)
        ]
        if faults:
            raise FootageError(
                "the content check",
                f"{', '.join(faults)} in {self._directory}; unchecked footage is not used.",
                "Copy nsfw_1, nsfw_2 and nsfw_3, .onnx and .hash, from .assets/models of a"
                f" FaceFusion, or set {CONTENT_VARIABLE} to the folder that has them.",
            )
        return {name: create_session(path, str(path)) for name, path in paths.items()}


def is_video_blocked(path: Path, is_frame_blocked: Callable[[VisionFrame], bool]) -> bool:
    """Whether a video is refused, by a check of pictures.

    The file is decoded here, within limits. FaceFusion's own check of videos would give it to an
    ffmpeg that follows playlists, and that decodes whatever it is given.

    Args:
        path: The video.
        is_frame_blocked: The check of one picture.

    Raises:
        FootageError: There is no ffmpeg.
        UnreadableError: The file cannot be read, so its content is unchecked.
    """
    return is_sequence_blocked(read_every_second(path), is_frame_blocked)


def is_sequence_blocked(
    frames: Iterable[VisionFrame], is_frame_blocked: Callable[[VisionFrame], bool]
) -> bool:
    """Whether a video or animation is refused, by the vote of its sampled pictures.

    Args:
        frames: At least one.
        is_frame_blocked: The check of one picture.
    """
    flags = [is_frame_blocked(frame) for frame in frames]
    return sum(flags) / len(flags) > MAX_FLAGGED_SHARE


STEADY_RATE = 0.9
"""Ratio of mean to nominal frame rate from which a video counts as constant rate."""


def read_every_second(path: Path) -> Iterator[VisionFrame]:
    """The first frame, then one per second, as `decode_frames` reads them.

    FaceFusion counts frames by the nominal rate, rounded down. So does this function, but a video
    with fewer frames than that, such as a phone's, is sampled by timestamps, since otherwise too
    little of it would be checked; and one without a stated rate is read completely.

    Raises:
        FootageError: ffmpeg or ffprobe is not installed.
        UnreadableError: The file cannot be decoded as a video.
    """
    try:
        video = probe_video(path)
        choice = f"not(mod(n,{max(int(video.nominal_rate), 1)}))"
        if video.mean_rate < STEADY_RATE * video.nominal_rate:
            # Times that go back count as well.
            choice = "isnan(prev_selected_t)+gte(abs(t-prev_selected_t),1)"
        for _, pixels in decode_frames(video, choice):
            yield pixels
    except UnreadableError as error:
        raise UnreadableError(
            error.given, f"{error.why} So its content is unchecked.", error.todo
        ) from error


def find_content_directory(otherwise: Path, given: Path | None = None) -> Path:
    """The folder searched for the classifiers, whether they exist or not.

    Args:
        otherwise: Used if neither `given` nor `FACEFUSION_FINETUNE_CONTENT_MODELS` is set.
        given: A folder given by the user.
    """
    configured = given or os.environ.get(CONTENT_VARIABLE)
    return expand_path(configured) if configured else otherwise
