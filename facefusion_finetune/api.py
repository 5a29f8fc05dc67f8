"""What a Python program may call; everything else in the package may move.

Pictures are BGR, (H, W, 3), 0 to 255, as OpenCV reads them. A model is named as on the command
line: `jane` for a person's last version, `jane@2` for a certain one. Errors are those of
`facefusion_finetune.errors`: all derive from `FinetuneError` and say what was given, why it fails
and what to do. Functions import what they need when they are called, so that importing this module
takes no time.
"""

from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from facefusion_finetune.analysers import open_analyser
from facefusion_finetune.errors import FinetuneError
from facefusion_finetune.evaluation.report import Report, read_report
from facefusion_finetune.people.profile import (
    DEFAULT_SCOPE,
    Person,
    create_consent,
    list_names,
    load_person,
    split_reference,
)
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.runs.run import Run, find_run
from facefusion_finetune.training.request import TrainRequest

if TYPE_CHECKING:
    from facefusion_finetune.dataset.extraction.extract import ExtractionResult, Progress
    from facefusion_finetune.faces.protocol import FaceAnalyser
    from facefusion_finetune.registry.swapping import PersonSwapper
    from facefusion_finetune.registry.versions import Listing
    from facefusion_finetune.training.dry_run import DryRun

__all__ = [
    "FinetuneError",
    "Observer",
    "Person",
    "Report",
    "Run",
    "TrainRequest",
    "activate",
    "add_person",
    "deactivate",
    "dry_run",
    "evaluate",
    "extract",
    "find_model",
    "list_models",
    "list_people",
    "load_person",
    "open_analyser",
    "open_swapper",
    "read_report",
    "train",
]


def add_person(
    name: str,
    consent_file: Path | None = None,
    consent_note: str | None = None,
    scope: str = DEFAULT_SCOPE,
    expires: date | None = None,
) -> Person:
    """Record a person and their consent; nothing is extracted without it.

    Args:
        name: Letters, digits, `_`, `-` and `.`; it becomes a folder's and a file's name.
        consent_file: A signed form or a recording; read for its digest, not copied.
        consent_note: In its place, a sentence that says who agreed to what, and when.
        scope: What the consent covers.
        expires: Last day on which it holds.

    Raises:
        UsageError: The name is not possible or taken, or there is not exactly one proof of consent.
        ConsentError: The file cannot be read.
    """
    from facefusion_finetune.people import profile

    return profile.add_person(name, create_consent(consent_file, consent_note, scope, expires))


def list_people() -> list[str]:
    """Names of all persons on record, sorted."""
    return list_names()


def extract(
    person: Person,
    sources: Iterable[Path],
    analyser: "FaceAnalyser",
    references: Iterable[Path] = (),
    frames_per_second: float | None = None,
    most_frames: int | None = None,
    keep_others: bool = False,
    on_progress: Callable[["Progress"], object] = lambda progress: None,
) -> "ExtractionResult":
    """Add the person's faces in some footage to the person's crops.

    Args:
        person: Has valid consent.
        sources: Images, folders and videos.
        analyser: From `open_analyser`; checks the content, finds and aligns the faces.
        references: Pictures of the person, where the footage shows several people; one for each
            look.
        frames_per_second: Frames taken of each second of a video at the most; 6 where None.
        most_frames: Frames taken of one video; 1800 where None.
        keep_others: Keep other people's faces, as footage of others to train with.
        on_progress: Called for each frame.

    Raises:
        ConsentError: No valid consent is on record, or it ended meanwhile.
        FootageError: Nothing can be read, nobody or several people are shown, or content is
            refused.
        BusyError: Another process works on the person's crops right now.
        OSError: A file cannot be written, for example because the disk is full; the same call
            continues.
    """
    from facefusion_finetune.dataset.extraction.extract import ExtractSettings, extract_footage

    defaults = ExtractSettings()
    settings = ExtractSettings(
        tuple(references),
        defaults.frames_per_second if frames_per_second is None else frames_per_second,
        defaults.most_frames if most_frames is None else most_frames,
        keep_others,
    )
    return extract_footage(person, list(sources), analyser, settings, on_progress)


def train(
    person: Person,
    analyser: "FaceAnalyser",
    request: TrainRequest | None = None,
    observer: Observer | None = None,
) -> tuple[Run, Report | None]:
    """Tune a base swapper to a person, and judge the result on held-out footage.

    Args:
        person: Has valid consent and extracted crops.
        analyser: From `open_analyser`.
        request: What to train, what judges it, how it is carried out; `resume=True` continues the
            last unfinished run.
        observer: Called with stages, steps (with the loss and `seconds_left`) and notes.

    Returns:
        The finished run and its report; no report but in the main process, where several train.

    Raises:
        ConsentError: No valid consent is on record, or it ended during the training; the last
            checkpoint stays.
        DatasetError: There are too few crops, or some are damaged.
        SwapperError: The base cannot be tuned, or its licence forbids what is asked for.
        UsageError: The request cannot be carried out.
        EvaluationError: The judge cannot be used, or the targets show nobody else.
        TrainingError: The loss stays NaN, memory does not suffice for a single sample, there is
            nothing to resume, or the base file has changed.
    """
    from facefusion_finetune.training.recipe import train_person

    return train_person(person, analyser, request or TrainRequest(), observer)


def dry_run(
    person: Person,
    analyser: "FaceAnalyser",
    request: TrainRequest | None = None,
    observer: Observer | None = None,
) -> "DryRun":
    """Do the first two steps of a training and keep nothing of them.

    Args and errors as in `train`.

    Returns:
        Seconds, bytes of memory, number of pairs and trained parameters of the whole training.
    """
    from facefusion_finetune.training.recipe import dry_run_person

    return dry_run_person(person, analyser, request or TrainRequest(), observer)


def find_model(reference: str) -> Run:
    """A version of a person's model.

    Raises:
        UsageError: There is no such person, or the reference is malformed.
        TrainingError: There is no such version.
    """
    name, version = split_reference(reference)
    return find_run(load_person(name), version)


def evaluate(
    reference: str,
    analyser: "FaceAnalyser",
    judge: Path | None = None,
    targets: Iterable[Path] = (),
) -> Report:
    """Judge a finished model again; its card then says what the new report says.

    Args:
        reference: `NAME` or `NAME@VERSION`.
        analyser: As in training.
        judge: ONNX file of an independent recogniser; None for the run's own judge.
        targets: Footage of other people, in place of what the run has.

    Raises:
        ConsentError: No valid consent is on record.
        TrainingError: The run is not finished, or its base file has changed.
        DatasetError: Crops of the run are gone.
        EvaluationError: The judge cannot be used, or nothing is left to judge by.
    """
    from facefusion_finetune.evaluation.rerun import evaluate_run

    run = find_model(reference)
    person = load_person(run.record.person)
    return evaluate_run(person, run, analyser, judge, list(targets) or None)


def activate(reference: str, host: Path, force: bool = False) -> Path:
    """Put a model where FaceFusion finds it, in place of the person's former one.

    Args:
        reference: `NAME` or `NAME@VERSION`.
        host: FaceFusion's folder.
        force: Also a model that did not prove to be better; its card then says `unproven`.

    Returns:
        The model's file in FaceFusion.

    Raises:
        ConsentError: No valid consent is on record.
        RegistryError: The model is not finished, did not prove to be better, or cannot be written.
    """
    from facefusion_finetune.registry import store

    run = find_model(reference)
    return store.activate(load_person(run.record.person), run, host, force)


def deactivate(reference: str, host: Path) -> list[Path]:
    """Take a person's models, or one version, out of FaceFusion; the runs stay.

    Args:
        reference: `NAME` for all versions, or `NAME@VERSION`.
        host: FaceFusion's folder.

    Returns:
        The files that were removed.

    Raises:
        UsageError: There is no such person, or the reference is malformed.
    """
    from facefusion_finetune.registry import store

    name, version = split_reference(reference)
    return store.deactivate(load_person(name), host, version)


def list_models(host: Path | None = None, name: str | None = None) -> "Listing":
    """All versions of all persons' models; damaged ones are listed as such and hide nothing.

    Args:
        host: FaceFusion's folder, to tell which versions are active there.
        name: Of one person; None for all.
    """
    from facefusion_finetune.registry.versions import list_versions

    return list_versions(host, name)


def open_swapper(reference: str, analyser: "FaceAnalyser") -> "PersonSwapper":
    """Open a person's model for pictures; `open_swapper(...).swap(picture)` swaps all faces in one.

    Args:
        reference: `NAME` or `NAME@VERSION`.
        analyser: From `open_analyser`; checks the content, finds, aligns and pastes back the faces.

    Raises:
        ConsentError: No valid consent is on record.
        RegistryError: The model is not finished, or damaged.
    """
    from facefusion_finetune.registry.swapping import PersonSwapper

    run = find_model(reference)
    load_person(run.record.person).require_consent()
    return PersonSwapper(run, analyser)
