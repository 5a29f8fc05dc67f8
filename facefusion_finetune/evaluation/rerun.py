"""Judge a finished run again, from what is stored."""

from typing import Any

from facefusion_finetune.dataset.crops import load_crops
from facefusion_finetune.dataset.manifest import read_manifest
from facefusion_finetune.errors import DatasetError, TrainingError
from facefusion_finetune.evaluation.held_out import HeldOutJudge
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.people.profile import Person
from facefusion_finetune.registry.store import read_card
from facefusion_finetune.swappers.sessions import create_session
from facefusion_finetune.swappers.source import SourceMaker
from facefusion_finetune.training.base import open_base, resolve_base
from facefusion_finetune.training.run import Run, check_base
from facefusion_finetune.training.sources import restore_person


def evaluate_run(person: Person, run: Run, analyser: FaceAnalyser) -> dict[str, Any]:
    """Write the report of a finished run anew; the same figures come out.

    Raises:
        ConsentError: No valid consent is on record.
        TrainingError: The run is not finished, or the base file has changed.
        DatasetError: Held-out crops are gone.
    """
    person.require_consent()
    if not run.is_finished:
        raise TrainingError(
            f"run {run.reference}",
            "its training is not finished, so there is nothing to judge.",
            f"Go on: facefusion-finetune train {person.name} --resume.",
        )
    options = resolve_base(run.config.base_argument, analyser)
    check_base(run, options)
    wanted = set(run.config.held_out)
    records = [record for record in read_manifest(person) if record.id in wanted]
    if len(records) < len(wanted):
        raise DatasetError(
            f"run {run.reference}",
            f"{len(wanted) - len(records)} of its held-out crops are gone.",
            "Train anew.",
        )
    crops = load_crops(person, records, analyser, options)
    emap = open_base(options, analyser).emap
    judge = HeldOutJudge(
        crops,
        analyser,
        options,
        SourceMaker(options, emap),
        restore_person(read_card(run.model_path), emap),
        create_session(options.path, options.name),
    )
    return judge.write_report(run, create_session(run.model_path, run.reference))
