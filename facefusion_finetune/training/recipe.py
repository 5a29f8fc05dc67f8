"""The recipe, read top to bottom: crops -> pairs -> tuned weights -> proof -> person model."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from facefusion_finetune import __version__
from facefusion_finetune.dataset.manifest import (
    digest_dataset,
    stack_embeddings,
)
from facefusion_finetune.errors import TrainingError
from facefusion_finetune.evaluation.held_out import HeldOutJudge, Judgement
from facefusion_finetune.evaluation.judges import open_judge, reopen_judge
from facefusion_finetune.evaluation.truths import World
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.people.profile import Person
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.convert.lora import add_low_rank
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.convert.parity import check_parity, get_parity_limit
from facefusion_finetune.swappers.files.linked import digest_file
from facefusion_finetune.swappers.graphs.graph import SwapperGraph, select_layers
from facefusion_finetune.swappers.sessions import create_session, normalise_crops
from facefusion_finetune.swappers.source import SourceMaker
from facefusion_finetune.swappers.vectors import create_centroid, prepare_source_inputs
from facefusion_finetune.training.base import open_base, resolve_base
from facefusion_finetune.training.crops import RunCrops, reload_crops, split_crops
from facefusion_finetune.training.finish import create_card, write_candidate, write_model
from facefusion_finetune.training.loop import StepCallback, Trainer
from facefusion_finetune.training.losses import SwapLoss
from facefusion_finetune.training.pairs import BaseSwapper, create_pairs
from facefusion_finetune.training.presets import load_preset
from facefusion_finetune.training.recogniser import TorchRecogniser
from facefusion_finetune.training.run import (
    JudgeRecord,
    Run,
    RunConfig,
    check_base,
    create_run,
    list_runs,
    next_version,
)
from facefusion_finetune.training.sources import check_pairs, gather_sources

PARITY_CROPS = 4
WRITTEN_PARITY_LIMITS = {"fp32": 1e-4, "fp16": 2e-2}
"""Largest difference between the trained network and the written file, in output ranges. A file of
half precision computes more coarsely than what was trained."""


@dataclass(frozen=True)
class Observer:
    """Told what goes on; by default nobody listens."""

    on_stage: Callable[[str], None] = field(default=lambda text: None)
    on_step: StepCallback = field(default=lambda step, total, values: None)


def train_person(
    person: Person,
    analyser: FaceAnalyser,
    base: str,
    preset_name: str,
    seed: int = 0,
    observer: Observer | None = None,
    judge_path: Path | None = None,
    targets: list[Path] | World | None = None,
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

    Returns:
        The finished run and what its `report.json` holds.

    Raises:
        ConsentError: No valid consent is on record.
        DatasetError: There are too few crops, or some are damaged.
        SwapperError: The base cannot be tuned.
        EvaluationError: The judge is none, or the targets show nobody else.
        TrainingError: The loss is no number any more.
    """
    consent = person.require_consent()
    preset = load_preset(preset_name)
    judge = open_judge(judge_path, analyser)
    options = resolve_base(base, analyser)
    graph = open_base(options, analyser)
    select_layers(graph, preset.layers)
    check_pairs(options, preset.pairs, analyser)
    crops = split_crops(person, analyser, options, max(2, preset.minimum_crops))
    run = create_run(
        person,
        RunConfig(
            person=person.name,
            version=next_version(person),
            created=datetime.now(UTC),
            package_version=__version__,
            analyser=analyser.name,
            base_name=options.name,
            base_argument=str(options.path) if base.endswith(".onnx") else base,
            base_sha256=digest_file(options.path),
            base_vendor=options.vendor,
            base_licence=options.licence,
            consent_digest=consent.sha256,
            dataset_digest=digest_dataset(crops.records),
            preset_name=Path(preset_name).stem if preset_name.endswith(".toml") else preset_name,
            seed=seed,
            train=[crop.record.id for crop in crops.train],
            held_out=[crop.record.id for crop in crops.held_out],
            preset=preset,
            judge=(
                JudgeRecord(path=str(judge_path.resolve()), sha256=judge.sha256)
                if judge_path and judge
                else None
            ),
        ),
    )
    judgement = Judgement(judge, targets)
    return _carry_out(
        person, run, analyser, options, graph, False, crops, judgement, observer or Observer()
    )


def resume_person(
    person: Person,
    analyser: FaceAnalyser,
    observer: Observer | None = None,
    judge_path: Path | None = None,
    targets: list[Path] | World | None = None,
) -> tuple[Run, dict[str, Any]]:
    """Go on with the person's last run, with the settings it was started with.

    Args:
        person: Whose run.
        analyser: As it was started with.
        observer: Told about the progress.
        judge_path: Another judge than the run was started with.
        targets: Other footage of other people than the run was started with.

    Raises:
        TrainingError: There is nothing to go on with, or the base file has changed.
        Others: As `train_person`.
    """
    person.require_consent()
    unfinished = [run for run in list_runs(person) if not run.is_finished]
    if not unfinished:
        raise TrainingError(
            f"person {person.name!r}",
            "no training of this person was interrupted, so there is nothing to resume.",
            "Train without --resume.",
        )
    run = unfinished[-1]
    options = resolve_base(run.config.base_argument, analyser)
    check_base(run, options)
    graph = open_base(options, analyser)
    crops = reload_crops(person, run, analyser, options)
    judgement = Judgement(reopen_judge(run, judge_path, analyser), targets)
    return _carry_out(
        person, run, analyser, options, graph, True, crops, judgement, observer or Observer()
    )


def _carry_out(
    person: Person,
    run: Run,
    analyser: FaceAnalyser,
    options: SwapperOptions,
    graph: SwapperGraph,
    resume: bool,
    crops: RunCrops,
    judgement: Judgement,
    observer: Observer,
) -> tuple[Run, dict[str, Any]]:
    config, preset = run.config, run.config.preset
    set_seed(config.seed)
    accelerator = Accelerator()

    train = crops.train
    # Rounded as the file carries it: what is trained and judged on is what is deployed.
    exact = create_centroid(stack_embeddings([crop.record for crop in train]))
    centroid = exact.astype(numpy.float32).astype(numpy.float64)
    maker = SourceMaker(options, graph.emap)
    table = gather_sources(train, centroid, maker, analyser, config.seed)

    observer.on_stage("Converting the base")
    swapper = TorchSwapper(graph, select_layers(graph, preset.layers))
    if preset.lora_rank:
        add_low_rank(swapper, preset.lora_rank, config.seed)
    swapper.to(accelerator.device)
    base = BaseSwapper(swapper.run, options)
    sample = normalise_crops(numpy.stack([crop.crop for crop in train[:PARITY_CROPS]]), options)
    sources = prepare_source_inputs(numpy.stack([table.person.source] * len(sample)))
    base_session = create_session(options.path, options.name)
    check_parity(swapper, base_session, sample, sources, get_parity_limit(graph))

    pairs = create_pairs(
        train,
        table,
        base,
        analyser,
        preset,
        numpy.random.default_rng(config.seed),
        lambda done, total: observer.on_stage(f"Making pairs ({done + 1} of {total})"),
    )
    observer.on_stage("Making held-out pairs")
    jury = HeldOutJudge(
        run,
        crops.records,
        train,
        crops.held_out,
        analyser,
        options,
        maker,
        table.person,
        base_session,
        judgement,
    )

    observer.on_stage("Training")
    needs_recogniser = preset.losses.perceptual or preset.losses.identity
    recogniser = TorchRecogniser(analyser.get_recogniser()) if needs_recogniser else None
    if recogniser is not None:
        recogniser.to(accelerator.device)
    direction = torch.from_numpy(centroid.astype(numpy.float32)).to(accelerator.device)
    Trainer(
        accelerator=accelerator,
        swapper=swapper,
        pairs=pairs,
        options=options,
        loss=SwapLoss(preset, recogniser, direction),
        preset=preset,
        steps=preset.count_steps(len(train)),
        seed=config.seed,
        run=run,
    ).optimise(
        resume and run.checkpoint_path.exists(),
        observer.on_step,
        lambda step: jury.draw_preview(run, step, swapper.run),
    )

    observer.on_stage("Writing back and judging")
    weights = swapper.export_weights()
    with write_candidate(run, graph.file, weights) as path:
        session = create_session(path, run.reference)
        check_parity(swapper, session, sample, sources, WRITTEN_PARITY_LIMITS[graph.precision])
        report = jury.write_report(session)
    card = create_card(run, options, table.person, report)
    note = write_model(run, graph.file, weights, card)
    if note is not None:
        observer.on_stage(note)
    return run, report
