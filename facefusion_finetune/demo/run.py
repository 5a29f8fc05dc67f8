"""The demo: the real job, from footage to an active model, in a drawn world.

Nothing in here does the job itself: extraction, training, judgement and registration are the very
functions that real footage goes through. Only the people are drawn.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from facefusion_finetune import home
from facefusion_finetune.dataset.extract import extract_footage
from facefusion_finetune.dataset.sources import read_image
from facefusion_finetune.demo.people import FIRST_UNSEEN_SEED, draw_person
from facefusion_finetune.demo.world import render_truth, write_footage
from facefusion_finetune.errors import UsageError
from facefusion_finetune.evaluation.protocol import KnownSwap
from facefusion_finetune.faces.demo import SWAPPER, DemoAnalyser
from facefusion_finetune.people.profile import add_person, create_consent
from facefusion_finetune.registry import store
from facefusion_finetune.training.presets import load_preset
from facefusion_finetune.training.recipe import Observer, train_person
from facefusion_finetune.training.run import Run

NAME = "ada"
SHOTS = 12
FRAMES_PER_SHOT = 8
TARGETS = 4
TARGET_SHOTS = 2
TARGET_FRAMES = 4
CONSENT = "Drawn by the demo's own code: no living person is shown, so nobody has to agree."


@dataclass(frozen=True)
class DemoResult:
    """What the demo left behind."""

    run: Run
    report: dict[str, Any]
    model: Path
    """The active model."""
    pictures: list[Path]

    def describe(self) -> str:
        """The verdict in words, and the paths."""
        known = self.report["true_swap"]
        lines = [
            self.report["sentence"],
            f"Distance to the true swap on other people: {known['copy_of_target']:.2f} without a"
            f" swap, {known['before']:.2f} with the base, {known['after']:.2f} with the tuned"
            " model (grey levels).",
            f"model:    {self.model}",
            f"report:   {self.run.report_path}",
        ]
        return "\n".join(lines + [f"picture:  {path}" for path in self.pictures])


def run_demo(output: Path, preset: str, seed: int, observer: Observer | None = None) -> DemoResult:
    """Draw a person and others, then do the whole job on them.

    Args:
        output: New or empty folder; footage, home and model go below it.
        preset: Name or path of a preset.
        seed: Draws person, footage and run; the person is never one the networks were trained on.
        observer: Told about the progress.

    Raises:
        UsageError: `output` is not empty, or the preset is not valid.
    """
    observer = observer or Observer()
    load_preset(preset)
    output = output.expanduser().resolve()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(
            f"--output {output}",
            "it exists and is not an empty folder.",
            "Choose a new folder; nothing was changed.",
        )
    observer.on_stage("Drawing footage")
    footage = output / "footage"
    write_footage(footage / NAME, FIRST_UNSEEN_SEED + seed * 100, SHOTS, FRAMES_PER_SHOT, seed)
    targets = [footage / "others" / f"person-{number + 1}" for number in range(TARGETS)]
    for number, folder in enumerate(targets, 1):
        target_seed = FIRST_UNSEEN_SEED + seed * 100 + number
        write_footage(folder, target_seed, TARGET_SHOTS, TARGET_FRAMES, target_seed)
    with home.use_home(output / "home"):
        # The demo's person stays out of the user's own home.
        analyser = DemoAnalyser([footage / NAME, *targets])
        person = add_person(NAME, create_consent(None, CONSENT))
        observer.on_stage("Extracting")
        extract_footage(person, [footage / NAME], analyser)
        known = list_known_swaps(targets, analyser, FIRST_UNSEEN_SEED + seed * 100)
        run, report = train_person(person, analyser, SWAPPER, preset, seed, known, observer)
        model = store.activate(person, run, output / "facefusion", force=not report["proven"])
    pictures = sorted((run.directory / "previews").glob("*.png"))
    return DemoResult(run, report, model, pictures)


def list_known_swaps(
    folders: list[Path], analyser: DemoAnalyser, person_seed: int
) -> list[KnownSwap]:
    """Every frame of other people's footage as a target whose true swap is drawn.

    Args:
        folders: Footage of other people.
        analyser: That knows these folders.
        person_seed: Whose face belongs onto them.
    """
    options = analyser.get_swapper(SWAPPER)
    person = draw_person(person_seed)
    known = []
    for path in sorted(path for folder in folders for path in folder.rglob("*.png")):
        frame = read_image(path)
        landmark_5 = analyser.detect_faces(frame)[0].landmark_5
        truth = render_truth(analyser.find_face(frame), person)
        crop, _ = analyser.warp_face(frame, landmark_5, options.template, options.size)
        true_crop, _ = analyser.warp_face(truth, landmark_5, options.template, options.size)
        face = analyser.create_masks(crop).face.astype(numpy.float32)
        known.append(KnownSwap(crop, true_crop, face, str(path.parent)))
    return known
