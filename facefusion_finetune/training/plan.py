"""Plans a run: everything is checked, nothing is written."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from facefusion_finetune import __version__, home
from facefusion_finetune.dataset.manifest import digest_dataset
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.people.profile import Person
from facefusion_finetune.presets.preset import load_preset
from facefusion_finetune.runs.base import check_licence, open_base, resolve_base
from facefusion_finetune.runs.context import RunContext
from facefusion_finetune.runs.crops import RunCrops, split_crops
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.runs.run import JudgeRecord, Run, RunConfig, next_version
from facefusion_finetune.runs.sources import check_preset
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.files.bases import digest_file
from facefusion_finetune.swappers.graphs.graph import SwapperGraph, select_layers
from facefusion_finetune.training.request import TrainRequest


@dataclass(frozen=True)
class Plan:
    """A run's settings, and what was loaded to determine them."""

    config: RunConfig
    options: SwapperOptions
    graph: SwapperGraph
    crops: RunCrops

    def create_context(self, run: Run, analyser: FaceAnalyser, observer: Observer) -> RunContext:
        """The context of the run created from this plan."""
        return RunContext(run, analyser, self.options, self.graph, self.crops, observer)


def plan_run(
    person: Person,
    analyser: FaceAnalyser,
    request: TrainRequest,
    judge: JudgeRecord | None,
) -> Plan:
    """Check everything a training needs, and determine its settings.

    Args:
        person: Has consent on record and extracted crops.
        analyser: Aligns the crops.
        request: What to train, and how.
        judge: The judge, if the user gave a file.

    Raises:
        ConsentError, DatasetError, SwapperError, UsageError: As `train_person`.
    """
    consent = person.require_consent()
    preset = load_preset(request.preset)
    options = resolve_base(request.base, analyser)
    if request.commercial:
        check_licence(options)
    graph = open_base(options, analyser)
    select_layers(graph, preset.layers)
    check_preset(options, preset, analyser, bool(request.others))
    needed = max(2, preset.minimum_crops)
    crops = split_crops(person, analyser, options, needed, preset.validate_every > 0)
    config = RunConfig(
        person=person.name,
        version=next_version(person),
        created=datetime.now(UTC),
        package_version=__version__,
        analyser=analyser.name,
        base_name=options.name,
        base_argument=str(options.path) if request.base.endswith(".onnx") else request.base,
        base_sha256=digest_file(options.path),
        base_vendor=options.vendor,
        base_licence=options.licence,
        consent_digest=consent.sha256,
        dataset_digest=digest_dataset(crops.records),
        preset_name=_name_preset(request.preset),
        seed=request.seed,
        train=[crop.record.id for crop in crops.train],
        held_out=[crop.record.id for crop in crops.held_out],
        kept_back=[crop.record.id for crop in crops.validation],
        preset=preset,
        judge=judge,
        others=[str(home.resolve_path(path)) for path in request.others],
    )
    return Plan(config, options, graph, crops)


def _name_preset(preset: str) -> str:
    return Path(preset).stem if preset.endswith(".toml") else preset
