"""Words of the report."""

from facefusion_finetune.dataset.split import ADVISED_SHOTS, ENOUGH_SHOTS
from facefusion_finetune.evaluation.material import Material
from facefusion_finetune.host.locate import STAND_INS

SELF_GRADED = (
    "there is no second recogniser, so that likeness is graded by the one that drives the swap;"
    " give one with --judge FILE.onnx."
)

NO_OTHERS = (
    "The base is driven by a picture, and there are no pictures of other people. What the report"
    " usually measures, how well the person comes back after somebody else was swapped on, could"
    " not be measured: returning the frame as it is would be a perfect answer to what was."
)
STAND_IN_NETWORKS = (
    "FaceFusion's networks were stand-ins for tests. The figures show that everything runs;"
    " they say nothing of identity or quality."
)
STAND_IN_TARGETS = (
    "No footage of other people was given (--targets): the person was swapped onto the person's own"
    " held-out frames, on which the base had swapped somebody else."
)
FEW_SHOTS = (
    "All footage comes from {shots} shots. Fewer than {advised} leave it open how the model does in"
    " other light and surroundings."
)
ONE_SHOT = "Only one shot is held out, so that the intervals say nothing about other shots."
FEW_HELD_OUT = (
    "Only {shots} shots are held out, and so few can hardly show a gain, however large it looks:"
    " extract footage of more shots; {enough} are held out of 12 and more."
)
LEFT_OUT = (
    "{count} held-out crops were left out, because they were taken in one go with training crops or"
    " look nearly like them."
)

NOBODY_ELSE = "there is nobody else to swap in, or nothing to compare it with."
JUDGED = ("judge_targets", "recogniser_gap", "retrieval_margin", "judge_held_out")
"""Figures that need an independent judge."""

SWAPPED_TEXT = (
    "Somebody else was swapped onto a real frame of the person, then the person was swapped back:"
    " by the base (before) and by the tuned model (after). The truth is the real frame. Rows are"
    " chosen by how much the tuned model gains or loses."
)
SELF_TEXT = (
    "The person is swapped onto the person's own frames: by the base (before) and by the tuned"
    " model (after). The truth is the frame itself."
)
TARGETS_TEXT = (
    "The person is swapped onto frames of other people: by the base (before) and by the tuned model"
    " (after). Rows are chosen by how much the tuned model changes {by}."
)
TRUTH_TEXT = " In this drawn world the true swap is known."


def list_notes(material: Material, analyser: str) -> list[str]:
    """What a reader has to know of the material.

    Args:
        material: What was judged on.
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
