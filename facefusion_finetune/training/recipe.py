"""The recipe, read top to bottom: crops -> pairs -> tuned weights -> proof -> person model."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from accelerate import Accelerator

from facefusion_finetune import temporary
from facefusion_finetune.errors import ConsentError, TrainingError, UsageError
from facefusion_finetune.evaluation.held_out import EvaluationInputs, HeldOutEvaluator
from facefusion_finetune.evaluation.judges import open_judge, reopen_judge
from facefusion_finetune.evaluation.report import Report
from facefusion_finetune.evaluation.truths import World
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.people.profile import Consent, Person
from facefusion_finetune.people.work import Work, at_work, lock_person
from facefusion_finetune.runs.base import check_base, check_licence, open_base, resolve_base
from facefusion_finetune.runs.context import RunContext
from facefusion_finetune.runs.crops import reload_crops
from facefusion_finetune.runs.observer import STEPS_STAGE, Observer
from facefusion_finetune.runs.others import check_apart
from facefusion_finetune.runs.run import (
    DamagedRun,
    JudgeRecord,
    Run,
    RunConfig,
    check_consent,
    create_run,
    find_run,
    list_runs,
    next_version,
    run_directory,
    scan_runs,
    watch_consent,
    write_record,
)
from facefusion_finetune.swappers.convert.parity import check_parity
from facefusion_finetune.swappers.sessions import create_session
from facefusion_finetune.training.cache.feed import estimate_cache
from facefusion_finetune.training.cache.header import remove_cache
from facefusion_finetune.training.cache.places import (
    list_cache_folders,
    release_caches,
    remember_cache,
)
from facefusion_finetune.training.dry_run import DryRun, measure_steps
from facefusion_finetune.training.engine.accelerator import create_accelerator
from facefusion_finetune.training.engine.checkpoint import has_checkpoint
from facefusion_finetune.training.finish import create_card, write_candidate, write_model
from facefusion_finetune.training.pairs.pair_set import KINDS
from facefusion_finetune.training.plan import plan_run
from facefusion_finetune.training.prepare import (
    CACHE_FOLDER,
    Preparation,
    find_cache,
    prepare_training,
)
from facefusion_finetune.training.request import TrainRequest

WRITTEN_PARITY_LIMITS = {"fp32": 1e-4, "fp16": 2e-2}
"""Maximum difference between the outputs of the trained network and of the written file, as a share
of the output range. A half-precision file is less exact than the trained network."""


def train_person(
    person: Person,
    analyser: FaceAnalyser,
    request: TrainRequest,
    observer: Observer | None = None,
    world: World | None = None,
) -> tuple[Run, Report | None]:
    """Tune a base swapper to a person and evaluate the result on held-out crops.

    With `request.resume`, the person's last unfinished run continues with its own settings; of the
    request, only the judge, the targets and how to carry out the training are used.

    Args:
        person: Has consent on record and extracted crops.
        analyser: Aligns, masks and pastes back, the same way as at inference.
        request: What to train, how to evaluate it, and how to carry it out.
        observer: Receives the progress.
        world: A synthetic world with known true swaps, in place of the request's targets.

    Returns:
        The finished run and its report; the report is None except in the main process.

    Raises:
        ConsentError: No valid consent is on record at the start, at a checkpoint, or before the
            model is evaluated or written. The run's last checkpoint is kept, so the run can be
            resumed once the consent is renewed; of a removed person nothing is kept.
        BusyError: Another process is training or evaluating the same run.
        StoppedError: The observer requested a stop; the run can be resumed.
        DatasetError: There are too few crops, or some are damaged.
        SwapperError: The base cannot be tuned, or its licence forbids the requested use.
        UsageError: This machine cannot carry out the request, or the same footage is given for
            training and for evaluation.
        EvaluationError: The judge cannot be used, or the targets show nobody else.
        TrainingError: The loss stays NaN, memory is too small for one sample, the cache belongs to
            another run, there is nothing to resume, or the base file has changed.
    """
    request.check()
    person.require_consent()
    with at_work(person) as work:
        _sweep(person)
        observer = _watch_removal(observer or Observer(), work)
        start = _resume if request.resume else _start
        started = start(work, analyser, request, observer, world)
        with watch_consent(started.context.run):
            return _carry_out(started, request)


def _watch_removal(observer: Observer, work: Work) -> Observer:
    """An observer that also ends the training once the person is being removed."""

    def on_stage(text: str) -> None:
        work.check()
        observer.on_stage(text)

    return replace(
        observer, on_stage=on_stage, is_stopped=lambda: observer.is_stopped() or work.is_over
    )


def _sweep(person: Person) -> None:
    """Delete what a killed command left, also after its model was written."""
    person.sweep()
    for run in list_runs(person):
        if run.is_finished:
            for folder in list_cache_folders(run.directory / CACHE_FOLDER):
                remove_cache(folder)
            release_caches(run)


@dataclass(frozen=True)
class _StartedRun:
    """A run on disk that is ready to be trained."""

    work: Work
    context: RunContext
    inputs: EvaluationInputs
    accelerator: Accelerator


def _start(
    work: Work,
    analyser: FaceAnalyser,
    request: TrainRequest,
    observer: Observer,
    world: World | None,
) -> _StartedRun:
    person = work.person
    judge = open_judge(request.judge, analyser)
    record = (
        JudgeRecord(path=str(request.judge.resolve()), sha256=judge.sha256)
        if request.judge and judge
        else None
    )
    plan = plan_run(person, analyser, request, record)
    judging = world.footage if world else request.targets
    if request.others and judging:
        check_apart(request.others, judging)
    directory = run_directory(person, plan.config.version)
    accelerator = create_accelerator(request.precision, request.trackers, directory / "trackers")
    find_cache(Run(directory, plan.config), request, accelerator)
    # All processes have made the same plan; one of them writes it.
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            run = _create(work, plan.config)
        else:
            run = find_run(person, plan.config.version)
    context = plan.create_context(run, analyser, observer)
    inputs = EvaluationInputs(judge, world or list(request.targets) or None)
    return _StartedRun(work, context, inputs, accelerator)


def _create(work: Work, config: RunConfig) -> Run:
    """Create the planned run, unless the consent ended or the version was taken meanwhile."""
    # Loading the crops may have taken long.
    with lock_person(work.person) as current:
        current.require_consent()
        if next_version(current) != config.version:
            raise TrainingError(
                f"model {config.person}@{config.version}",
                "another command has created this version in the meantime.",
                "Start the training again.",
            )
        run = create_run(current, config)
        work.claim(run.reference)
        return run


def _resume(
    work: Work,
    analyser: FaceAnalyser,
    request: TrainRequest,
    observer: Observer,
    world: World | None,
) -> _StartedRun:
    person = work.person
    run = find_unfinished(person)
    options = resolve_base(run.config.base_argument, analyser)
    if request.commercial:
        check_licence(options)
    check_base(run, options)
    graph = open_base(options, analyser)
    crops = reload_crops(person, run, analyser, options)
    judge = reopen_judge(run, request.judge, analyser)
    accelerator = create_accelerator(
        request.precision, request.trackers, run.directory / "trackers"
    )
    if accelerator.is_main_process:
        work.claim(run.reference)
    context = RunContext(run, analyser, options, graph, crops, observer)
    inputs = EvaluationInputs(judge, world or list(request.targets) or None)
    return _StartedRun(work, context, inputs, accelerator)


def find_unfinished(person: Person) -> Run:
    """The person's last run that can be resumed.

    Raises:
        TrainingError: There is no such run, or its settings are damaged.
    """
    for run in reversed(scan_runs(person)):
        if run.is_finished:
            continue
        if isinstance(run, DamagedRun):
            raise run.error
        return run
    raise TrainingError(
        f"person {person.name!r}",
        "this person has no interrupted training, so there is nothing to resume.",
        "Train without --resume.",
    )


def dry_run_person(
    person: Person,
    analyser: FaceAnalyser,
    request: TrainRequest,
    observer: Observer | None = None,
) -> DryRun:
    """Run a training's first two steps and discard them.

    Args and errors as in `train_person`; UsageError also if the request resumes a run.
    """
    if request.resume:
        raise UsageError(
            "dry run with resume",
            "a dry run starts from scratch, so there is no run to resume.",
            "Remove one of the two.",
        )
    request.check()
    with at_work(person) as work:
        _sweep(person)
        return _dry_run(work, analyser, request, _watch_removal(observer or Observer(), work))


def _dry_run(
    work: Work, analyser: FaceAnalyser, request: TrainRequest, observer: Observer
) -> DryRun:
    plan = plan_run(work.person, analyser, request, None)
    work.check()
    # In the person's folder, so that leftovers of a killed dry run are removed with the person.
    with temporary.stage_folder(work.person.directory / "dry-run") as folder:
        run = write_record(folder, plan.config)
        context = plan.create_context(run, analyser, observer)
        prepared = prepare_training(context, request, create_accelerator(request.precision))
        return measure_steps(
            prepared.create_trainer(prepared.direct),
            {kind: prepared.pairs.count(kind) for kind in KINDS},
            estimate_cache(prepared.direct, prepared.cache.limit),
        )


def _carry_out(started: _StartedRun, request: TrainRequest) -> tuple[Run, Report | None]:
    context, accelerator = started.context, started.accelerator
    run, observer = context.run, context.observer
    observer.on_run(run.record.version)
    check_consent(run)
    prepared = prepare_training(context, request, accelerator)
    evaluator = None
    if accelerator.is_main_process:
        observer.on_stage("Making held-out pairs")
        evaluator = HeldOutEvaluator(
            context,
            prepared.maker,
            prepared.person,
            prepared.base_session,
            started.inputs,
        )
        check_consent(run)
        remember_cache(run, request.cache)
    feed = prepared.open_feed(observer)
    observer.on_stage(STEPS_STAGE)
    try:
        prepared.create_trainer(feed).train(
            request.resume and has_checkpoint(run.checkpoint_path),
            observer,
            lambda step: evaluator.draw_preview(step, prepared.swapper.run) if evaluator else None,
        )
    finally:
        feed.close()
    if evaluator is None:
        remove_cache(prepared.cache.folder)
        return run, None
    return run, _finish(started.work, context, prepared, evaluator)


def _finish(
    work: Work, context: RunContext, prepared: Preparation, evaluator: HeldOutEvaluator
) -> Report:
    """Write the weights back, evaluate the file, and write the model with its card."""
    run, observer = context.run, context.observer
    graph, sample = prepared.graph, prepared.sample
    observer.on_stage("Writing the weights back and evaluating")
    check_consent(run)
    weights = prepared.swapper.export_weights()
    with write_candidate(run, graph.file, weights) as path:
        session = create_session(path, run.reference)
        limit = WRITTEN_PARITY_LIMITS[graph.precision]
        check_parity(prepared.swapper, session, sample.targets, sample.sources, limit)
        report = evaluator.write_report(session)
    card = create_card(run, context.options, prepared.person, report)
    with _writing_model(work, run) as consent:
        # The consent may have been renewed since the run started; the model records the latest.
        card = replace(card, consent_digest=consent.sha256)
        note = write_model(run, graph.file, weights, card)
    if note is not None:
        observer.on_note(note)
    remove_cache(prepared.cache.folder)
    release_caches(run)
    return report


@contextmanager
def _writing_model(work: Work, run: Run) -> Iterator[Consent]:
    """Keep others from changing the consent while the model is written; it goes if that ended."""
    with lock_person(work.person):
        yield check_consent(run)
        try:
            check_consent(run)
        except ConsentError:
            run.model_path.unlink(missing_ok=True)
            raise
