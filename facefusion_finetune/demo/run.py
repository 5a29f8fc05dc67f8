"""The demo: the whole process, from footage to an active model, in a drawn world.

The demo implements none of the process: extraction, training, evaluation and registration are the
same functions that process real footage. Only the people are drawn.
"""

from dataclasses import dataclass
from pathlib import Path

from facefusion_finetune import home
from facefusion_finetune.dataset.extraction.extract import extract_footage
from facefusion_finetune.demo.analyser import SWAPPER, DemoAnalyser
from facefusion_finetune.demo.people import FIRST_UNSEEN_SEED
from facefusion_finetune.demo.truths import create_world
from facefusion_finetune.demo.world import write_footage
from facefusion_finetune.errors import UsageError
from facefusion_finetune.evaluation.report import Report
from facefusion_finetune.people.profile import add_person, create_consent
from facefusion_finetune.presets.preset import load_preset
from facefusion_finetune.registry import store
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.runs.run import Run
from facefusion_finetune.training.recipe import train_person
from facefusion_finetune.training.request import TrainRequest

NAME = "ada"
SHOTS = 16
FRAMES_PER_SHOT = 6
TARGETS = 4
TARGET_SHOTS = 2
TARGET_FRAMES = 4
CONSENT = "Drawn by the demo's own code: it shows no real person, so no consent is needed."


@dataclass(frozen=True)
class DemoResult:
    """The result of the demo."""

    run: Run
    report: Report
    model: Path
    """The active model."""
    pictures: list[Path]

    def describe(self) -> str:
        """The result as a sentence, and the paths."""
        known = self.report.figures["true_swap"]
        lines = [
            self.report.sentence,
            f"Distance to the true swap on other people: {known.before:.2f} with the base,"
            f" {known.after:.2f} with the tuned model (grey levels).",
            f"model:    {self.model}",
            f"report:   {self.run.report_path}",
        ]
        return "\n".join(lines + [f"picture:  {path}" for path in self.pictures])


def run_demo(output: Path, preset: str, seed: int, observer: Observer | None = None) -> DemoResult:
    """Draw a person and others, then run the whole process on them.

    Args:
        output: A new or empty folder for footage, home and model.
        preset: Name or path of a preset.
        seed: Seed of person, footage and run; the networks were never trained on the person.
        observer: Notified of the progress.

    Raises:
        UsageError: `output` is not empty, or the preset is not valid.
    """
    observer = observer or Observer()
    load_preset(preset)
    output = home.resolve_path(output)
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
        # The demo's person is not stored in the user's own home.
        analyser = DemoAnalyser([footage / NAME, *targets])
        person = add_person(NAME, create_consent(None, CONSENT))
        observer.on_stage("Extracting")
        extract_footage(person, [footage / NAME], analyser)
        world = create_world(targets, analyser, FIRST_UNSEEN_SEED + seed * 100)
        request = TrainRequest(base=SWAPPER, preset=preset, seed=seed)
        run, report = train_person(person, analyser, request, observer, world)
        assert report is not None, "one process trains"
        model = store.activate(person, run, output / "facefusion", force=not report.proven)
    pictures = sorted((run.previews_directory).glob("*.png"))
    return DemoResult(run, report, model, pictures)
