"""Opens the face analyser that the user selected, for the command line, jobs and the page."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from facefusion_finetune.errors import UsageError

if TYPE_CHECKING:
    from facefusion_finetune.faces.protocol import FaceAnalyser
    from facefusion_finetune.runs.run import Run

Faces = Literal["facefusion", "insightface", "demo"]
FACES: tuple[Faces, ...] = get_args(Faces)

QUIET = {"log_level": "warn"}
"""Turns off FaceFusion's own progress bars, which would clutter logs and overlap ours."""


def open_analyser(
    faces: Faces | None = None,
    host: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    footage: Sequence[Path] = (),
    run: "Run | None" = None,
    on_stage: Callable[[str], None] = lambda text: None,
) -> "FaceAnalyser":
    """Open a face analyser.

    Args:
        faces: The analyser; None for the run's own, or FaceFusion if there is no run.
        host: FaceFusion's folder; if None, it is located.
        settings: FaceFusion's settings, by their names in its state; they override its defaults and
            `facefusion.ini`.
        footage: The footage to analyse; the demo supports only synthetic footage.
        run: The run to resume or evaluate.
        on_stage: Called before FaceFusion is started, which takes seconds.

    Raises:
        UsageError: FaceFusion does not accept a setting.
        HostError: There is no usable FaceFusion or insightface.
    """
    faces = faces or find_faces(run) or "facefusion"
    if faces == "demo":
        from facefusion_finetune.demo.analyser import DemoAnalyser
        from facefusion_finetune.demo.world import WORLD_FILE

        return DemoAnalyser([path for path in footage if (path / WORLD_FILE).is_file()])
    if faces == "insightface":
        from facefusion_finetune.faces.insightface import InsightFaceAnalyser

        return InsightFaceAnalyser()
    from facefusion_finetune.faces.facefusion import FaceFusionAnalyser
    from facefusion_finetune.host.locate import locate

    on_stage("Starting FaceFusion")
    return FaceFusionAnalyser(locate(host), {**QUIET, **(settings or {})})


def check_faces(name: str | None) -> Faces | None:
    """Validate the name of an analyser; the demo's is not allowed, as it needs synthetic footage.

    Raises:
        UsageError: There is no such analyser.
    """
    for known in FACES:
        if name == known != "demo":
            return known
    if name is None:
        return None
    raise UsageError(f"--faces {name}", "unknown analyser.", "Use facefusion or insightface.")


def find_faces(run: "Run | None") -> Faces | None:
    """The analyser a run was trained with; None if there is no run."""
    first = run.config.analyser.partition(" ")[0] if run else ""
    return next((known for known in FACES if known == first), None)
