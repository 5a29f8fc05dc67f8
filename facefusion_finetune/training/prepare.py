"""What a training begins with: sources, pairs, a swapper with free layers, and the trainer."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy
import onnxruntime
from accelerate import Accelerator
from accelerate.utils import set_seed
from numpy.typing import NDArray

from facefusion_finetune.dataset.crops import AlignedCrop, load_folder
from facefusion_finetune.dataset.manifest import stack_embeddings
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.faces.vectors import create_centroid
from facefusion_finetune.runs.base_swapper import BaseSwapper
from facefusion_finetune.runs.crops import RunCrops
from facefusion_finetune.runs.others import (
    PersonFilter,
    collect_others,
    others_directory,
    read_others,
)
from facefusion_finetune.runs.run import Run, check_consent
from facefusion_finetune.runs.sources import SourceTable, gather_sources
from facefusion_finetune.swappers.branches.gate import create_gate
from facefusion_finetune.swappers.branches.insert import add_branches
from facefusion_finetune.swappers.branches.select import select_branches
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.convert.lora import add_low_rank
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.convert.parity import check_parity, get_parity_limit
from facefusion_finetune.swappers.graphs.graph import SwapperGraph, select_layers
from facefusion_finetune.swappers.sessions import create_session, normalise_crops
from facefusion_finetune.swappers.source import PersonSource, SourceMaker
from facefusion_finetune.swappers.vectors import prepare_source_inputs
from facefusion_finetune.training.cache.chunks import Draws
from facefusion_finetune.training.cache.feed import CacheSettings, DirectFeed, Feed, choose_feed
from facefusion_finetune.training.cache.header import Origin, check_folder
from facefusion_finetune.training.engine.checkpoint import identify_run
from facefusion_finetune.training.engine.loop import Trainer
from facefusion_finetune.training.losses.swap_loss import create_loss, measure_identity_level
from facefusion_finetune.training.observer import Observer
from facefusion_finetune.training.options import TrainOptions
from facefusion_finetune.training.pairs.build import create_pairs
from facefusion_finetune.training.pairs.pair_set import PairSet
from facefusion_finetune.training.validation import KeptBackScore, create_validation
from facefusion_finetune.training.vector import tune_vector

PARITY_CROPS = 4


@dataclass(frozen=True)
class Sample:
    """A few inputs that every network of the run has to agree on."""

    targets: NDArray[numpy.float32]
    """(n, 3, H, W), as the swapper takes them."""
    sources: NDArray[numpy.float32]
    """(n, ...)."""


@dataclass(frozen=True)
class Preparation:
    """Everything up to the first step."""

    graph: SwapperGraph
    """Of the base, with branches where the preset asks for them."""
    swapper: TorchSwapper
    person: PersonSource
    """As deployed."""
    maker: SourceMaker
    base_session: onnxruntime.InferenceSession
    sample: Sample
    pairs: PairSet
    direct: DirectFeed
    cache: CacheSettings
    create_trainer: Callable[[Feed], Trainer]

    def open_feed(self, observer: Observer) -> Feed:
        """Fill the cache where it pays; see `choose_feed`."""
        return choose_feed(
            self.direct,
            self.cache,
            observer.on_note,
            lambda done, total: observer.on_stage(f"Caching ({done} of {total} pairs)"),
        )


def find_cache(run: Run, settings: TrainOptions, accelerator: Accelerator) -> CacheSettings:
    """Where a run's cache lies; each process has its own.

    Raises:
        TrainingError: The folder holds something else, or another run's cache.
    """
    folder = settings.cache_directory or run.directory / "cache"
    if accelerator.num_processes > 1:
        folder /= str(accelerator.process_index)
    base = run.record.base_sha256
    check_folder(folder, Origin(run=run.reference, base=base, digest=""))
    limit = settings.cache_bytes // accelerator.num_processes
    return CacheSettings(folder, limit, run.reference, base)


def prepare_training(
    run: Run,
    crops: RunCrops,
    analyser: FaceAnalyser,
    options: SwapperOptions,
    graph: SwapperGraph,
    accelerator: Accelerator,
    settings: TrainOptions,
    observer: Observer,
) -> Preparation:
    """Do everything up to the first step.

    It depends on nothing but the run's settings and files, so that a resumed run comes to the same.

    Args:
        run: With its settings.
        crops: Of the run.
        analyser: Aligns, masks and pastes.
        options: Of the base.
        graph: Of the base.
        accelerator: Where it is computed.
        settings: How it is carried out.
        observer: Told about the progress.

    Raises:
        TrainingError: The cache belongs to another run, the base leaves the person in all swaps, or
            nobody else is shown where others should be.
        SwapperError: The base cannot be converted or gated.
    """
    config, preset = run.config, run.config.preset
    set_seed(config.seed)
    cache = find_cache(run, settings, accelerator)
    train = crops.train
    embeddings = stack_embeddings([crop.record for crop in train])
    # Rounded as the file carries it: what is trained and judged on is what is deployed.
    centroid = create_centroid(embeddings).astype(numpy.float32).astype(numpy.float64)
    maker = SourceMaker(options, graph.emap)
    table = gather_sources(train, centroid, maker, analyser, config.seed)
    others = _gather_others(run, train, analyser, options, accelerator)

    observer.on_stage("Converting the base")
    layers = select_layers(graph, preset.layers)
    plain = TorchSwapper(graph, () if preset.gated else layers)
    plain.to(accelerator.device)
    base = BaseSwapper(plain.run, options)
    targets = normalise_crops(numpy.stack([crop.crop for crop in train[:PARITY_CROPS]]), options)

    def sample(person: PersonSource) -> Sample:
        return Sample(targets, prepare_source_inputs(numpy.stack([person.source] * len(targets))))

    base_session = create_session(options.path, options.name)
    first = sample(table.person)
    check_parity(plain, base_session, first.targets, first.sources, get_parity_limit(graph))

    def pair(sources: SourceTable) -> PairSet:
        return create_pairs(
            train,
            sources,
            base,
            analyser,
            preset,
            numpy.random.default_rng(config.seed),
            lambda done, total: observer.on_stage(f"Making pairs ({done + 1} of {total})"),
            others=others,
            centroid=centroid,
            on_note=observer.on_note,
        )

    pairs = pair(table)
    clips = [crop.record.shot for crop in train]
    level = measure_identity_level(embeddings, clips)
    loss = create_loss(preset, analyser.get_recogniser(), centroid, level, str(accelerator.device))
    if preset.vector is not None:
        observer.on_stage("Tuning the vector")
        with accelerator.autocast():
            person = tune_vector(
                plain, options, maker, table.person, pairs, loss, preset.vector, preset, config.seed
            )
        table = replace(table, person=person)
        pairs = pair(table)

    if preset.gated:
        own, strangers = (prepare_source_inputs(rows) for rows in (table.own, table.others))
        gate = create_gate(own, table.person.source, strangers)
        graph = add_branches(graph, layers, preset.lora_rank, gate, config.seed)
        swapper = TorchSwapper(graph, select_branches(graph))
    else:
        swapper = plain
        if preset.lora_rank:
            add_low_rank(swapper, preset.lora_rank, config.seed)
    swapper.to(accelerator.device)

    score = None
    if crops.kept_back:
        observer.on_stage("Making pairs of the shot kept back")
        kept_back = create_validation(crops.kept_back, table, base, analyser)
        score = KeptBackScore(swapper, kept_back, options, str(accelerator.device))
    steps = preset.count_steps(len(train))
    draws = Draws(pairs, preset.pairs, preset.batch_size, config.seed, steps)
    direct = DirectFeed(swapper, draws, options, str(accelerator.device), accelerator.autocast)
    return Preparation(
        graph=graph,
        swapper=swapper,
        person=table.person,
        maker=maker,
        base_session=base_session,
        sample=sample(table.person),
        pairs=pairs,
        direct=direct,
        cache=cache,
        create_trainer=lambda feed: Trainer(
            accelerator=accelerator,
            swapper=swapper,
            feed=feed,
            options=options,
            loss=loss,
            preset=preset,
            steps=steps,
            run=run,
            identity=identify_run(config),
            validate=score,
            permit=partial(check_consent, run),
        ),
    )


def _gather_others(
    run: Run,
    train: list[AlignedCrop],
    analyser: FaceAnalyser,
    options: SwapperOptions,
    accelerator: Accelerator,
) -> list[AlignedCrop]:
    """Crops of other people that train; the run keeps them once they are cut out."""
    paths = [Path(path) for path in run.config.others]
    with accelerator.main_process_first():
        records = read_others(run)
        if paths and not records:
            likeness = PersonFilter.of(stack_embeddings([crop.record for crop in train]))
            records = collect_others(run, paths, analyser, likeness)
    return load_folder(others_directory(run), records, analyser, options) if records else []
