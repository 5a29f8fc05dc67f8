"""A run as the page shows it while it trains: its curves and its pictures."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facefusion_finetune import home
from facefusion_finetune.damage import DamageError, parse_json, read_file
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

MOST_POINTS = 400
"""Of a curve; a page that draws every step of a long run stops answering."""


@dataclass(frozen=True)
class Curves:
    """What the plots show."""

    loss: "pandas.DataFrame"
    """Columns `step`, `loss` and `curve`, which is always the same."""
    score: "pandas.DataFrame"
    """Columns `step`, `score` and `curve`: the base's, and that of what is trained."""


def find_shown_run(name: str | None) -> Run | None:
    """The person's newest run that was trained here; None where there is none, or it is damaged."""
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
    """Whether a training of the person was begun and has no model yet; quick."""
    return any(not (folder / MODEL_FILE).exists() for folder in _list_folders(name))


def sign_shown_run(name: str | None) -> Any:
    """What changes whenever the curves or the picture of the newest run would look different.

    Asked every second, so that no run's settings are read for it.
    """
    folders = _list_folders(name)
    if not folders:
        return None
    newest = folders[-1]
    previews = sorted(path.name for path in (newest / PREVIEWS_FOLDER).glob("*.png"))
    return str(newest), fingerprint_file(newest / METRICS_FILE), previews


def _list_folders(name: str | None) -> list[Path]:
    """Of a person's runs, oldest first."""
    return (
        [path.parent for path in find_records(person_directory(name) / home.RUNS_FOLDER)]
        if name
        else []
    )


def find_grid(run: Run | None) -> Path | None:
    """The newest picture of the held-out pairs: that of a step, in the end the report's."""
    if run is None:
        return None
    folder = run.previews_directory
    final = folder / "held_out.png"
    return final if final.is_file() else max(folder.glob("step_*.png"), default=None)


def create_curves(run: Run | None) -> Curves:
    """The curves of a run so far; empty ones where nothing is written yet."""
    # Half of what the tab would add to FaceFusion's start.
    import pandas

    steps = _read_steps(run.metrics_path) if run else []
    rows = steps[:: max(1, len(steps) // MOST_POINTS)]
    scores = read_scores(run) if run else []
    if scores:
        # Before any step, what is trained is the base.
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
        lines = read_file(path, bytes.splitlines)
    except (FileNotFoundError, DamageError):
        return []
    found = []
    for line in lines:
        try:
            values = parse_json(line)
            found.append((int(values["step"]), float(values["loss"])))
        except (ValueError, KeyError, TypeError, OverflowError):
            # The last line may be half-written, and some lines tell of something else.
            continue
    return found
