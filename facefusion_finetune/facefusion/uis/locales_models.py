"""Texts of the report, of the list of models and of their comparison."""

from typing import Any

TEXTS: dict[str, Any] = {
    "proof": {
        "version_dropdown": "VERSION",
        "none": "No model is finished yet. What a training proves is shown here.",
        "none_of_person": "No model of {name} is finished yet. What a training proves is shown"
        " here.",
        "reasons": "Why it is not proven",
        "notes": "To keep in mind",
        "figures": "Main figures, on held-out footage",
        "figure": "FIGURE",
        "before": "BASE",
        "after": "TUNED",
        "interval": "CHANGE (95 %)",
        "pictures_accordion": "PICTURES",
        "held_out_picture": "Held-out frames of the person: what went in, base, tuned model, truth",
        "targets_picture": "Swaps onto other people: target, base, tuned model",
        "report": "The whole report: {path}",
        "imported": "Imported on {day} (there: {origin}). It was trained and judged on another"
        " machine ({verdict}), which proves nothing here, and there is no report.",
        "no_report": "There is no report of {reference}. Make one: facefusion-finetune evaluate"
        " {reference}.",
        "damaged": "The report of {reference} cannot be read ({reason}). Make it again:"
        " facefusion-finetune evaluate {reference}.",
        "force_checkbox": "ACTIVATE ALTHOUGH UNPROVEN (FACEFUSION THEN SAYS SO)",
        "activate_button": "ACTIVATE",
        "activated": "{reference} is active. In the default tab, tick finetuned_swapper and choose"
        " {name}.",
        "activated_unproven": "{reference} is active, marked unproven. In the default tab, tick"
        " finetuned_swapper and choose {name}.",
        "unproven_given": "model {reference}",
        "unproven_why": "it is unproven: on held-out footage it was not shown to be better than its"
        " base.",
        "unproven_todo": "To use it all the same, marked unproven, tick ACTIVATE ALTHOUGH"
        " UNPROVEN.",
    },
    "models": {
        "none": "There is no model yet.",
        "model": "MODEL",
        "base": "BASE",
        "preset": "PRESET",
        "verdict": "VERDICT",
        "state": "STATE",
        "created": "CREATED",
        "proven": "proven",
        "unproven": "unproven",
        "active": "active",
        "imported": "imported",
        "model_dropdown": "MODEL",
        "activate_button": "ACTIVATE",
        "roll_back_button": "ROLL BACK",
        "deactivate_button": "DEACTIVATE",
        "delete_button": "DELETE",
        "confirm_button": "DELETE {reference}",
        "cancel_button": "CANCEL",
        "confirm": "Delete {reference} with its checkpoints, report and exports, and take it out of"
        " FaceFusion? This cannot be undone.",
        "deactivated": "{reference} is not active any more; the model is kept.",
        "not_active": "{reference} is not active.",
        "deleted": "{reference} is deleted ({count} files).",
        "at_work_given": "model {reference}",
        "at_work_why": "it is being trained or judged.",
        "at_work_todo": "Stop that first, under training.",
    },
    "export": {
        "accordion": "EXPORT",
        "standalone_checkbox": "STANDALONE: WITH ALL WEIGHTS, NEEDS NO BASE",
        "half_checkbox": "FP16: HALF THE SIZE, STANDALONE",
        "strength_slider": "STRENGTH OF A GATED MODEL (BELOW 1 IT IS UNPROVEN)",
        "export_button": "EXPORT",
        "exports": "Exports of this version, to download:",
        "delete_button": "DELETE THESE EXPORTS",
        "exported": "{reference}: {path} ({size} MB).",
        "needs_base": "It holds the tuned weights alone. The other machine needs {base}; without"
        " it, export standalone.",
    },
    "compare": {
        "accordion": "COMPARE",
        "left_dropdown": "LEFT",
        "right_dropdown": "RIGHT",
        "base": "the untuned base of the left one",
        "base_of": "base of {reference} ({base})",
        "frame_file": "FRAME: A PICTURE OR A VIDEO (ELSE FACEFUSION'S TARGET)",
        "frame_slider": "FRAME NUMBER",
        "from_target": "Compared on FaceFusion's target: {name}",
        "from_upload": "Compared on the uploaded file: {name}",
        "from_nothing": "Upload a picture or a video, or choose a target in the default tab.",
        "compare_button": "COMPARE",
        "slider": "left: {left} | right: {right}",
        "nothing_given": "comparison",
        "nothing_why": "there is no frame to compare on.",
        "nothing_todo": "Upload a picture or a video, or choose a target in the default tab.",
    },
}
