"""The curves and pictures of a run during training."""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefusion_finetune import home
from facefusion_finetune.damage import DamageError, parse_json, read_lines
from facefusion_finetune.errors import FinetuneError
from facefusion_finetune.evaluation.watching import read_scores
from facefusion_finetune.facefusion.uis.page import translate
from facefusion_finetune.facefusion.uis.people_text import fingerprint_file
from facefusion_finetune.people.profile import load_person, person_directory
from facefusion_finetune.runs.run import (
    METRICS_FILE,
    MODEL_FILE,
    PREVIEWS_FOLDER,
    DamagedRun,
    Run,
    find_records,
    scan_runs,
)

if TYPE_CHECKING:
    import pandas

MAX_POINTS = 400
"""Maximum points of a curve; with every step of a long run, the page would stop responding."""


@dataclass(frozen=True)
class Curves:
    """Data of the plots."""

    loss: "pandas.DataFrame"
    """Columns `step`, `loss` and `curve`, which is constant."""
    score: "pandas.DataFrame"
    """Columns `step`, `score` and `curve`: the base's and the tuned model's."""


def find_shown_run(name: str | None) -> Run | None:
    """The person's newest run trained here; None if there is none, or it is damaged."""
    if not name:
        return None
    try:
        runs = scan_runs(load_person(name))
    except FinetuneError:
        return None
    for run in reversed(runs):
        if isinstance(run, DamagedRun):
            return None
        if not run.is_imported:
            return run
    return None


def can_resume(name: str | None) -> bool:
    """Whether the person has an unfinished training; fast enough for polling."""
    return any(not (folder / MODEL_FILE).exists() for folder in _list_folders(name))


def fingerprint_run(name: str | None) -> Any:
    """A value that changes whenever the curves or the picture of the newest run do.

    It is polled every second, so no run's settings are read.
    """
    folders = _list_folders(name)
    if not folders:
        return None
    newest = folders[-1]
    previews = sorted(path.name for path in (newest / PREVIEWS_FOLDER).glob("*.png"))
    return str(newest), fingerprint_file(newest / METRICS_FILE), previews


def _list_folders(name: str | None) -> list[Path]:
    """Folders of a person's runs, oldest first."""
    return (
        [path.parent for path in find_records(person_directory(name) / home.RUNS_FOLDER)]
        if name
        else []
    )


def find_grid(run: Run | None) -> Path | None:
    """The newest picture of held-out pairs: that of the report, or of the last preview."""
    if run is None:
        return None
    folder = run.previews_directory
    final = folder / "held_out.png"
    return final if final.is_file() else max(folder.glob("step_*.png"), default=None)


def create_curves(run: Run | None) -> Curves:
    """The curves of a run so far; empty if nothing is written yet."""
    # Imported late: half of the time the tab would add to FaceFusion's start.
    import pandas

    steps = _read_steps(run.metrics_path) if run else []
    rows = steps[:: max(1, len(steps) // MAX_POINTS)]
    scores = read_scores(run) if run else []
    if scores:
        # Before the first step, the tuned model equals the base.
        scores.insert(0, replace(scores[0], step=0, tuned=scores[0].base))
    return Curves(
        loss=pandas.DataFrame(
            [(step, loss, translate("training.loss")) for step, loss in rows],
            columns=["step", "loss", "curve"],
        ),
        score=pandas.DataFrame(
            [
                point
                for score in scores
                for point in (
                    (score.step, score.base, translate("training.base")),
                    (score.step, score.tuned, translate("training.tuned")),
                )
            ],
            columns=["step", "score", "curve"],
        ),
    )


def _read_steps(path: Path) -> list[tuple[int, float]]:
    try:
        lines = read_lines(path)
    except (FileNotFoundError, DamageError):
        return []
    found = []
    for line in lines:
        try:
            values = parse_json(line)
            step, loss = int(values["step"]), float(values["loss"])
        except (ValueError, KeyError, TypeError, OverflowError):
            # The last line may be incomplete, and some lines have no loss.
            continue
        if math.isfinite(loss):
            found.append((step, loss))
    return found
