"""A report as an evaluation writes it, with invented figures."""

import json
from typing import Any

import numpy
from numpy.typing import NDArray

from facefusion_finetune.evaluation.figures import KINDS
from facefusion_finetune.evaluation.pictures import Picture, draw_grid
from facefusion_finetune.evaluation.report import Better, Change, Report, ReportedFigure

SENTENCES = {
    "better": "On footage it has never seen, the tuned model comes closer to the real person.",
    "worse": "On footage it has never seen, the tuned model is further from the real person.",
    "no difference": "On footage it has never seen, no difference from the base can be shown.",
    "not judged": "This model was not judged: there was nobody else to swap on first.",
}

SCALES = {"better": 1.0, "worse": -1.0, "no difference": 0.05, "not judged": 0.05}
"""Of the changes of the two outcomes."""

FIGURES: dict[str, tuple[float | None, float, float, float | None]] = {
    "judge_targets": (0.612, 0.031, 0.011, 0.874),
    "face_l1": (13.42, -1.62, 0.41, None),
    "own_targets": (0.704, 0.052, 0.009, 0.861),
    "recogniser_gap": (0.092, 0.021, 0.012, -0.013),
    "retrieval_margin": (0.431, 0.028, 0.014, None),
    "judge_held_out": (0.655, 0.024, 0.012, 0.874),
    "ssim": (0.812, 0.019, 0.006, None),
    "colour": (3.1, 0.08, 0.31, None),
    "pose": (1.92, 0.03, 0.09, None),
    "blink": (0.041, -0.001, 0.004, None),
    "mouth": (0.052, 0.002, 0.003, None),
    "gaze": (0.062, 0.004, 0.009, None),
    "others_identity": (0.688, -0.004, 0.006, None),
    "others_towards_person": (0.021, 0.004, 0.003, None),
    "others_drift": (0.0, 0.74, 0.12, None),
    "flicker": (0.72, 0.61, 0.22, 0.55),
    "seam": (1.31, -0.02, 0.05, 1.0),
    "needs_fix": (0.2, -0.067, 0.081, None),
    "memorisation": (None, -0.84, 0.33, None),
}
"""Before, change, half of its interval, and ceiling, of most of `KINDS`."""

OF_A_JUDGE = {"judge_targets", "recogniser_gap", "retrieval_margin", "judge_held_out"}

CHECKS = (
    ("judge_targets", KINDS["judge_targets"].title, "primary"),
    ("face_l1", KINDS["face_l1"].title, "primary"),
    ("pose", KINDS["pose"].title, "non-inferiority"),
    ("others_drift", KINDS["others_drift"].title, "non-inferiority"),
    ("judge", "An independent judge", "condition"),
)

OUTCOMES = {
    "better": ("won", "won", "held", "held", "held"),
    "worse": ("lost", "lost", "held", "open", "held"),
    "no difference": ("open", "open", "held", "open", "held"),
    "not judged": ("not measured", None, "held", "held", "failed"),
}


def build_report(verdict: str = "better", **changes: Any) -> Report:
    """A whole report of one verdict; what the test is about is given."""
    return parse(build_content(verdict, **changes))


def parse(content: dict[str, Any]) -> Report:
    """The report of that content."""
    return Report.model_validate_json(json.dumps(content))


def build_figure(
    before: float | None,
    change: tuple[float | None, float | None, float | None],
    better: Better = "less",
    **changes: Any,
) -> ReportedFigure:
    """A figure of a mean change and the ends of its interval."""
    mean, low, high = change
    values: dict[str, Any] = {
        "title": "a figure",
        "group": "g",
        "order": 0,
        "unit": "",
        "explanation": "",
        "after": None if before is None or mean is None else before + mean,
        "pairs": 60,
        "blocks": 12,
    }
    return ReportedFigure(
        before=before,
        change=Change(mean=mean, low=low, high=high),
        better=better,
        **values | changes,
    )


def build_content(verdict: str = "better", **changes: Any) -> dict[str, Any]:
    """What `report.json` holds for it."""
    has_judge = verdict != "not judged"
    keys = [key for key in FIGURES if has_judge or key not in OF_A_JUDGE]
    report: dict[str, Any] = {
        "model": "ada@1",
        "person": "ada",
        "version": 1,
        "preset": "balanced",
        "seed": 0,
        "analyser": "facefusion 3.4.1",
        "package_version": "0.1.0",
        "dataset_digest": "5e" * 32,
        "base": {
            "name": "inswapper_128",
            "vendor": "InsightFace",
            "licence": "Non-Commercial",
            "sha256": "e4" * 32,
        },
        "verdict": verdict,
        "sentence": SENTENCES[verdict],
        "proven": verdict == "better",
        "reasons": []
        if verdict == "better"
        else [
            "Neither main question was answered with yes. Film 3 more shots in other light.",
            *([] if has_judge else ["There is no judge. Give a second recogniser with --judge."]),
        ],
        "checks": [
            {
                "name": name,
                "title": title,
                "role": role,
                "outcome": outcome,
                "text": "The interval of the change decides.",
            }
            for (name, title, role), outcome in zip(CHECKS, OUTCOMES[verdict], strict=True)
            if outcome
        ],
        "notes": ["Two pairs of frames were near-duplicates and were left out."],
        "judge": {"name": "glint360k_r100", "sha256": "9c" * 32, "independent": True}
        if has_judge
        else None,
        "training_recogniser": {"name": "arcface_w600k_r50", "sha256": "4f" * 32},
        "material": {
            "train": 412,
            "train_shots": 9,
            "held_out": 60,
            "held_out_shots": 3,
            "left_out": 17,
            "targets": {"kind": "people", "frames": 48, "shots": 4},
            "other_vectors": 12,
        },
        "figures": {key: _build_figure(key, verdict) for key in keys},
        "missing": [{"title": KINDS["lpips"].title, "why": "Its weights are not at hand."}],
        "values": {
            key: build_values(key, verdict) for key in ("face_l1", "judge_targets") if key in keys
        },
        "pictures": [
            {"name": picture.name, "title": picture.title, "text": picture.text}
            for picture in build_pictures()
        ],
    }
    return report | changes


def build_values(key: str, verdict: str = "better", count: int = 60) -> dict[str, Any]:
    """Before and after of every pair of one figure."""
    before, change, half, _ = FIGURES[key]
    assert before is not None
    generator = numpy.random.default_rng(len(key))
    first = before + generator.normal(0, 4 * half, count)
    second = first + SCALES[verdict] * change + generator.normal(0, 3 * half, count)
    return {
        "ids": [f"shot_{number // 20} {number % 20 / 2:.1f} s" for number in range(count)],
        "before": first.round(4).tolist(),
        "after": second.round(4).tolist(),
    }


def build_pictures() -> list[Picture]:
    """Two grids of plain colours."""
    ramp = numpy.linspace(40, 210, 5 * 128 * 128).reshape(5, 128, 128, 1)
    columns: dict[str, NDArray[numpy.uint8] | NDArray[numpy.float32]] = {
        title: (ramp + numpy.array([shift, 0, -shift])).clip(0, 255).astype(numpy.uint8)
        for title, shift in (("somebody else", -30), ("before", 0), ("after", 15), ("truth", 30))
    }
    labels = ["best", "between", "median", "between", "worst"]
    text = "Rows run from the largest gain to the largest loss, chosen by rule."
    return [
        Picture("held_out.png", "Held-out frames of the person", text, draw_grid(columns, labels)),
        Picture("targets.png", "Swaps onto other people", text, draw_grid(columns)),
    ]


def _build_figure(key: str, verdict: str) -> dict[str, Any]:
    kind = KINDS[key]
    before, change, half, ceiling = FIGURES[key]
    if kind.group == "outcomes":
        change *= SCALES[verdict]
    return {
        "title": kind.title,
        "group": kind.group,
        "order": list(KINDS).index(key),
        "unit": kind.unit,
        "better": kind.better,
        "explanation": kind.explanation,
        "before": before,
        "after": None if before is None else round(before + change, 5),
        "change": {
            "mean": round(change, 5),
            "low": round(change - half, 5),
            "high": round(change + half, 5),
        },
        "ceiling": ceiling,
        "pairs": 60,
        "blocks": 12,
    }
