"""The end of a run: the model card, and the model file that contains it."""

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from facefusion_finetune.errors import TrainingError
from facefusion_finetune.evaluation.report import Report, summarise_report
from facefusion_finetune.faces.images import encode_png
from facefusion_finetune.registry.bases import write_run_model
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.card import ModelCard, encode_metadata
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.files.modelfile import ModelFile
from facefusion_finetune.swappers.files.writeback import Weights
from facefusion_finetune.swappers.source import PersonSource


def create_card(
    run: Run,
    options: SwapperOptions,
    person: PersonSource,
    report: Report,
) -> ModelCard:
    """The tuned model's card, for its metadata and for the JSON file next to it."""
    config, family = run.config, options.family
    picture = (
        base64.b64encode(encode_png(person.source)).decode("ascii") if family.picture else None
    )
    return ModelCard(
        person=config.person,
        version=config.version,
        base_name=config.base_name,
        base_sha256=config.base_sha256,
        base_vendor=config.base_vendor,
        base_licence=config.base_licence,
        type=options.type,
        template=options.template,
        size=options.size,
        mean=options.mean,
        standard_deviation=options.standard_deviation,
        person_vector=tuple(float(value) for value in person.vector),
        person_source=(
            tuple(float(value) for value in person.source) if family.needs_converter else None
        ),
        person_picture=picture,
        consent_digest=config.consent_digest,
        dataset_digest=config.dataset_digest,
        preset=config.preset_name,
        package_version=config.package_version,
        created=config.created.isoformat(timespec="seconds"),
        judge_result=summarise_report(report),
    )


@contextmanager
def write_candidate(run: Run, base: ModelFile, weights: Weights) -> Iterator[Path]:
    """Write the tuned model to a temporary file without a card, for evaluation.

    Errors as in `write_model`.
    """
    path = run.directory / "candidate.onnx"
    try:
        _write(run, base, path, weights, {})
        yield path
    finally:
        path.unlink(missing_ok=True)


def write_model(run: Run, base: ModelFile, weights: Weights, card: ModelCard) -> str | None:
    """Write `model.onnx` with its card; this marks the run as finished.

    Returns:
        None for a file linked to its base, otherwise the reason why it contains all weights.

    Raises:
        RegistryError: The base file has changed since the run started.
        TrainingError: The file cannot be written, for example because the disk is full.
    """
    return _write(run, base, run.model_path, weights, encode_metadata(card))


def _write(
    run: Run, base: ModelFile, path: Path, weights: Weights, metadata: Mapping[str, str]
) -> str | None:
    config = run.config
    try:
        return write_run_model(base, config.base_sha256, config.base_name, path, weights, metadata)
    except OSError as error:
        raise TrainingError(
            str(path),
            f"the tuned model cannot be written ({error.strerror}).",
            f"Free some space, then run: facefusion-finetune train {config.person} --resume. The"
            " trained weights are in the checkpoint.",
        ) from error
