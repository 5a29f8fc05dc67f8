"""Evaluates a finished run again, from stored data."""

from dataclasses import replace
from pathlib import Path

from facefusion_finetune.errors import TrainingError
from facefusion_finetune.evaluation.held_out import EvaluationInputs, HeldOutEvaluator
from facefusion_finetune.evaluation.judges import reopen_judge
from facefusion_finetune.evaluation.report import Report, summarise_report
from facefusion_finetune.evaluation.truths import World
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.people.profile import Person
from facefusion_finetune.people.work import at_work, lock_person
from facefusion_finetune.registry.bases import rewrite_model
from facefusion_finetune.registry.store import read_card, read_model
from facefusion_finetune.runs.base import check_base, open_base, resolve_base
from facefusion_finetune.runs.context import RunContext
from facefusion_finetune.runs.crops import reload_crops
from facefusion_finetune.runs.run import (
    Run,
    check_consent,
    require_on_record,
    watch_consent,
)
from facefusion_finetune.runs.sources import restore_person
from facefusion_finetune.swappers.sessions import create_session
from facefusion_finetune.swappers.source import SourceMaker


def evaluate_run(
    person: Person,
    run: Run,
    analyser: FaceAnalyser,
    judge_path: Path | None = None,
    targets: list[Path] | World | None = None,
) -> Report:
    """Rewrite the report of a finished run; the same material gives the same figures.

    The model's card is updated with the new result.

    Args:
        person: The run's person.
        run: A finished run.
        analyser: The analyser used in training.
        judge_path: ONNX file of an independent recogniser; if None, the run's judge.
        targets: Footage of other people, in place of the run's targets.

    Raises:
        ConsentError: No valid consent is on record, or it ended during the evaluation; of a removed
            person or run nothing is kept.
        BusyError: Another process is training or evaluating the run.
        TrainingError: The run was removed, is not finished, or the base file has changed.
        DatasetError: Crops of the run are missing.
        EvaluationError: The judge is missing or not a recogniser, or there is no independent
            held-out crop.
    """
    person.require_consent()
    with at_work(person, run.reference):
        require_on_record(run)
        with watch_consent(run):
            return _evaluate(person, run, analyser, judge_path, targets)


def _evaluate(
    person: Person,
    run: Run,
    analyser: FaceAnalyser,
    judge_path: Path | None,
    targets: list[Path] | World | None,
) -> Report:
    config = run.config
    if not run.is_finished:
        raise TrainingError(
            f"run {run.reference}",
            "its training is not finished, so there is no model to evaluate.",
            f"Resume with: facefusion-finetune train {person.name} --resume.",
        )
    options = resolve_base(config.base_argument, analyser)
    check_base(run, options)
    judge = reopen_judge(run, judge_path, analyser)
    context = RunContext(
        run,
        analyser,
        options,
        open_base(options, analyser),
        reload_crops(person, run, analyser, options),
    )
    card = read_card(run.model_path)
    evaluator = HeldOutEvaluator(
        context,
        SourceMaker(options, context.graph.emap),
        restore_person(card, context.graph.emap),
        create_session(options.path, options.name),
        EvaluationInputs(judge, targets),
    )
    report = evaluator.write_report(create_session(run.model_path, run.reference))
    updated = replace(card, judge_result=summarise_report(report))
    with lock_person(person):
        check_consent(run)
        if updated != card:
            rewrite_model(read_model(run.model_path), options.path, updated, run.model_path)
    return report
