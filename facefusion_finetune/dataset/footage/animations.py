"""An animated picture file (GIF, PNG, WebP, AVIF) as a stream of frames.

What it shows are its pictures, however long each of them stands; so pictures are chosen, not
moments, and the last one is among them.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import cv2
import numpy
from numpy.typing import NDArray

from facefusion_finetune.dataset.footage.videos import VideoFrame
from facefusion_finetune.errors import UnreadableError
from facefusion_finetune.faces.images import read_animation
from facefusion_finetune.faces.pictures.limits import MAX_ANIMATION_PICTURES, MAX_ANIMATION_PIXELS
from facefusion_finetune.faces.protocol import VisionFrame

CUT_DIFFERENCE = 28.0
"""Mean grey-level change of a 16 x 16 thumbnail above which a new shot begins, for pictures.

On the bench footage, a head that moves between two samples of one shot stays below 15.
"""

SIDE = 16
"""Width and height of the thumbnails."""


@dataclass(frozen=True)
class AnimationLayout:
    """Which of an animation's pictures are taken, when they are shown, and in which shot."""

    places: dict[int, tuple[float, int]]
    """Seconds from the start, and index of the shot, from 0; by index of the picture, ascending."""
    damage: str | None = None
    """A sentence, if only the first part of it is used."""

    @property
    def numbers(self) -> Sequence[int]:
        """Indices of the pictures that are taken."""
        return list(self.places)


def plan_animation(path: Path, frames_per_second: float, most: int) -> AnimationLayout:
    """Look at all pictures once, and choose some.

    Args:
        path: The file.
        frames_per_second: Largest number of pictures taken per second, the last one excepted.
        most: Largest number of pictures, spread evenly.

    Raises:
        UnreadableError: Not even the first picture can be decoded.
    """
    places: list[tuple[float, int]] = []
    damage, time, shot, before = None, 0.0, 0, None
    pictures = read_animation(path, count(), SIDE)
    with closing(pictures):
        try:
            for number, picture in pictures:
                thumbnail = shrink(picture.pixels)
                if before is not None and is_cut(before, thumbnail):
                    shot += 1
                before = thumbnail
                places.append((time, shot))
                time += picture.duration
                if number + 1 >= _count_most(picture.size):
                    damage = f"{path}: only its first {number + 1} pictures are used."
                    break
        except UnreadableError as error:
            if not places:
                raise
            damage = f"{path}: it breaks off after {len(places)} pictures. The part before is used."
            damage += f" ({error.why})"
    chosen = choose_pictures([start for start, _ in places], frames_per_second, most)
    return AnimationLayout({number: places[number] for number in chosen}, damage)


def choose_pictures(starts: Sequence[float], frames_per_second: float, most: int) -> list[int]:
    """Indices of the pictures to take, the first and the last among them.

    Args:
        starts: When each picture is shown, in seconds, ascending.
        frames_per_second: Largest number per second, the last one excepted.
        most: Largest number, at least 1.
    """
    chosen = [0]
    for number, start in enumerate(starts):
        # A thousandth allows for rounding.
        if start >= starts[chosen[-1]] + 1 / frames_per_second - 1e-3:
            chosen.append(number)
    if chosen[-1] != len(starts) - 1:
        chosen.append(len(starts) - 1)
    if len(chosen) > most:
        chosen = [chosen[int(place)] for place in numpy.linspace(0, len(chosen) - 1, most).round()]
    return chosen


def read_pictures(path: Path, layout: AnimationLayout) -> Iterator[VideoFrame]:
    """The planned pictures, in order, as they are decoded; one equal to the former is skipped.

    Raises:
        UnreadableError: A picture cannot be decoded.
    """
    former = None
    with closing(read_animation(path, layout.numbers)) as pictures:
        for number, picture in pictures:
            if former is None or not numpy.array_equal(picture.pixels, former):
                time, shot = layout.places[number]
                yield VideoFrame(number, time, shot, picture.pixels)
            former = picture.pixels


def shrink(pixels: VisionFrame) -> NDArray[numpy.float32]:
    """A picture's thumbnail."""
    thumbnail = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return numpy.asarray(thumbnail, dtype=numpy.float32)


def is_cut(before: NDArray[numpy.float32], after: NDArray[numpy.float32]) -> bool:
    """Whether two thumbnails differ as much as those of different shots."""
    return float(numpy.abs(after - before).mean()) > CUT_DIFFERENCE


def _count_most(size: tuple[int, int]) -> int:
    """How many pictures of a size are looked at."""
    return min(MAX_ANIMATION_PICTURES, max(MAX_ANIMATION_PIXELS // (size[0] * size[1]), 1))
