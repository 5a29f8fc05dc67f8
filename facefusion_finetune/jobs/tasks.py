"""The task of each kind of job, which uses the same functions as the command line.

Heavy modules are imported where they are needed.
"""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefusion_finetune import analysers
from facefusion_finetune.errors import JobError
from facefusion_finetune.jobs.arguments import (
    EvaluateArguments,
    ExtractArguments,
    Kind,
)
from facefusion_finetune.jobs.queue import list_jobs
from facefusion_finetune.jobs.record import Job
from facefusion_finetune.jobs.reporting import Reporter
from facefusion_finetune.people.profile import Person, load_person
from facefusion_finetune.training.request import TrainRequest

if TYPE_CHECKING:
    from facefusion_finetune.evaluation.report import Report
    from facefusion_finetune.faces.protocol import FaceAnalyser
    from facefusion_finetune.runs.run import Run

Task = Callable[[Job, Reporter], dict[str, Any]]
"""Runs a job and returns its result."""


def extract(job: Job, reporter: Reporter) -> dict[str, Any]:
    """Extract crops, measure their coverage and draw thumbnails; returns counts and advice.

    Errors as in `extract_footage`.
    """
    from facefusion_finetune.dataset.coverage.report import write_report
    from facefusion_finetune.dataset.extraction.extract import ExtractSettings, extract_footage
    from facefusion_finetune.dataset.manifest import read_manifest
    from facefusion_finetune.dataset.review.thumbnails import write_thumbnails

    arguments = job.request.read_arguments()
    assert isinstance(arguments, ExtractArguments)
    person = _load(job)
    paths = _paths(arguments.paths)
    options: dict[str, Any] = {
        "references": tuple(_paths(arguments.references)),
        "frames_per_second": arguments.frames_per_second,
        "most_frames": arguments.most_frames,
        "keep_others": arguments.keep_others,
    }
    settings = ExtractSettings(
        **{key: value for key, value in options.items() if value is not None}
    )
    analyser = _open_analyser(job, paths, reporter)
    found = extract_footage(person, paths, analyser, settings, reporter.on_progress)
    # The extraction is complete, so a request to stop is ignored from here on.
    for note in found.notes:
        reporter.add_note(note)
    reporter.set_stage("Measuring coverage")
    report = write_report(person)
    reporter.set_stage("Drawing thumbnails")
    write_thumbnails(person, read_manifest(person), reporter.set_count)
    return {
        "frames": found.frames,
        "faces": found.faces,
        "kept": found.kept,
        "rejected": found.rejected,
        "others": found.others,
        "look_alikes": found.look_alikes,
        "others_folder": str(found.others_folder) if found.others_folder else None,
        "known_sources": found.known_sources,
        "resumed_frames": found.resumed_frames,
        "shots": found.shots,
        "total_kept": found.total_kept,
        "advice": report.advice,
    }


def train(job: Job, reporter: Reporter) -> dict[str, Any]:
    """Train and evaluate a model; returns the verdict. Errors as in `train_person`."""
    from facefusion_finetune.training import recipe

    request = job.request.read_arguments()
    assert isinstance(request, TrainRequest)
    person = _load(job)
    run = None
    if request.resume:
        run = recipe.find_unfinished(person)
        reporter.set_version(run.record.version)
        targets = request.targets or tuple(_paths(_find_targets(job, run)))
        request = request.model_copy(update={"targets": targets})
    analyser = _open_analyser(job, [*request.targets, *request.others], reporter, run)
    reporter.set_stage("Preparing")
    observer = reporter.create_observer()
    done, report = recipe.train_person(person, analyser, request, observer)
    assert report is not None, "one process trains"
    return _describe(done, report, reporter)


def estimate(job: Job, reporter: Reporter) -> dict[str, Any]:
    """Estimate time and memory of a training. Errors as in `dry_run_person`."""
    from facefusion_finetune.training.dry_run import STEPS
    from facefusion_finetune.training.recipe import dry_run_person

    request = job.request.read_arguments()
    assert isinstance(request, TrainRequest)
    person = _load(job)
    analyser = _open_analyser(job, request.others, reporter)
    reporter.set_stage("Preparing")
    began = time.perf_counter()
    dry_run = dry_run_person(person, analyser, request, reporter.create_observer())
    elapsed = time.perf_counter() - began
    measured = STEPS * dry_run.seconds_per_step + dry_run.seconds_per_look
    values = dry_run.as_dict()
    del values["trained"]
    return {**values, "seconds_total": max(0.0, elapsed - measured) + dry_run.seconds}


def evaluate(job: Job, reporter: Reporter) -> dict[str, Any]:
    """Evaluate a finished run again; returns the verdict. Errors as in `evaluate_run`."""
    from facefusion_finetune.evaluation.rerun import evaluate_run
    from facefusion_finetune.runs.run import find_run

    arguments = job.request.read_arguments()
    assert isinstance(arguments, EvaluateArguments)
    person = _load(job)
    run = find_run(person, arguments.version)
    reporter.set_version(run.record.version)
    targets = _paths(arguments.targets)
    analyser = _open_analyser(job, targets, reporter, run)
    reporter.check()
    reporter.set_stage("Evaluating")
    judge = Path(arguments.judge) if arguments.judge else None
    report = evaluate_run(person, run, analyser, judge, targets or None)
    return _describe(run, report, reporter)


TASKS: Mapping[Kind, Task] = {
    "extract": extract,
    "train": train,
    "estimate": estimate,
    "evaluate": evaluate,
}


def _open_analyser(
    job: Job, footage: Sequence[Path], reporter: Reporter, run: "Run | None" = None
) -> "FaceAnalyser":
    request = job.request
    host = Path(request.host) if request.host else None
    return analysers.open_analyser(
        request.faces, host, request.settings, footage, run, reporter.set_stage
    )


def _load(job: Job) -> Person:
    person = load_person(job.request.person)
    person.require_consent()
    return person


def _paths(texts: Sequence[str]) -> list[Path]:
    return [Path(text) for text in texts]


def _find_targets(job: Job, run: "Run") -> list[str]:
    """Targets of the job that started a run, in case it ended before they were copied to the run.

    Copying them again is harmless, as the result is the same.
    """
    for earlier in reversed(list_jobs(job.request.person)):
        is_meant = earlier.request.kind == "train" and earlier.state.version == run.record.version
        if not is_meant or earlier.id == job.id:
            continue
        with contextlib.suppress(JobError):
            request = earlier.request.read_arguments()
            assert isinstance(request, TrainRequest)
            if request.targets:
                return [str(path) for path in request.targets if path.exists()]
    return []


def _describe(run: "Run", report: "Report", reporter: Reporter) -> dict[str, Any]:
    for note in report.notes:
        reporter.add_note(note)
    return {
        "version": run.record.version,
        "verdict": report.verdict,
        "sentence": report.sentence,
        "proven": report.proven,
        "reasons": list(report.reasons),
    }
