"""What a run is to be, with everything looked at and nothing written."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from facefusion_finetune import __version__
from facefusion_finetune.dataset.manifest import digest_dataset
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.people.profile import Person
from facefusion_finetune.presets.preset import load_preset
from facefusion_finetune.runs.base import check_licence, open_base, resolve_base
from facefusion_finetune.runs.crops import RunCrops, split_crops
from facefusion_finetune.runs.run import JudgeRecord, RunConfig, next_version
from facefusion_finetune.runs.sources import check_preset
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.files.bases import digest_file
from facefusion_finetune.swappers.graphs.graph import SwapperGraph, select_layers
from facefusion_finetune.training.options import TrainOptions


@dataclass(frozen=True)
class Plan:
    """A run's settings, and what was opened to make them."""

    config: RunConfig
    options: SwapperOptions
    graph: SwapperGraph
    crops: RunCrops


def plan_run(
    person: Person,
    analyser: FaceAnalyser,
    base: str,
    preset_name: str,
    seed: int,
    settings: TrainOptions,
    judge: JudgeRecord | None,
) -> Plan:
    """Look at everything a training needs.

    Args:
        person: With consent on record and crops extracted.
        analyser: Aligns them.
        base: See `resolve_base`.
        preset_name: Name or path of a preset.
        seed: Of everything that is drawn.
        settings: How the training is carried out.
        judge: The judge, where it is a file of the user's.

    Raises:
        ConsentError, DatasetError, SwapperError, UsageError: As `train_person`.
    """
    consent = person.require_consent()
    preset = load_preset(preset_name)
    options = resolve_base(base, analyser)
    if settings.commercial:
        check_licence(options)
    graph = open_base(options, analyser)
    select_layers(graph, preset.layers)
    check_preset(options, preset, analyser, bool(settings.others))
    needed = max(2, preset.minimum_crops)
    crops = split_crops(person, analyser, options, needed, preset.validate_every > 0)
    config = RunConfig(
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
        kept_back=[crop.record.id for crop in crops.kept_back],
        preset=preset,
        judge=judge,
        others=[str(path.expanduser().resolve()) for path in settings.others],
    )
    return Plan(config, options, graph, crops)
