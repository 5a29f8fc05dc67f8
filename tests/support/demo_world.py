"""A drawn person with consent and crops, and a trained run, made once and copied by each test."""

import shutil
from pathlib import Path

import pytest

from facefusion_finetune import home
from facefusion_finetune.dataset.extract import extract_footage
from facefusion_finetune.demo.people import FIRST_UNSEEN_SEED
from facefusion_finetune.demo.world import write_footage
from facefusion_finetune.faces.demo import DemoAnalyser
from facefusion_finetune.people.profile import Person, add_person, create_consent, load_person
from facefusion_finetune.training.recipe import train_person

PERSON = "ada"
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
    folder = tmp_path_factory.mktemp("footage")
    write_footage(folder, FIRST_UNSEEN_SEED + 7, SHOTS, FRAMES_PER_SHOT, seed=3)
    return folder


@pytest.fixture(scope="session")
def other_footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames of another drawn person in two shots."""
    folder = tmp_path_factory.mktemp("other-footage")
    write_footage(folder, FIRST_UNSEEN_SEED + 8, 2, FRAMES_PER_SHOT, seed=4)
    return folder


@pytest.fixture(scope="session")
def analyser(footage: Path, other_footage: Path) -> DemoAnalyser:
    """Knows both persons' footage."""
    return DemoAnalyser([footage, other_footage])


@pytest.fixture(scope="session")
def preset_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset of eight steps with every pair kind and every loss."""
    path = tmp_path_factory.mktemp("preset") / "quick.toml"
    path.write_text(QUICK_PRESET)
    return path


@pytest.fixture(scope="session")
def extracted_home(
    tmp_path_factory: pytest.TempPathFactory, footage: Path, analyser: DemoAnalyser
) -> Path:
    """A home with the person's crops; not to be changed."""
    folder = tmp_path_factory.mktemp("extracted") / "home"
    with home.use_home(folder):
        extract_footage(_add(), [footage], analyser)
    return folder


@pytest.fixture(scope="session")
def trained_home(
    tmp_path_factory: pytest.TempPathFactory,
    extracted_home: Path,
    analyser: DemoAnalyser,
    preset_file: Path,
) -> Path:
    """A home with a finished run; not to be changed."""
    folder = tmp_path_factory.mktemp("trained") / "home"
    shutil.copytree(extracted_home, folder)
    with home.use_home(folder):
        train_person(load_person(PERSON), analyser, "demo", str(preset_file), seed=11)
    return folder


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
def trained(home_folder: Path, trained_home: Path) -> Person:
    """The person with a finished run, in this test's own home."""
    shutil.copytree(trained_home, home_folder)
    return load_person(PERSON)


def _add() -> Person:
    return add_person(PERSON, create_consent(None, "A drawn person agrees to nothing."))
