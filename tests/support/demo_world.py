"""A drawn person with consent and crops, and a trained run: made once, and copied by each test."""

import shutil
from pathlib import Path

import numpy
import pytest

from facefusion_finetune import home
from facefusion_finetune.dataset.crops import AlignedCrop, load_crops, load_folder
from facefusion_finetune.dataset.extraction.extract import extract_footage
from facefusion_finetune.dataset.manifest import read_manifest, stack_embeddings
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.demo.people import FIRST_UNSEEN_SEED
from facefusion_finetune.demo.truths import create_world
from facefusion_finetune.demo.world import write_footage
from facefusion_finetune.evaluation.material import Material, Pairs
from facefusion_finetune.evaluation.targets import collect_targets, targets_directory
from facefusion_finetune.evaluation.truths import World
from facefusion_finetune.people.profile import Person, add_person, create_consent, load_person
from facefusion_finetune.runs.others import PersonFilter
from facefusion_finetune.runs.run import Run
from facefusion_finetune.training.recipe import train_person
from facefusion_finetune.training.request import TrainRequest
from tests.support.runs import create_finished_run
from tests.support.sharing import make_once

PERSON = "ada"
PERSON_SEED = FIRST_UNSEEN_SEED + 7
OTHER_SEED = FIRST_UNSEEN_SEED + 8
NOBODY = PersonFilter(numpy.eye(512)[0], limit=1.0)
"""Finds nobody to be the person."""
SHOTS = 6
FRAMES_PER_SHOT = 6

QUICK_PRESET = """
description = "A few steps of everything, for tests."
minimum_crops = 12
layers = "last_3"
variants = 1
face_weight = 1.4
outside_weight = 0.4
batch_size = 4
steps = 8
learning_rate = 1e-3
rate = "absolute"
schedule = "cosine"
warm_up = 0.1
ema = 0.5
clip_norm = 1.0
checkpoint_every = 2
preview_every = 4

[pairs]
cycle = 2
self = 1
prior = 1

[losses]
l1 = 1.0
high_pass = 0.5
perceptual = 0.3
identity = 0.2
"""


@pytest.fixture(autouse=True)
def home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home of its own for every test."""
    folder = tmp_path / "home"
    monkeypatch.setenv(home.HOME_VARIABLE, str(folder))
    return folder


@pytest.fixture(scope="session")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of one drawn person in six shots."""
    return make_once(
        tmp_path_factory,
        "footage",
        lambda folder: write_footage(folder, PERSON_SEED, SHOTS, FRAMES_PER_SHOT, seed=3),
    )


@pytest.fixture(scope="session")
def other_footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of another drawn person in two shots."""
    return make_once(
        tmp_path_factory,
        "other-footage",
        lambda folder: write_footage(folder, OTHER_SEED, 2, FRAMES_PER_SHOT, seed=4),
    )


@pytest.fixture(scope="session")
def analyser(footage: Path, other_footage: Path) -> DemoAnalyser:
    """Knows both persons' footage."""
    return DemoAnalyser([footage, other_footage])


@pytest.fixture(scope="session")
def preset_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset of eight steps with every pair kind and every loss."""

    def write(folder: Path) -> None:
        folder.mkdir()
        (folder / "quick.toml").write_text(QUICK_PRESET)

    return make_once(tmp_path_factory, "preset", write) / "quick.toml"


@pytest.fixture(scope="session")
def extracted_home(
    tmp_path_factory: pytest.TempPathFactory, footage: Path, analyser: DemoAnalyser
) -> Path:
    """A home with the person's crops; not to be changed."""

    def extract(folder: Path) -> None:
        with home.use_home(folder):
            extract_footage(_add(), [footage], analyser)

    return make_once(tmp_path_factory, "extracted", extract)


@pytest.fixture(scope="session")
def trained_home(
    tmp_path_factory: pytest.TempPathFactory,
    extracted_home: Path,
    analyser: DemoAnalyser,
    preset_file: Path,
) -> Path:
    """A home with a finished run; not to be changed."""
    return make_once(
        tmp_path_factory,
        "trained",
        lambda folder: _train(folder, extracted_home, analyser, preset_file, None),
    )


@pytest.fixture(scope="session")
def drawn_world(other_footage: Path, analyser: DemoAnalyser) -> World:
    """The other person's footage as targets, with the true swaps onto it."""
    return create_world([other_footage], analyser, PERSON_SEED)


@pytest.fixture(scope="session")
def judged_home(
    tmp_path_factory: pytest.TempPathFactory,
    extracted_home: Path,
    analyser: DemoAnalyser,
    preset_file: Path,
    drawn_world: World,
) -> Path:
    """A home with a finished run that has targets and true swaps; not to be changed."""
    return make_once(
        tmp_path_factory,
        "judged",
        lambda folder: _train(folder, extracted_home, analyser, preset_file, drawn_world),
    )


@pytest.fixture(scope="session")
def material(
    tmp_path_factory: pytest.TempPathFactory,
    extracted_home: Path,
    analyser: DemoAnalyser,
    other_footage: Path,
) -> Material:
    """Two shots of the person held out, four that train, another person's frames as targets."""
    folder = tmp_path_factory.mktemp("material") / "home"
    shutil.copytree(extracted_home, folder)
    options = analyser.get_swapper("demo")
    with home.use_home(folder):
        person = load_person(PERSON)
        crops = load_crops(person, read_manifest(person), analyser, options)
        run = create_finished_run(person, options)
        records = collect_targets(run, [other_footage], analyser, NOBODY)
        targets = load_folder(targets_directory(run), records, analyser, options)

    def pair(part: list[AlignedCrop]) -> Pairs:
        inputs = numpy.stack([crop.crop for crop in part])
        return Pairs(part, [crop.cutout for crop in part], inputs, are_swapped=True)

    count = 2 * FRAMES_PER_SHOT
    return Material(
        held_out=pair(crops[:count]),
        trained=pair(crops[count:]),
        left_out=0,
        targets=targets,
        are_people=True,
        others=numpy.zeros((3, 512), dtype=numpy.float32),
        other_vectors=analyser.sample_other_vectors(3, seed=1),
        rows=numpy.array([[row, row % 3] for row in range(len(targets))]),
        truths=None,
    )


@pytest.fixture
def person(home_folder: Path) -> Person:
    """The person with consent, and nothing else."""
    return _add()


@pytest.fixture
def extracted(home_folder: Path, extracted_home: Path) -> Person:
    """The person with crops, in this test's own home."""
    shutil.copytree(extracted_home, home_folder)
    return load_person(PERSON)


@pytest.fixture
def run(extracted: Person, analyser: DemoAnalyser) -> Run:
    """A finished run of the person with crops, whose weights were moved and not trained."""
    return create_finished_run(extracted, analyser.get_swapper("demo"))


@pytest.fixture
def likeness(extracted: Person) -> PersonFilter:
    """Tells who the person is."""
    return PersonFilter.of(stack_embeddings(read_manifest(extracted)))


@pytest.fixture
def trained(home_folder: Path, trained_home: Path) -> Person:
    """The person with a finished run, in this test's own home."""
    shutil.copytree(trained_home, home_folder)
    return load_person(PERSON)


@pytest.fixture
def judged(home_folder: Path, judged_home: Path) -> Person:
    """The person with a finished run that has targets, in this test's own home."""
    shutil.copytree(judged_home, home_folder)
    return load_person(PERSON)


def load_kept(
    person: Person, analyser: DemoAnalyser, first: int = 0, end: int | None = None
) -> list[AlignedCrop]:
    """The kept crops of a person as the demo's swapper takes them, or a part of them."""
    records = [record for record in read_manifest(person) if record.kept]
    return load_crops(person, records[first:end], analyser, analyser.get_swapper("demo"))


def _add() -> Person:
    return add_person(PERSON, create_consent(None, "A drawn person agrees to nothing."))


def _train(
    folder: Path, extracted: Path, analyser: DemoAnalyser, preset: Path, world: World | None
) -> None:
    shutil.copytree(extracted, folder)
    with home.use_home(folder):
        request = TrainRequest(base="demo", preset=str(preset), seed=11)
        train_person(load_person(PERSON), analyser, request, world=world)
