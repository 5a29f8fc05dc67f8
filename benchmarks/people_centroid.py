"""What a person's centroid gains over the embedding of one frame, without any training."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy

from facefusion_finetune import __version__, home
from facefusion_finetune.dataset.crops import AlignedCrop
from facefusion_finetune.dataset.manifest import digest_dataset, stack_embeddings
from facefusion_finetune.demo.analyser import SWAPPER
from facefusion_finetune.evaluation.build import write_report
from facefusion_finetune.evaluation.held_out import EvaluationInputs, HeldOutEvaluator
from facefusion_finetune.evaluation.judges import open_judge, open_recogniser
from facefusion_finetune.evaluation.material import make_swaps
from facefusion_finetune.evaluation.report import Report
from facefusion_finetune.evaluation.truths import World
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.faces.vectors import create_centroid
from facefusion_finetune.people.profile import Person
from facefusion_finetune.presets.preset import load_preset
from facefusion_finetune.runs.base import open_base, resolve_base
from facefusion_finetune.runs.base_swapper import BaseSwapper
from facefusion_finetune.runs.context import RunContext
from facefusion_finetune.runs.crops import split_crops
from facefusion_finetune.runs.run import RunConfig, write_record
from facefusion_finetune.swappers.files.bases import digest_file
from facefusion_finetune.swappers.sessions import create_session, run_session
from facefusion_finetune.swappers.source import PersonSource, SourceMaker

PRESET = "reconstruction"
"""A run's record requires one; nothing is trained with it."""
MIN_CROPS = 2


def compare_centroid(
    person: Person, analyser: FaceAnalyser, world: World, folder: Path, seed: int
) -> Report:
    """Evaluate the base driven by the centroid against the base driven by one frame's embedding.

    Args:
        person: Who has crops.
        analyser: Knows the footage.
        world: The people the person is swapped onto.
        folder: For report and targets; its previous content is deleted.
        seed: Stored in the run's record.

    Returns:
        The report: "before" is one frame's embedding, "after" is the centroid.
    """
    options = resolve_base(SWAPPER, analyser)
    graph = open_base(options, analyser)
    maker = SourceMaker(options, graph.emap)
    crops = split_crops(person, analyser, options, MIN_CROPS)
    shutil.rmtree(folder, ignore_errors=True)
    run = write_record(
        home.create_private_directory(folder),
        RunConfig(
            person=person.name,
            version=1,
            created=datetime.now(UTC),
            package_version=__version__,
            analyser=analyser.name,
            base_name=options.name,
            base_argument=SWAPPER,
            base_sha256=digest_file(options.path),
            base_vendor=options.vendor,
            base_licence=options.licence,
            consent_digest=person.require_consent().sha256,
            dataset_digest=digest_dataset(crops.records),
            preset_name="none",
            seed=seed,
            train=[crop.record.id for crop in crops.train],
            held_out=[crop.record.id for crop in crops.held_out],
            preset=load_preset(PRESET),
        ),
    )
    centroid = create_centroid(stack_embeddings([crop.record for crop in crops.train]))
    # Rounded as stored in a tuned model's file.
    vector = centroid.astype(numpy.float32).astype(numpy.float64)
    source = maker.create_vector(vector)
    frame = stack_embeddings([choose_frame(crops.train).record])[0]
    session = create_session(options.path, options.name)
    base = BaseSwapper(lambda targets, sources: run_session(session, targets, sources), options)
    judge = open_judge(None, analyser)
    material = HeldOutEvaluator(
        RunContext(run, analyser, options, graph, crops),
        maker,
        PersonSource(vector, source),
        session,
        EvaluationInputs(judge, world),
    ).material
    return write_report(
        run,
        material,
        make_swaps(base, maker.create_vector(frame), material),
        make_swaps(base, source, material),
        open_recogniser(analyser.get_recogniser()),
        judge,
        analyser,
        options,
    )


def choose_frame(train: list[AlignedCrop]) -> AlignedCrop:
    """The middle crop of the first training shot."""
    records = [crop.record for crop in train]
    first = min(records, key=lambda record: (record.source, record.frame)).shot
    shot = [crop for crop in train if crop.record.shot == first]
    shot.sort(key=lambda crop: (crop.record.source, crop.record.frame))
    return shot[len(shot) // 2]
