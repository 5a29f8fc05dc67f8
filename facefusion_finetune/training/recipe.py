"""The recipe, read top to bottom: crops -> pairs -> tuned weights -> proof -> person model."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from facefusion_finetune.errors import TrainingError
from facefusion_finetune.evaluation.held_out import HeldOutJudge, Judgement
from facefusion_finetune.evaluation.judges import open_judge, reopen_judge
from facefusion_finetune.evaluation.truths import World
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.people.profile import Person, confirm_consent
from facefusion_finetune.runs.base import check_base, check_licence, open_base, resolve_base
from facefusion_finetune.runs.crops import reload_crops
from facefusion_finetune.runs.others import check_apart
from facefusion_finetune.runs.run import (
    JudgeRecord,
    Run,
    check_consent,
    create_run,
    find_run,
    list_runs,
    watch_consent,
    write_record,
)
from facefusion_finetune.swappers.convert.parity import check_parity
from facefusion_finetune.swappers.sessions import create_session
from facefusion_finetune.training.cache.feed import estimate_cache
from facefusion_finetune.training.cache.header import remove_cache
from facefusion_finetune.training.cache.places import release_caches, remember_cache
from facefusion_finetune.training.dry_run import Rehearsal, rehearse
from facefusion_finetune.training.engine.accelerator import create_accelerator
from facefusion_finetune.training.engine.checkpoint import has_checkpoint
from facefusion_finetune.training.finish import create_card, write_candidate, write_model
from facefusion_finetune.training.observer import STEPS_STAGE, Observer
from facefusion_finetune.training.options import TrainOptions
from facefusion_finetune.training.pairs.pair_set import KINDS
from facefusion_finetune.training.plan import Plan, plan_run
from facefusion_finetune.training.prepare import find_cache, prepare_training

WRITTEN_PARITY_LIMITS = {"fp32": 1e-4, "fp16": 2e-2}
"""Largest difference between the trained network and the written file, in output ranges. A file of
half precision computes more coarsely than what was trained."""


def train_person(
    person: Person,
    analyser: FaceAnalyser,
    base: str,
    preset_name: str,
    seed: int = 0,
    observer: Observer | None = None,
    judge_path: Path | None = None,
    targets: list[Path] | World | None = None,
    settings: TrainOptions | None = None,
) -> tuple[Run, dict[str, Any]]:
    """Tune a base swapper to a person and judge the result on held-out crops.

    Args:
        person: With consent on record and crops extracted.
        analyser: Aligns, masks and pastes, as whoever will swap does.
        base: See `resolve_base`.
        preset_name: Name or path of a preset.
        seed: Of everything that is drawn.
        observer: Told about the progress.
        judge_path: ONNX file of an independent recogniser; without it, the analyser's judge.
        targets: Footage of other people that the person is swapped onto to be judged.
        settings: How the training is carried out.

    Returns:
        The finished run and what its `report.json` holds; nothing of the report in a process that
        is not the main one.

    Raises:
        ConsentError: No valid consent is on record, or not any more at a checkpoint or before the
            model is judged or written. The run's last checkpoint stays, so that it can be resumed
            once the consent is renewed; of a person who was removed nothing is left.
        StoppedError: The observer wanted it to stop; it can be resumed.
        DatasetError: There are too few crops, or some are damaged.
        SwapperError: The base cannot be tuned, or its licence forbids what is asked for.
        UsageError: The same footage is to train and to judge.
        EvaluationError: The judge is none, or the targets show nobody else.
        TrainingError: The loss stays no number, the memory does not suffice for one sample, or the
            cache is another run's.
    """
    settings = settings or TrainOptions()
    person.require_consent()
    judge = open_judge(judge_path, analyser)
    record = (
        JudgeRecord(path=str(judge_path.resolve()), sha256=judge.sha256)
        if judge_path and judge
        else None
    )
    plan = plan_run(person, analyser, base, preset_name, seed, settings, record)
    if settings.others and targets is not None:
        footage = targets.footage if isinstance(targets, World) else targets
        check_apart(settings.others, footage)
    judgement = Judgement(judge, targets)
    directory = person.runs_directory / str(plan.config.version)
    accelerator = create_accelerator(settings.precision, settings.trackers, directory / "trackers")
    find_cache(Run(directory, plan.config), settings, accelerator)
    # Looking at the crops may have taken long.
    confirm_consent(person.name)
    # Every process has made the same plan by now; one of them puts it down.
    with accelerator.main_process_first():
        if accelerator.is_main_process:
            run = create_run(person, plan.config)
        else:
            run = find_run(person, plan.config.version)
    with watch_consent(run):
        return _carry_out(
            run, analyser, plan, accelerator, settings, False, judgement, observer or Observer()
        )


def resume_person(
    person: Person,
    analyser: FaceAnalyser,
    observer: Observer | None = None,
    judge_path: Path | None = None,
    targets: list[Path] | World | None = None,
    settings: TrainOptions | None = None,
) -> tuple[Run, dict[str, Any]]:
    """Go on with the person's last run, with the recipe it was started with.

    Args:
        person: Whose run.
        analyser: As it was started with.
        observer: Told about the progress.
        judge_path: Another judge than the run was started with.
        targets: Other footage of other people than the run was started with.
        settings: How the training is carried out; footage of others that train is the run's own.

    Raises:
        TrainingError: There is nothing to go on with, or the base file has changed.
        Others: As `train_person`.
    """
    person.require_consent()
    run = find_unfinished(person)
    settings = settings or TrainOptions()
    options = resolve_base(run.config.base_argument, analyser)
    if settings.commercial:
        check_licence(options)
    check_base(run, options)
    graph = open_base(options, analyser)
    crops = reload_crops(person, run, analyser, options)
    judgement = Judgement(reopen_judge(run, judge_path, analyser), targets)
    accelerator = create_accelerator(
        settings.precision, settings.trackers, run.directory / "trackers"
    )
    plan = Plan(run.config, options, graph, crops)
    with watch_consent(run):
        return _carry_out(
            run, analyser, plan, accelerator, settings, True, judgement, observer or Observer()
        )


def find_unfinished(person: Person) -> Run:
    """The person's last run that can be gone on with.

    Raises:
        TrainingError: There is none.
    """
    unfinished = [run for run in list_runs(person) if not run.is_finished]
    if not unfinished:
        raise TrainingError(
            f"person {person.name!r}",
            "no training of this person was interrupted, so there is nothing to resume.",
            "Train without --resume.",
        )
    return unfinished[-1]


def rehearse_person(
    person: Person,
    analyser: FaceAnalyser,
    base: str,
    preset_name: str,
    seed: int = 0,
    observer: Observer | None = None,
    settings: TrainOptions | None = None,
) -> Rehearsal:
    """Do a training's first two steps, and keep nothing of them.

    Args and errors as in `train_person`.
    """
    settings = settings or TrainOptions()
    plan = plan_run(person, analyser, base, preset_name, seed, settings, None)
    # In the person's folder, so that what a killed rehearsal leaves is removed with the person.
    with tempfile.TemporaryDirectory(prefix=".dry-run-", dir=person.directory) as folder:
        run = write_record(Path(folder), plan.config)
        accelerator = create_accelerator(settings.precision)
        prepared = prepare_training(
            run,
            plan.crops,
            analyser,
            plan.options,
            plan.graph,
            accelerator,
            settings,
            observer or Observer(),
        )
        return rehearse(
            prepared.create_trainer(prepared.direct),
            {kind: prepared.pairs.count(kind) for kind in KINDS},
            estimate_cache(prepared.direct, prepared.cache.limit),
        )


def _carry_out(
    run: Run,
    analyser: FaceAnalyser,
    plan: Plan,
    accelerator: Accelerator,
    settings: TrainOptions,
    resume: bool,
    judgement: Judgement,
    observer: Observer,
) -> tuple[Run, dict[str, Any]]:
    options, crops = plan.options, plan.crops
    observer.on_run(run.record.version)
    check_consent(run)
    prepared = prepare_training(
        run, crops, analyser, options, plan.graph, accelerator, settings, observer
    )
    swapper, graph, sample = prepared.swapper, prepared.graph, prepared.sample
    jury = None
    if accelerator.is_main_process:
        observer.on_stage("Making held-out pairs")
        jury = HeldOutJudge(
            run,
            crops.records,
            crops.train,
            crops.held_out,
            analyser,
            options,
            prepared.maker,
            prepared.person,
            prepared.base_session,
            judgement,
        )
    check_consent(run)
    if accelerator.is_main_process:
        remember_cache(run, settings.cache_directory)
    feed = prepared.open_feed(observer)
    observer.on_stage(STEPS_STAGE)
    try:
        prepared.create_trainer(feed).optimise(
            resume and has_checkpoint(run.checkpoint_path),
            observer,
            lambda step: jury.draw_preview(run, step, swapper.run) if jury else None,
        )
    finally:
        feed.close()
    if jury is None:
        remove_cache(prepared.cache.folder)
        return run, {}

    observer.on_stage("Writing back and judging")
    check_consent(run)
    weights = swapper.export_weights()
    with write_candidate(run, graph.file, weights) as path:
        session = create_session(path, run.reference)
        limit = WRITTEN_PARITY_LIMITS[graph.precision]
        check_parity(swapper, session, sample.targets, sample.sources, limit)
        report = jury.write_report(session)
    # The consent may have been renewed since the run began; the model is made with the latest.
    consent = check_consent(run)
    card = replace(
        create_card(run, options, prepared.person, report), consent_digest=consent.sha256
    )
    note = write_model(run, graph.file, weights, card)
    if note is not None:
        observer.on_note(note)
    remove_cache(prepared.cache.folder)
    release_caches(run)
    return run, report
