"""The benchmark's people: their footage and crops, drawn once, and one model a preset."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from benchmarks.people_centroid import compare_centroid
from benchmarks.people_results import World
from facefusion_finetune import __version__, home
from facefusion_finetune.dataset.extraction.extract import extract_footage
from facefusion_finetune.demo.analyser import SWAPPER, WEIGHTS, DemoAnalyser
from facefusion_finetune.demo.people import FIRST_UNSEEN_SEED
from facefusion_finetune.demo.run import (
    CONSENT,
    FRAMES_PER_SHOT,
    NAME,
    SHOTS,
    TARGET_FRAMES,
    TARGET_SHOTS,
    TARGETS,
)
from facefusion_finetune.demo.truths import FIRST_OTHER_SEED, OTHERS, create_world
from facefusion_finetune.demo.world import write_footage
from facefusion_finetune.errors import FinetuneError, TrainingError, UsageError
from facefusion_finetune.evaluation.report import Report
from facefusion_finetune.people.profile import Person, add_person, create_consent, load_person
from facefusion_finetune.presets.preset import load_preset
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.runs.run import list_runs
from facefusion_finetune.swappers.files.bases import digest_file
from facefusion_finetune.training.recipe import train_person
from facefusion_finetune.training.request import TrainRequest

CENTROID = "centroid"
"""In place of a preset: the base as it is, driven by the person's centroid."""

FIRST_SEED = FIRST_UNSEEN_SEED + 2_000_000
"""Beyond everybody who helps to train or to measure the demo's networks, and its true swaps."""
SEEDS_OF_EACH = 10
"""The person's own, then those of the people swapped onto."""
MOST_PEOPLE = 1000
MOST_SEEDS = 100_000


@dataclass(frozen=True)
class Subject:
    """One person of the benchmark."""

    seed: int
    """Draws the person, the footage and every run."""
    folder: Path
    """Of footage, crops and runs."""

    @property
    def targets(self) -> list[int]:
        """Seeds of the people the person is swapped onto."""
        return [self.seed + number + 1 for number in range(TARGETS)]


def choose_subjects(persons: int, seed: int, folder: Path) -> list[Subject]:
    """People whom nothing else in the demo's world has seen.

    Args:
        persons: How many.
        seed: Decides who.
        folder: Gets one folder for each.

    Raises:
        UsageError: There are not as many, or the seed is out of range.
    """
    if not 1 <= persons <= MOST_PEOPLE:
        raise UsageError(
            f"--persons {persons}",
            "that many people cannot be measured.",
            f"Give a number from 1 to {MOST_PEOPLE}.",
        )
    if not 0 <= seed < MOST_SEEDS:
        raise UsageError(
            f"--seed {seed}", "it is out of range.", f"Give a number from 0 to {MOST_SEEDS - 1}."
        )
    assert FIRST_SEED >= FIRST_OTHER_SEED + OTHERS
    assert TARGETS < SEEDS_OF_EACH
    first = FIRST_SEED + seed * MOST_PEOPLE * SEEDS_OF_EACH
    seeds = [first + index * SEEDS_OF_EACH for index in range(persons)]
    return [Subject(seed, folder / f"person-{seed}") for seed in seeds]


def describe_world() -> World:
    """The demo's world as it is now."""
    files = [path for path in WEIGHTS.iterdir() if path.suffix in {".onnx", ".npy"}]
    return World(
        package_version=__version__,
        networks={path.name: digest_file(path) for path in sorted(files)},
        footage=(SHOTS, FRAMES_PER_SHOT, TARGETS, TARGET_SHOTS, TARGET_FRAMES),
    )


def tune_subject(subject: Subject, preset: str, observer: Observer) -> tuple[Report, float | None]:
    """Tune the base to a person, or go on where that was interrupted, and judge the model.

    Args:
        subject: Who; footage and crops are made where they are missing.
        preset: Name or path of a preset, or `CENTROID`.
        observer: Told about the progress.

    Returns:
        The report, and the seconds up to the last step; see `Result.seconds`.
    """
    with home.use_home(subject.folder / "home"):
        _prepare(subject, observer)
        footage = _list_footage(subject)
        analyser = DemoAnalyser(footage)
        person = load_person(NAME)
        world = create_world(footage[1:], analyser, subject.seed)
        if preset == CENTROID:
            observer.on_stage("Judging")
            folder = subject.folder / CENTROID
            return compare_centroid(person, analyser, world, folder, subject.seed), None
        request = TrainRequest(base=SWAPPER, preset=preset, seed=subject.seed)
        resumed = request.model_copy(update={"resume": True})
        if _keep_unfinished(person, preset, subject.seed):
            try:
                _, report = train_person(person, analyser, resumed, observer, world)
            except FinetuneError as error:
                observer.on_stage(f"Starting anew, because it cannot go on: {error}")
                _keep_unfinished(person, None, subject.seed)
            else:
                assert report is not None, "one process trains"
                return report, None
        clock = _Clock(observer)
        _, report = train_person(person, analyser, request, clock.observer, world)
        assert report is not None, "one process trains"
        return report, clock.seconds


class _Clock:
    """Takes the time from its making to the last step of a training."""

    def __init__(self, observer: Observer) -> None:
        self._began = time.perf_counter()
        self._told = observer.on_step
        self.seconds = 0.0
        self.observer = Observer(observer.on_stage, self._note)

    def _note(self, step: int, total: int, values: dict[str, float]) -> None:
        self.seconds = time.perf_counter() - self._began
        self._told(step, total, values)


def _prepare(subject: Subject, observer: Observer) -> None:
    """Draw footage and extract it, unless that was done in this same world."""
    record, world = subject.folder / "world.json", describe_world()
    if _read_world(record) == world:
        return
    shutil.rmtree(subject.folder, ignore_errors=True)
    observer.on_stage("Drawing footage")
    own, *others = _list_footage(subject)
    write_footage(own, subject.seed, SHOTS, FRAMES_PER_SHOT, subject.seed)
    for folder, seed in zip(others, subject.targets, strict=True):
        write_footage(folder, seed, TARGET_SHOTS, TARGET_FRAMES, seed)
    observer.on_stage("Extracting")
    person = add_person(NAME, create_consent(None, CONSENT))
    extract_footage(person, [own], DemoAnalyser([own]))
    home.write_text(record, world.model_dump_json() + "\n")


def _list_footage(subject: Subject) -> list[Path]:
    """Folders of the person's and of the others' frames."""
    folder = subject.folder / "footage"
    return [folder / NAME, *(folder / "others" / str(seed) for seed in subject.targets)]


def _read_world(path: Path) -> World | None:
    try:
        return World.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _keep_unfinished(person: Person, preset: str | None, seed: int) -> bool:
    """Whether the last unfinished run is one of that preset; all other unfinished ones go."""
    wanted = load_preset(preset) if preset else None
    try:
        unfinished = [run for run in list_runs(person) if not run.is_finished]
    except TrainingError:
        # A run's settings are damaged, so that no run can be found among them.
        shutil.rmtree(person.runs_directory)
        return False
    kept = False
    for run in reversed(unfinished):
        if not kept and (run.config.preset, run.config.seed) == (wanted, seed):
            kept = True
        else:
            shutil.rmtree(run.directory)
    return kept
