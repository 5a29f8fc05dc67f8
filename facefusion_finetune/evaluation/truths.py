"""True swaps, which are known only in a synthetic world."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy
from numpy.typing import NDArray

from facefusion_finetune import home, temporary
from facefusion_finetune.damage import parse_json, read_file
from facefusion_finetune.dataset.crops import AlignedCrop
from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.errors import EvaluationError
from facefusion_finetune.evaluation.pictures import save_picture
from facefusion_finetune.evaluation.targets import targets_directory
from facefusion_finetune.faces.images import read_png
from facefusion_finetune.faces.protocol import FaceGeometry, VisionFrame
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.catalogue import SwapperOptions

Draw = Callable[[CropRecord], VisionFrame]
"""From a target's record to the whole frame, drawn with a certain person's face."""


@dataclass(frozen=True)
class KnownPerson:
    """Another person whose true swaps can be drawn."""

    vector: NDArray[numpy.float64]
    """(512,): embedding that drives the base."""
    draw: Draw


@dataclass(frozen=True)
class World:
    """A synthetic world: footage for targets, and their true swaps."""

    footage: list[Path]
    """Footage of other people."""
    draw: Draw
    """Draws a frame with the person's face."""
    others: list[KnownPerson]


@dataclass(frozen=True)
class Truths:
    """True swaps onto a run's targets, as aligned crops."""

    person: NDArray[numpy.uint8]
    """(targets, H, W, 3), BGR: the targets with the person's face."""
    vectors: NDArray[numpy.float64]
    """(others, 512): embeddings of the other people."""
    rows: NDArray[numpy.int64]
    """(m, 2): rows of a target and of one of the others."""
    others: NDArray[numpy.uint8]
    """(m, H, W, 3), BGR: the target with that other person's face."""


def draw_truths(
    run: Run,
    world: World,
    targets: list[AlignedCrop],
    analyser: FaceGeometry,
    options: SwapperOptions,
    rows: NDArray[numpy.int64],
) -> None:
    """Draw the true swaps onto the run's targets, and keep them in the run.

    Args:
        run: A run with targets.
        world: The synthetic world.
        targets: All of the run's targets.
        analyser: Aligns faces.
        options: The base's options.
        rows: (m, 2): rows of a target and of the other person drawn onto it.
    """

    def draw(draw_frame: Draw, target: AlignedCrop, path: Path) -> None:
        left, top = target.record.offset
        width, height = target.record.size
        cutout = draw_frame(target.record)[top : top + height, left : left + width]
        save_picture(path, target.crop_again(cutout, analyser, options))

    whole = targets_directory(run) / "truths"
    with temporary.stage_folder(whole) as folder:
        for number, target in enumerate(targets):
            draw(world.draw, target, folder / f"person-{number}.png")
        for number, (row, other) in enumerate(rows):
            draw(world.others[other].draw, targets[row], folder / f"other-{number}.png")
        content = io.BytesIO()
        numpy.save(content, numpy.stack([person.vector for person in world.others]))
        home.write_bytes(folder / "others.npy", content.getvalue())
        home.write_text(folder / "rows.json", json.dumps(rows.tolist()) + "\n")
        folder.replace(whole)


def load_truths(run: Run, targets: int) -> Truths | None:
    """The true swaps kept in a run; None if there are none.

    Args:
        run: The run.
        targets: Number of the run's targets.

    Raises:
        EvaluationError: The files are damaged.
    """
    folder = targets_directory(run) / "truths"
    if not folder.is_dir():
        return None
    try:
        rows = numpy.array(read_file(folder / "rows.json", parse_json), numpy.int64)
        rows = rows.reshape(-1, 2)
        vectors = numpy.load(folder / "others.npy", allow_pickle=False)
        if rows.min() < 0 or (rows.max(axis=0) >= (targets, len(vectors))).any():
            raise ValueError("rows.json refers to missing targets or people")
        return Truths(
            person=_load(folder, "person", targets),
            vectors=vectors,
            rows=rows,
            others=_load(folder, "other", len(rows)),
        )
    # numpy raises EOFError for an empty file, TypeError for rows that are not numbers
    except (OSError, EOFError, TypeError, ValueError) as error:
        raise EvaluationError(
            str(folder),
            f"its true swaps are damaged ({error}).",
            "Delete the folder to evaluate without them.",
        ) from error


def _load(folder: Path, kind: str, count: int) -> NDArray[numpy.uint8]:
    pictures = []
    for number in range(count):
        path = folder / f"{kind}-{number}.png"
        picture = read_png(path)
        if picture is None:
            raise ValueError(f"{path.name} is missing or damaged")
        pictures.append(picture)
    return numpy.stack(pictures)
