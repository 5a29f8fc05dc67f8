"""Finished runs without training: a base, some of its weights moved, a card."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy

from facefusion_finetune.people.profile import Person
from facefusion_finetune.presets.preset import load_preset
from facefusion_finetune.registry.bases import write_run_model
from facefusion_finetune.runs.run import Run, RunConfig, create_run, next_version
from facefusion_finetune.swappers.card import ModelCard, encode_metadata
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.files.bases import digest_file
from facefusion_finetune.swappers.files.modelfile import ModelFile, open_model
from facefusion_finetune.swappers.files.writeback import Weights, save_model
from tests.support.vectors import draw_direction

TUNED = ("Conv_596.weight", "Conv_596.bias", "Conv_612.weight", "Conv_612.bias")


def read_digests(run: Run) -> dict[str, str]:
    """By tensor of the run's model: SHA-256 of its bytes, short enough to be told apart by eye."""
    model = open_model(run.model_path)
    return {
        name: hashlib.sha256(model.read_tensor(name).tobytes()).hexdigest()
        for name in model.tensors
    }


def create_card(
    person: str, version: int, options: SwapperOptions, proven: bool = False, **changes: object
) -> ModelCard:
    """A card for a model tuned from that base."""
    values = {
        "person": person,
        "version": version,
        "base_name": options.name,
        "base_sha256": digest_file(options.path),
        "base_vendor": options.vendor,
        "base_licence": options.licence,
        "type": options.type,
        "template": options.template,
        "size": options.size,
        "mean": options.mean,
        "standard_deviation": options.standard_deviation,
        "person_vector": tuple(map(float, draw_direction(5))),
        "consent_digest": "0" * 64,
        "dataset_digest": "0" * 64,
        "preset": "fast",
        "package_version": "0",
        "created": "2025-01-01T00:00:00+00:00",
        "judge_result": {"verdict": "better", "proven": proven, "judge": None},
    }
    return ModelCard(**{**values, **changes})  # type: ignore[arg-type]


def move_weights(base: ModelFile, names: tuple[str, ...] = TUNED, by: float = 0.01) -> Weights:
    """The named weights, each a little larger."""
    return {name: base.read_tensor(name).astype(numpy.float32) + by for name in names}


def create_finished_run(
    person: Person,
    options: SwapperOptions,
    is_linked: bool = True,
    proven: bool = False,
    weights: Mapping[str, object] | None = None,
) -> Run:
    """The person's next run, finished.

    Args:
        person: Whose run.
        options: Of the base.
        is_linked: Whether the model leaves its frozen weights in the base.
        proven: Whether its card says that it won.
        weights: What was tuned; otherwise two layers are moved.
    """
    card = create_card(person.name, next_version(person), options, proven)
    config = RunConfig(
        person=person.name,
        version=card.version,
        created=datetime.now(UTC),
        package_version=card.package_version,
        analyser="demo",
        base_name=card.base_name,
        base_argument=str(options.path),
        base_sha256=card.base_sha256,
        base_vendor=card.base_vendor,
        base_licence=card.base_licence,
        consent_digest=card.consent_digest,
        dataset_digest=card.dataset_digest,
        preset_name=card.preset,
        seed=0,
        train=["a"],
        held_out=["b"],
        preset=load_preset("fast"),
    )
    run = create_run(person, config)
    base = open_model(options.path)
    moved: Weights = move_weights(base) if weights is None else weights  # type: ignore[assignment]
    metadata = encode_metadata(card)
    if is_linked:
        note = write_run_model(
            base, card.base_sha256, card.base_name, run.model_path, moved, metadata
        )
        assert note is None
    else:
        save_model(base, run.model_path, moved, metadata)
    return run


def list_names(folder: Path) -> list[str]:
    """Names of all files in a folder and below."""
    return sorted(path.name for path in folder.rglob("*") if not path.is_dir())
