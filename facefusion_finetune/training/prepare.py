"""Prepares a training: sources, pairs, a swapper with trainable layers, and the trainer."""

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
from facefusion_finetune.faces.vectors import create_centroid
from facefusion_finetune.runs.context import RunContext
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.runs.others import (
    PersonFilter,
    collect_others,
    others_directory,
    read_others,
)
from facefusion_finetune.runs.run import Run, check_consent
from facefusion_finetune.runs.sources import SourceTable, gather_sources
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.graphs.graph import SwapperGraph
from facefusion_finetune.swappers.source import PersonSource, SourceMaker
from facefusion_finetune.training.cache.chunks import BatchSampler
from facefusion_finetune.training.cache.feed import CacheSettings, DirectFeed, Feed, choose_feed
from facefusion_finetune.training.cache.header import Origin, check_folder
from facefusion_finetune.training.engine.checkpoint import identify_run
from facefusion_finetune.training.engine.loop import Trainer
from facefusion_finetune.training.losses.swap_loss import (
    SwapLoss,
    create_loss,
    measure_identity_level,
)
from facefusion_finetune.training.network import (
    ConvertedBase,
    Sample,
    TunableNetwork,
    convert_base,
    create_trainable,
)
from facefusion_finetune.training.pairs.build import create_pairs
from facefusion_finetune.training.pairs.pair_set import PairSet
from facefusion_finetune.training.request import TrainRequest
from facefusion_finetune.training.validation import ValidationScore, create_validation_pairs
from facefusion_finetune.training.vector import tune_vector

CACHE_FOLDER = "cache"
"""In the run's folder, where no other place was given."""


@dataclass(frozen=True)
class Preparation:
    """Everything needed before the first step."""

    graph: SwapperGraph
    """The base's graph, with branches if the preset is gated."""
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
        """Fill the cache if it saves enough; see `choose_feed`."""
        return choose_feed(
            self.direct,
            self.cache,
            observer.on_note,
            lambda done, total: observer.on_stage(f"Caching ({done} of {total} pairs)"),
        )


def find_cache(run: Run, request: TrainRequest, accelerator: Accelerator) -> CacheSettings:
    """The location and size limit of this process's cache.

    Raises:
        TrainingError: The folder contains other files or another run's cache.
    """
    folder = request.cache or run.directory / CACHE_FOLDER
    if accelerator.num_processes > 1:
        folder /= str(accelerator.process_index)
    base = run.record.base_sha256
    check_folder(folder, Origin(run=run.reference, base=base, digest=""))
    limit = request.cache_size // accelerator.num_processes
    return CacheSettings(folder, limit, run.reference, base)


def prepare_training(
    context: RunContext, request: TrainRequest, accelerator: Accelerator
) -> Preparation:
    """Do everything up to the first step.

    The result depends only on the run's settings and files, so a resumed run gets the same.

    Args:
        context: The run's context.
        request: How to carry out the training.
        accelerator: Has the device.

    Raises:
        TrainingError: The cache belongs to another run, the person remains visible in all of the
            base's swaps, or the footage of others shows nobody else.
        SwapperError: The base cannot be converted or gated.
    """
    set_seed(context.run.config.seed)
    cache = find_cache(context.run, request, accelerator)
    material = _gather_material(context, accelerator)
    context.observer.on_stage("Converting the base")
    base = convert_base(context, material.sources.person, accelerator)
    pairs = _make_pairs(context, material, base)
    loss = _create_loss(context, material, accelerator)
    if context.run.config.preset.vector is not None:
        material = _tune_vector(context, material, base, pairs, loss, accelerator)
        pairs = _make_pairs(context, material, base)
    network = create_trainable(context, base, material.sources, accelerator)
    validate = _create_score(context, material, base, network, accelerator)
    direct = _create_feed(context, network, pairs, accelerator)
    return Preparation(
        graph=network.graph,
        swapper=network.torch,
        person=material.sources.person,
        maker=material.maker,
        base_session=base.session,
        sample=base.sample(material.sources.person),
        pairs=pairs,
        direct=direct,
        cache=cache,
        create_trainer=partial(_create_trainer, context, network, loss, validate, accelerator),
    )


@dataclass(frozen=True)
class _Material:
    """The sources that drive the swaps, and other people's training frames."""

    centroid: NDArray[numpy.float64]
    """(512,), mean direction of the training crops' embeddings."""
    maker: SourceMaker
    sources: SourceTable
    others: list[AlignedCrop]
    """Other people's frames."""


def _gather_material(context: RunContext, accelerator: Accelerator) -> _Material:
    train, analyser = context.crops.train, context.analyser
    embeddings = stack_embeddings([crop.record for crop in train])
    # Rounded as stored in the file, so that training and evaluation use the deployed values.
    centroid = create_centroid(embeddings).astype(numpy.float32).astype(numpy.float64)
    maker = SourceMaker(context.options, context.graph.emap)
    sources = gather_sources(train, centroid, maker, analyser, context.run.config.seed)
    return _Material(centroid, maker, sources, _gather_others(context, accelerator))


def _gather_others(context: RunContext, accelerator: Accelerator) -> list[AlignedCrop]:
    """Training crops of other people; the run keeps them once extracted."""
    run, analyser = context.run, context.analyser
    paths = [Path(path) for path in run.config.others]
    with accelerator.main_process_first():
        records = read_others(run)
        if paths and not records:
            own = stack_embeddings([crop.record for crop in context.crops.train])
            records = collect_others(
                run, paths, analyser, PersonFilter.of(own), context.observer.on_note
            )
    if not records:
        return []
    return load_folder(others_directory(run), records, analyser, context.options)


def _make_pairs(context: RunContext, material: _Material, base: ConvertedBase) -> PairSet:
    config, observer = context.run.config, context.observer
    return create_pairs(
        context.crops.train,
        material.sources,
        base.swapper,
        context.analyser,
        config.preset,
        numpy.random.default_rng(config.seed),
        lambda done, total: observer.on_stage(f"Making pairs ({done + 1} of {total})"),
        others=material.others,
        centroid=material.centroid,
        on_note=observer.on_note,
    )


def _create_loss(context: RunContext, material: _Material, accelerator: Accelerator) -> SwapLoss:
    records = [crop.record for crop in context.crops.train]
    level = measure_identity_level(stack_embeddings(records), [record.shot for record in records])
    recogniser = context.analyser.get_recogniser()
    preset = context.run.config.preset
    return create_loss(preset, recogniser, material.centroid, level, str(accelerator.device))


def _tune_vector(
    context: RunContext,
    material: _Material,
    base: ConvertedBase,
    pairs: PairSet,
    loss: SwapLoss,
    accelerator: Accelerator,
) -> _Material:
    """The material with a tuned person vector; no weight is trained yet."""
    config = context.run.config
    assert config.preset.vector is not None
    context.observer.on_stage("Tuning the vector")
    with accelerator.autocast():
        person = tune_vector(
            base.torch,
            context.options,
            material.maker,
            material.sources.person,
            pairs,
            loss,
            config.preset.vector,
            config.preset,
            config.seed,
        )
    return replace(material, sources=replace(material.sources, person=person))


def _create_score(
    context: RunContext,
    material: _Material,
    base: ConvertedBase,
    network: TunableNetwork,
    accelerator: Accelerator,
) -> ValidationScore | None:
    """The score for early stopping; None without a validation set."""
    if not context.crops.validation:
        return None
    context.observer.on_stage("Making validation pairs")
    pairs = create_validation_pairs(
        context.crops.validation, material.sources, base.swapper, context.analyser
    )
    return ValidationScore(network.torch, pairs, context.options, str(accelerator.device))


def _create_feed(
    context: RunContext, network: TunableNetwork, pairs: PairSet, accelerator: Accelerator
) -> DirectFeed:
    config = context.run.config
    preset = config.preset
    steps = preset.count_steps(len(context.crops.train))
    sampler = BatchSampler(pairs, preset.pairs, preset.batch_size, config.seed, steps)
    device = str(accelerator.device)
    return DirectFeed(network.torch, sampler, context.options, device, accelerator.autocast)


def _create_trainer(
    context: RunContext,
    network: TunableNetwork,
    loss: SwapLoss,
    validate: ValidationScore | None,
    accelerator: Accelerator,
    feed: Feed,
) -> Trainer:
    config = context.run.config
    return Trainer(
        accelerator=accelerator,
        swapper=network.torch,
        feed=feed,
        options=context.options,
        loss=loss,
        preset=config.preset,
        steps=config.preset.count_steps(len(context.crops.train)),
        run=context.run,
        identity=identify_run(config),
        validate=validate,
        check_consent=partial(check_consent, context.run),
    )
