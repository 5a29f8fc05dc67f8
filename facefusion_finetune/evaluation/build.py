"""Measures all figures, and writes `report.json` and `report.html`."""

from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune import __version__, home
from facefusion_finetune.dataset.split import ADVISED_SHOTS, ENOUGH_SHOTS
from facefusion_finetune.evaluation.appearance import (
    AppearanceOnTargets,
    measure_held_out,
    measure_memorisation,
    measure_others,
)
from facefusion_finetune.evaluation.figures import KINDS, Figure
from facefusion_finetune.evaluation.gate import Decision, decide
from facefusion_finetune.evaluation.judges import LoadedRecogniser
from facefusion_finetune.evaluation.likeness import Likeness, measure_likeness
from facefusion_finetune.evaluation.material import Material, Swaps
from facefusion_finetune.evaluation.metrics import measure_face_l1
from facefusion_finetune.evaluation.page import write_page
from facefusion_finetune.evaluation.pictures import (
    Picture,
    choose_rows,
    draw_grid,
    label_rows,
    save_picture,
)
from facefusion_finetune.evaluation.report import (
    Check,
    MaterialCounts,
    Missing,
    PairScores,
    Report,
    ReportedBase,
    ReportedJudge,
    ReportedPicture,
    ReportedRecogniser,
    TargetCounts,
    encode_report,
)
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.host.locate import STAND_INS
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.catalogue import SwapperOptions

SELF_GRADED = (
    "there is no second recogniser, so the likeness is scored by the one that drives the swap; give"
    " one with --judge FILE.onnx."
)

NO_OTHERS = (
    "The base is driven by a picture, and there are no pictures of other people. The usual test,"
    " swapping someone else on and the person back, was not possible: on the frames used instead,"
    " returning the input unchanged would score perfectly."
)
STAND_IN_NETWORKS = (
    "FaceFusion's networks were stand-ins for tests. The figures show that everything runs, but"
    " nothing about identity or quality."
)
STAND_IN_TARGETS = (
    "No footage of other people was given (--targets), so the person was swapped onto their own"
    " held-out frames, onto which the base had swapped someone else."
)
FEW_SHOTS = (
    "All footage is from {shots} shots. With fewer than {advised}, it is unknown how the model"
    " performs in other light and surroundings."
)
ONE_SHOT = "Only one shot is held out, so the intervals do not account for other shots."
FEW_HELD_OUT = (
    "Only {shots} shots are held out, which is too few to prove a gain reliably: extract footage of"
    " more shots; from 12 shots on, {enough} are held out."
)
LEFT_OUT = (
    "{count} held-out crops were left out because they are from the same recordings as training"
    " crops, or near-duplicates of them."
)

NOBODY_ELSE = "there is no one else to swap in, or nothing to compare with."
JUDGED = ("judge_targets", "recogniser_gap", "retrieval_margin", "judge_held_out")
"""Figures that require an independent judge."""

SWAPPED_TEXT = (
    "Someone else was swapped onto a real frame of the person, then the person was swapped back:"
    " by the base (before) and by the tuned model (after). The truth is the real frame. Rows are"
    " selected by how much the tuned model improves or worsens them."
)
SELF_TEXT = (
    "The person is swapped onto the person's own frames: by the base (before) and by the tuned"
    " model (after). The truth is the frame itself."
)
TARGETS_TEXT = (
    "The person is swapped onto frames of other people: by the base (before) and by the tuned model"
    " (after). Rows are selected by how much the tuned model changes {by}."
)
TRUTH_TEXT = " In this synthetic world, the true swap is known."


def list_notes(material: Material, analyser: str) -> list[str]:
    """Notes on the material for the reader of a report.

    Args:
        material: The material of the evaluation.
        analyser: Name of the analyser.
    """
    notes = [STAND_IN_NETWORKS] if analyser.endswith(STAND_INS) else []
    held_out = {crop.record.shot for crop in material.held_out.crops}
    shots = len(held_out | {crop.record.shot for crop in material.trained.crops})
    if not material.held_out.are_swapped:
        notes.append(NO_OTHERS)
    elif not material.are_people:
        notes.append(STAND_IN_TARGETS)
    if shots < ADVISED_SHOTS:
        notes.append(FEW_SHOTS.format(shots=shots, advised=ADVISED_SHOTS))
    if len(held_out) == 1:
        notes.append(ONE_SHOT)
    elif len(held_out) < ENOUGH_SHOTS:
        notes.append(FEW_HELD_OUT.format(shots=len(held_out), enough=ENOUGH_SHOTS))
    if material.left_out:
        notes.append(LEFT_OUT.format(count=material.left_out))
    return notes


def write_report(
    run: Run,
    material: Material,
    before: Swaps,
    after: Swaps,
    recogniser: LoadedRecogniser,
    judge: LoadedRecogniser | None,
    analyser: FaceAnalyser,
    options: SwapperOptions,
) -> Report:
    """Evaluate base and tuned model on held-out material; write the report and its pictures.

    Args:
        run: The run to write to.
        material: The material both models were run on.
        before: Swaps of the base, driven by the person's vector or picture.
        after: Swaps of the tuned model, driven by the same source.
        recogniser: The training recogniser.
        judge: A recogniser trained independently of it, if there is one.
        analyser: Aligns, pastes back and measures attributes.
        options: The base's options.

    Returns:
        The contents of `report.json`.
    """
    likeness = measure_likeness(material, before, after, recogniser, judge, analyser)
    held_out, missing = measure_held_out(material.held_out, before.held_out, after.held_out)
    appearance, more_missing = AppearanceOnTargets(material, analyser, options).measure(
        before, after, likeness.judge_targets
    )
    missing |= more_missing
    if judge is None:
        missing |= dict.fromkeys(JUDGED, SELF_GRADED)
    measured = [
        *likeness.figures,
        *held_out,
        *appearance,
        measure_memorisation(material, before, after),
        *measure_others(material, before, after),
    ]
    figures = {figure.key: figure for figure in measured}
    missing |= {
        key: NOBODY_ELSE
        for key in KINDS
        if key.startswith("others_") and key not in (*figures, "others_l1")
    }
    decision = decide(
        figures, missing, _list_conditions(judge, likeness), material.held_out.are_swapped
    )
    pictures = _draw_pictures(material, before, after, figures)
    report = _assemble(run, material, figures, missing, decision, recogniser, judge, pictures)
    folder = run.previews_directory
    home.create_inner_directory(folder, run.directory)
    for picture in pictures:
        save_picture(folder / picture.name, picture.pixels)
    home.write_text(run.report_json_path, encode_report(report))
    write_page(run.report_path, report, pictures)
    return report


def _list_conditions(judge: LoadedRecogniser | None, likeness: Likeness) -> list[Check]:
    independent = Check(
        name="judge",
        title="An independent judge",
        role="condition",
        outcome="held" if judge else "failed",
        text=f"{judge.options.name} is not the training recogniser." if judge else SELF_GRADED,
    )
    if judge is None:
        return [independent]
    discriminating = Check(
        name="judge_can_tell",
        title="A judge that distinguishes the person from others",
        role="condition",
        outcome="failed" if likeness.fault else "held",
        text=likeness.fault or "the judge distinguishes the person's real frames from others.",
    )
    return [independent, discriminating]


def _assemble(
    run: Run,
    material: Material,
    figures: dict[str, Figure],
    missing: dict[str, str],
    decision: Decision,
    recogniser: LoadedRecogniser,
    judge: LoadedRecogniser | None,
    pictures: list[Picture],
) -> Report:
    config = run.config
    return Report(
        model=run.reference,
        person=config.person,
        version=config.version,
        verdict=decision.verdict,
        sentence=decision.sentence,
        proven=decision.is_proven,
        reasons=tuple(decision.reasons),
        checks=tuple(decision.checks),
        notes=tuple(list_notes(material, config.analyser)),
        preset=config.preset_name,
        seed=config.seed,
        analyser=config.analyser,
        package_version=__version__,
        dataset_digest=config.dataset_digest,
        base=ReportedBase(
            name=config.base_name,
            vendor=config.base_vendor,
            licence=config.base_licence,
            sha256=config.base_sha256,
        ),
        judge=(
            ReportedJudge(name=judge.options.name, sha256=judge.sha256, independent=True)
            if judge
            else None
        ),
        training_recogniser=ReportedRecogniser(
            name=recogniser.options.name, sha256=recogniser.sha256
        ),
        material=_count(run, material),
        figures={key: figure.as_reported() for key, figure in figures.items()},
        missing=tuple(Missing(title=KINDS[key].title, why=why) for key, why in missing.items()),
        values=_list_pairs(material, figures),
        pictures=tuple(
            ReportedPicture(name=picture.name, title=picture.title, text=picture.text)
            for picture in pictures
        ),
    )


def _count(run: Run, material: Material) -> MaterialCounts:
    pairs, targets = material.held_out, material.targets
    return MaterialCounts(
        train=len(run.config.train),
        train_shots=len({crop.record.shot for crop in material.trained.crops}),
        held_out=len(pairs.crops),
        held_out_shots=len({crop.record.shot for crop in pairs.crops}),
        left_out=material.left_out,
        targets=TargetCounts(
            kind="people" if material.are_people else "stand-in",
            frames=len(targets),
            shots=len({target.record.shot for target in targets}),
        ),
        other_vectors=0 if material.others is None else len(material.others),
    )


def _list_pairs(material: Material, figures: dict[str, Figure]) -> dict[str, PairScores]:
    """The pairwise scores of the figures that a report lists pair by pair."""
    held_out = [crop.record.id for crop in material.held_out.crops]
    targets = [target.record.id for target in material.targets]
    others = [f"{targets[row]} {other}" for row, other in material.rows]
    names = {
        "face_l1": held_out,
        **dict.fromkeys(("judge_targets", "true_swap"), targets),
        **dict.fromkeys(("others_identity", "others_towards_person", "others_l1"), others),
    }
    return {key: figures[key].list_pairs(ids) for key, ids in names.items() if key in figures}


def _draw_pictures(
    material: Material, before: Swaps, after: Swaps, figures: dict[str, Figure]
) -> list[Picture]:
    """Grids of pairs that are selected by their scores."""
    pairs = material.held_out
    columns: dict[str, NDArray[Any]] = {
        "somebody else" if pairs.are_swapped else "input": pairs.inputs,
        "before": before.held_out,
        "after": after.held_out,
        "truth": pairs.truths,
    }
    text = SWAPPED_TEXT if pairs.are_swapped else SELF_TEXT
    change = _find_change(figures["face_l1"])
    pictures = [_draw("held_out.png", "Held-out frames of the person", text, columns, change)]
    if not material.are_people:
        return pictures
    crops = numpy.stack([target.crop for target in material.targets])
    columns = {"target": crops, "before": before.targets, "after": after.targets}
    by = "in distance to the base's swap"
    change = measure_face_l1(
        after.targets, before.targets, numpy.stack([target.face for target in material.targets])
    )
    if "judge_targets" in figures:
        change, by = -_find_change(figures["judge_targets"]), "in the judge's likeness"
    text = TARGETS_TEXT.format(by=by)
    if material.truths is not None:
        columns["true swap"] = material.truths.person
        text += TRUTH_TEXT
    pictures.append(_draw("targets.png", "Swaps onto other people", text, columns, change))
    return pictures


def _find_change(figure: Figure) -> NDArray[numpy.float64]:
    assert figure.scores is not None
    before, after = figure.scores
    return numpy.asarray(after - before)


def _draw(
    name: str,
    title: str,
    text: str,
    columns: dict[str, NDArray[Any]],
    change: NDArray[numpy.float64],
) -> Picture:
    rows = choose_rows(change)
    chosen = {key: column[rows] for key, column in columns.items()}
    return Picture(name, title, text, draw_grid(chosen, label_rows(change, rows)))
