"""Which analyser finds the faces, from what the user said: one function for every door."""

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
"""FaceFusion's own progress bars have no place in a log, and would be drawn over ours."""


def open_analyser(
    faces: Faces | None = None,
    host: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    footage: Sequence[Path] = (),
    run: "Run | None" = None,
    on_stage: Callable[[str], None] = lambda text: None,
) -> "FaceAnalyser":
    """Open whoever finds faces.

    Args:
        faces: Which one; None for the run's own, or FaceFusion where there is no run.
        host: FaceFusion's folder; otherwise it is looked for.
        settings: Of FaceFusion, by their name in its state; they override its defaults and
            `facefusion.ini`.
        footage: What will be looked at; the demo knows the drawn part of it and nothing else.
        run: The one that is resumed or judged.
        on_stage: Told before FaceFusion is started, which takes seconds.

    Raises:
        UsageError: FaceFusion does not accept a setting.
        HostError: There is no FaceFusion, or no insightface, that can be used.
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
    """The analyser a user names, the demo's excepted: it knows no footage but its own.

    Raises:
        UsageError: There is no analyser of that name.
    """
    for known in FACES:
        if name == known != "demo":
            return known
    if name is None:
        return None
    raise UsageError(
        f"--faces {name}", "there is no such analyser.", "Use facefusion or insightface."
    )


def find_faces(run: "Run | None") -> Faces | None:
    """The analyser a run was trained with; None where there is no run."""
    first = run.config.analyser.partition(" ")[0] if run else ""
    return next((known for known in FACES if known == first), None)
