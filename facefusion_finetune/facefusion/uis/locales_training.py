"""Texts of the sections that choose and follow a training."""

from typing import Any

TEXTS: dict[str, Any] = {
    "jobs": {
        "queued": "Waiting; {count} jobs before it",
        "starting": "Starting",
        "stopping": "Stopping",
        "steps": "{done} of {total}",
        "left": "{time} left",
        "done": "Done.",
        "stopped": "Stopped; nothing is lost.",
        "failed": "Failed.",
        "log": "Log",
        "progress": "Progress",
    },
    "model": {
        "base_dropdown": "BASE",
        "base_choice": "{name} ({licence})",
        "base_choice_download": "{name} ({licence}), not downloaded yet",
        "base_unknown": "This FaceFusion has no swapper called {name}.",
        "base": "By {vendor}, licence {licence}, {width} x {height} pixels.",
        "commercial": "A model tuned from it may be used commercially.",
        "not_commercial": "A model tuned from it inherits the licence: no commercial use.",
        "download": "FaceFusion downloads it when it is first needed.",
        "preset_dropdown": "PRESET",
        "crops": "Needs {count} crops that train.",
        "time_unknown": "Time on this machine: not known yet; measure it below, or just start.",
        "time_estimate": "Time on this machine: about {time}, by two steps on {day}.",
        "time_measured": "Time on this machine: {time} the last time, on {day}.",
        "gain": "On {people} drawn people whose true swap is known: likeness {judge}"
        " [{judge_low}, {judge_high}] in the judge's eyes, {share} nearer to the true swap;"
        " {passed} of {people} models were proven. On real people it is measured with each"
        " training.",
        "gain_unknown": "What it brings was not measured yet; each training measures it.",
        "gated": "It cannot be used on this base, which is driven by a picture: use the preset"
        " 'reconstruction', or a preset of your own that is not gated (layers = '{layers}').",
        "measure_time_button": "MEASURE THE TIME",
        "options_accordion": "ADVANCED OPTIONS",
        "target_files": "OTHER PEOPLE TO BE JUDGED ON",
        "other_files": "OTHER PEOPLE TO TRAIN WITH",
        "seed_number": "SEED",
        "precision_dropdown": "PRECISION",
        "commercial_checkbox": "REFUSE BASES THAT FORBID COMMERCIAL USE",
    },
    "training": {
        "start_button": "START",
        "stop_button": "STOP",
        "resume_button": "RESUME",
        "loss_plot": "LOSS",
        "score_plot": "HELD-OUT DISTANCE",
        "step": "step",
        "loss": "loss",
        "score": "grey levels",
        "curve": "curve",
        "base": "base",
        "tuned": "tuned",
        "grid": "Held-out frames before and after so many steps, and the truth",
        "grid_title": "Held-out pairs, the same at each step; after {step} steps",
        "grid_final": "Held-out pairs of the report, chosen by their change",
        "log_accordion": "LOG",
        "log_textbox": "LOG",
        "busy_given": "training of '{name}'",
        "busy_why": "one is waiting or running.",
        "busy_todo": "Wait for it, or stop it.",
        "judge": "Judged by {judge}.",
        "judge_option": "FACEFUSION_FINETUNE_JUDGE",
        "no_judge": "No independent judge: a model can be used, but not proven. Start FaceFusion"
        " with FACEFUSION_FINETUNE_JUDGE set to another face recogniser (ONNX).",
    },
}
