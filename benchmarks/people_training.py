"""The benchmark's people: footage and crops, drawn once, and one model per preset."""

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
"""Instead of a preset: the unchanged base, driven by the person's centroid."""

FIRST_SEED = FIRST_UNSEEN_SEED + 2_000_000
"""Beyond every person used to train or measure the demo's networks and its true swaps."""
SEEDS_PER_PERSON = 10
"""The person's own seed, then those of the people swapped onto."""
MAX_PEOPLE = 1000
MAX_SEEDS = 100_000


@dataclass(frozen=True)
class Subject:
    """One person of the benchmark."""

    seed: int
    """Seeds the person, the footage and every run."""
    folder: Path
    """For footage, crops and runs."""

    @property
    def targets(self) -> list[int]:
        """Seeds of the people the person is swapped onto."""
        return [self.seed + number + 1 for number in range(TARGETS)]


def choose_subjects(persons: int, seed: int, folder: Path) -> list[Subject]:
    """Choose people used nowhere else in the demo world.

    Args:
        persons: How many.
        seed: Selects the people.
        folder: Parent of one folder per person.

    Raises:
        UsageError: The number of people or the seed is out of range.
    """
    if not 1 <= persons <= MAX_PEOPLE:
        raise UsageError(
            f"--persons {persons}",
            "the number of people is out of range.",
            f"Give a number from 1 to {MAX_PEOPLE}.",
        )
    if not 0 <= seed < MAX_SEEDS:
        raise UsageError(
            f"--seed {seed}", "it is out of range.", f"Give a number from 0 to {MAX_SEEDS - 1}."
        )
    assert FIRST_SEED >= FIRST_OTHER_SEED + OTHERS
    assert TARGETS < SEEDS_PER_PERSON
    first = FIRST_SEED + seed * MAX_PEOPLE * SEEDS_PER_PERSON
    seeds = [first + index * SEEDS_PER_PERSON for index in range(persons)]
    return [Subject(seed, folder / f"person-{seed}") for seed in seeds]


def describe_world() -> World:
    """The current demo world."""
    files = [path for path in WEIGHTS.iterdir() if path.suffix in {".onnx", ".npy"}]
    return World(
        package_version=__version__,
        networks={path.name: digest_file(path) for path in sorted(files)},
        footage=(SHOTS, FRAMES_PER_SHOT, TARGETS, TARGET_SHOTS, TARGET_FRAMES),
    )


def tune_subject(subject: Subject, preset: str, observer: Observer) -> tuple[Report, float | None]:
    """Tune the base to a person, resuming an interrupted run, and evaluate the model.

    Args:
        subject: The person; missing footage and crops are created.
        preset: Name or path of a preset, or `CENTROID`.
        observer: Receives progress.

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
            observer.on_stage("Evaluating")
            folder = subject.folder / CENTROID
            return compare_centroid(person, analyser, world, folder, subject.seed), None
        request = TrainRequest(base=SWAPPER, preset=preset, seed=subject.seed)
        resumed = request.model_copy(update={"resume": True})
        if _keep_unfinished(person, preset, subject.seed):
            try:
                _, report = train_person(person, analyser, resumed, observer, world)
            except FinetuneError as error:
                observer.on_stage(f"Starting over, because the run cannot be resumed: {error}")
                _keep_unfinished(person, None, subject.seed)
            else:
                assert report is not None, "only one process trains"
                return report, None
        clock = _Clock(observer)
        _, report = train_person(person, analyser, request, clock.observer, world)
        assert report is not None, "only one process trains"
        return report, clock.seconds


class _Clock:
    """Measures the time from its creation to the last training step."""

    def __init__(self, observer: Observer) -> None:
        self._began = time.perf_counter()
        self._on_step = observer.on_step
        self.seconds = 0.0
        self.observer = Observer(observer.on_stage, self._note)

    def _note(self, step: int, total: int, values: dict[str, float]) -> None:
        self.seconds = time.perf_counter() - self._began
        self._on_step(step, total, values)


def _prepare(subject: Subject, observer: Observer) -> None:
    """Draw footage and extract it, unless already done in the same world."""
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
    """Folders with the person's and the others' frames."""
    folder = subject.folder / "footage"
    return [folder / NAME, *(folder / "others" / str(seed) for seed in subject.targets)]


def _read_world(path: Path) -> World | None:
    try:
        return World.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _keep_unfinished(person: Person, preset: str | None, seed: int) -> bool:
    """Keep the latest unfinished run if made with that preset and seed; delete all others.

    Returns:
        Whether one was kept.
    """
    wanted = load_preset(preset) if preset else None
    try:
        unfinished = [run for run in list_runs(person) if not run.is_finished]
    except TrainingError:
        # A run's settings are damaged, so the runs cannot be listed.
        shutil.rmtree(person.runs_directory)
        return False
    kept = False
    for run in reversed(unfinished):
        if not kept and (run.config.preset, run.config.seed) == (wanted, seed):
            kept = True
        else:
            shutil.rmtree(run.directory)
    return kept
