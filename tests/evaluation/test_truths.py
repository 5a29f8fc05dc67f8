"""True swaps are kept with the targets they belong to."""

import shutil
from pathlib import Path

import cv2
import numpy
import pytest
from numpy.typing import NDArray

from facefusion_finetune.dataset.crops import AlignedCrop, load_folder
from facefusion_finetune.dataset.manifest import CropRecord
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.demo.truths import OTHERS, create_world
from facefusion_finetune.errors import EvaluationError
from facefusion_finetune.evaluation.targets import (
    collect_targets,
    read_targets,
    targets_directory,
)
from facefusion_finetune.evaluation.truths import (
    KnownPerson,
    World,
    draw_truths,
    load_truths,
)
from facefusion_finetune.people.profile import Person
from facefusion_finetune.runs.run import Run
from tests.support.demo_world import NOBODY, OTHER_SEED
from tests.support.runs import create_finished_run

ROWS = numpy.array([[0, 1], [3, 0], [3, 1]])


def _paint(grey: int, record: CropRecord) -> NDArray[numpy.uint8]:
    """The whole frame in one grey that tells the frame, too."""
    height, width = cv2.imread(record.source).shape[:2]
    return numpy.full((height, width, 3), grey + record.frame % 50, dtype=numpy.uint8)


@pytest.fixture
def run(extracted: Person, analyser: DemoAnalyser, other_footage: Path) -> Run:
    run = create_finished_run(extracted, analyser.get_swapper("demo"))
    collect_targets(run, [other_footage], analyser, NOBODY)
    return run


@pytest.fixture
def targets(run: Run, analyser: DemoAnalyser) -> list[AlignedCrop]:
    options = analyser.get_swapper("demo")
    return load_folder(targets_directory(run), read_targets(run), analyser, options)


@pytest.fixture
def drawn(run: Run, targets: list[AlignedCrop], analyser: DemoAnalyser) -> Run:
    others = [
        KnownPerson(numpy.full(512, number + 0.5), lambda record, grey=grey: _paint(grey, record))
        for number, grey in enumerate((80, 120))
    ]
    world = World([], lambda record: _paint(160, record), others)
    draw_truths(run, world, targets, analyser, analyser.get_swapper("demo"), ROWS)
    return run


def test_what_was_drawn_comes_back(drawn: Run, targets: list[AlignedCrop]) -> None:
    truths = load_truths(drawn, len(targets))
    assert truths is not None
    assert truths.person.shape == numpy.stack([target.crop for target in targets]).shape
    for row, target in enumerate(targets):
        assert (truths.person[row] == 160 + target.record.frame % 50).all()
    numpy.testing.assert_array_equal(truths.rows, ROWS)
    numpy.testing.assert_array_equal(truths.vectors, [[0.5] * 512, [1.5] * 512])
    for picture, (row, other) in zip(truths.others, ROWS, strict=True):
        assert (picture == (80, 120)[other] + targets[row].record.frame % 50).all()


def test_targets_without_truths(run: Run, targets: list[AlignedCrop]) -> None:
    assert load_truths(run, len(targets)) is None


def test_new_targets_forget_the_truths_of_the_earlier_ones(
    drawn: Run, analyser: DemoAnalyser, other_footage: Path
) -> None:
    records = collect_targets(drawn, [other_footage], analyser, NOBODY)
    assert load_truths(drawn, len(records)) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.json", b"[[0, 1"),
        ("rows.json", b"[[0, 1], [3]]"),
        ("rows.json", b'{"rows": 3}'),
        ("rows.json", b"[[0, 1], [99, 0], [3, 1]]"),
        ("rows.json", b"[[0, 1], [3, 2], [3, 1]]"),
        ("rows.json", b"[]"),
        ("others.npy", b""),
        ("others.npy", b"no numbers"),
        ("person-2.png", b"no picture"),
        ("person-2.png", None),
        ("other-1.png", None),
        ("others.npy", None),
    ],
)
def test_damaged_folder_is_said_to_be_damaged(
    drawn: Run, targets: list[AlignedCrop], name: str, content: bytes | None
) -> None:
    folder = targets_directory(drawn) / "truths"
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(EvaluationError, match="are damaged") as caught:
        load_truths(drawn, len(targets))
    assert caught.value.given == str(folder)
    assert "Delete the folder" in caught.value.todo
    shutil.rmtree(folder)
    assert load_truths(drawn, len(targets)) is None


def test_interrupted_drawing_leaves_no_truths(
    run: Run, targets: list[AlignedCrop], analyser: DemoAnalyser
) -> None:
    def fail(record: CropRecord) -> NDArray[numpy.uint8]:
        raise KeyboardInterrupt

    world = World([], lambda record: _paint(160, record), [KnownPerson(numpy.ones(512), fail)])
    rows = numpy.array([[0, 0]])
    with pytest.raises(KeyboardInterrupt):
        draw_truths(run, world, targets, analyser, analyser.get_swapper("demo"), rows)
    assert load_truths(run, len(targets)) is None


def test_world_swaps_a_person_onto_herself_without_a_trace(
    run: Run, analyser: DemoAnalyser, other_footage: Path, drawn_world: World
) -> None:
    record = read_targets(run)[2]
    frame = cv2.imread(record.source).astype(int)
    herself = create_world([other_footage], analyser, OTHER_SEED).draw(record)
    assert numpy.abs(herself - frame).max() <= 1
    swapped = numpy.abs(drawn_world.draw(record) - frame).mean(axis=2)
    left, top, right, bottom = (round(value) for value in record.bounding_box)
    middle = swapped[(2 * top + bottom) // 3 : bottom, left:right]
    assert middle.mean() > 5 * swapped[:20].mean()
    assert middle.mean() > 2


def test_others_of_the_world_are_themselves(drawn_world: World, run: Run) -> None:
    assert len(drawn_world.others) == OTHERS
    vectors = numpy.stack([other.vector for other in drawn_world.others])
    numpy.testing.assert_allclose(numpy.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    cosines = vectors @ vectors.T
    assert cosines[~numpy.eye(OTHERS, dtype=bool)].max() < 0.9
