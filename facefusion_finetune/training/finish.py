"""The end of a run: the card, and the model file that carries it."""

from typing import Any

import numpy
from numpy.typing import NDArray
from onnx import ModelProto

from facefusion_finetune.errors import TrainingError
from facefusion_finetune.registry.card import ModelCard, encode_metadata
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.writeback import save_model, set_metadata
from facefusion_finetune.training.run import Run


def create_card(
    run: Run,
    options: SwapperOptions,
    centroid: NDArray[numpy.float64],
    report: dict[str, Any],
) -> ModelCard:
    """What the tuned model is, for its metadata and for the file beside it."""
    config = run.config
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
        person_vector=tuple(float(value) for value in centroid),
        consent_digest=config.consent_digest,
        dataset_digest=config.dataset_digest,
        preset=config.preset_name,
        package_version=config.package_version,
        created=config.created.isoformat(timespec="seconds"),
        judge_result={
            "verdict": report["verdict"],
            "proven": report["proven"],
            "face_l1_change": report["face_l1"]["change"],
            "judge": report["judge"]["recogniser"] if report["judge"] else None,
            "judge_change": report["judge"]["change"] if report["judge"] else None,
        },
    )


def write_model(run: Run, tuned: ModelProto, card: ModelCard) -> None:
    """Write `model.onnx` with its card; from then on the run is finished.

    Raises:
        TrainingError: The file cannot be written, for example because the disk is full.
    """
    set_metadata(tuned, encode_metadata(card))
    try:
        save_model(tuned, run.model_path)
    except OSError as error:
        raise TrainingError(
            str(run.model_path),
            f"the tuned model cannot be written ({error.strerror}).",
            f"Make room, then: facefusion-finetune train {run.config.person} --resume. The trained"
            " weights are in the checkpoint.",
        ) from error
