"""The line from footage to a tuned model as a Python program, on a drawn person.

Run it with an empty folder: python examples/tune_from_python.py FOLDER
With FaceFusion, take `FaceFusionAnalyser(locate())` as the analyser and name the base
"inswapper_128".
"""

import os
import sys
from pathlib import Path

from facefusion_finetune.dataset.extraction.extract import extract_footage
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.demo.people import FIRST_UNSEEN_SEED
from facefusion_finetune.demo.world import write_footage
from facefusion_finetune.people.profile import add_person, create_consent
from facefusion_finetune.training.recipe import train_person
from facefusion_finetune.training.request import TrainRequest


def main(folder: Path) -> None:
    """Draw footage, extract it, tune the demo's base, print the verdict."""
    os.environ["FACEFUSION_FINETUNE_HOME"] = str(folder / "home")
    footage = folder / "footage"
    write_footage(footage, FIRST_UNSEEN_SEED, shots=12, frames_per_shot=3, seed=1)
    analyser = DemoAnalyser([footage])

    person = add_person("ada", create_consent(None, "Drawn by a program: nobody has to agree."))
    result = extract_footage(person, [footage], analyser)
    print(f"{result.kept} crops of {result.shots} shots")

    run, report = train_person(person, analyser, TrainRequest(base="demo", preset="fast"))
    if report is not None:  # None but in the main process, where several train
        print(report.sentence)
    print(run.model_path)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
