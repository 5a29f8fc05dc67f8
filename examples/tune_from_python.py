"""From footage to a tuned model and a swapped picture, as a Python program.

    python examples/tune_from_python.py jane clips/ target.png swapped.png

takes FaceFusion to find faces and its inswapper_128 as the base. Without a FaceFusion, on a drawn
person (`facefusion-finetune demo` draws the footage):

    python examples/tune_from_python.py ada facefusion-finetune-demo/footage/ada \
        facefusion-finetune-demo/footage/others/person-1/shot-001/frame-0001.png swapped.png \
        --others facefusion-finetune-demo/footage/others/* --faces demo --base demo
"""

import argparse
from pathlib import Path

import cv2

from facefusion_finetune import api


def main() -> None:
    """Record the consent, extract, train, say the verdict, swap one picture."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("footage", type=Path)
    parser.add_argument("target", type=Path, help="A picture of somebody else.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--others", type=Path, nargs="*", default=[])
    parser.add_argument("--faces", default="facefusion")
    parser.add_argument("--base", default="inswapper_128")
    parser.add_argument("--preset", default="fast")
    arguments = parser.parse_args()

    person = api.add_person(arguments.name, consent_note="I am in this footage and agree.")
    folders = [arguments.footage, *arguments.others]
    analyser = api.open_analyser(arguments.faces, footage=folders)
    found = api.extract(person, [arguments.footage], analyser)
    print(f"{found.kept} crops of {found.shots} shots")

    request = api.TrainRequest(
        base=arguments.base, preset=arguments.preset, targets=tuple(arguments.others)
    )
    run, report = api.train(person, analyser, request, api.Observer(on_stage=print))
    if report is not None:
        print(report.sentence)
    for version in api.list_models().versions:
        print(version.reference, version.verdict)

    swapper = api.open_swapper(run.reference, analyser)
    picture = cv2.imread(str(arguments.target))
    cv2.imwrite(str(arguments.output), swapper.swap(picture))


if __name__ == "__main__":
    main()
