"""`report.json` and `report.html`: the same figures for programs and for people."""

import base64
import json
from dataclasses import dataclass
from typing import Any

import jinja2
import numpy
from numpy.typing import NDArray

from facefusion_finetune import __version__, home
from facefusion_finetune.evaluation.metrics import measure_face_l1
from facefusion_finetune.evaluation.pictures import (
    choose_rows,
    draw_grid,
    encode_png,
    save_picture,
)
from facefusion_finetune.evaluation.protocol import (
    HeldOutPairs,
    KnownSwap,
    Swap,
    compare_on_recogniser,
    compare_on_truth,
    decide,
)
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.training.run import Run

SELF_GRADED = (
    "There is no second recogniser, so that the likeness below is graded by the one that drives"
    " the swap. Nothing is proven by it; the model stays unproven."
)

NO_OTHERS = (
    "The base is driven by a picture, and there are no pictures of other people. What the report"
    " usually measures, how well the person comes back after somebody else was swapped on, could"
    " not be measured. The figures below swap the person onto the person's own held-out frames:"
    " returning the frame as it is would be a perfect answer, so that they prove nothing."
)
NOT_JUDGED = ("not judged", "This model was not judged: there was nobody else to swap on first.")

SWAPPED_TEXT = (
    "Somebody else was swapped onto a real frame of the person, then the person was swapped back:"
    " by the base (before) and by the tuned model (after). The truth is the real frame. Rows run"
    " from the largest gain to the largest loss."
)
SELF_TEXT = (
    "The person is swapped onto the person's own frames: by the base (before) and by the tuned"
    " model (after). The truth is the frame itself. Rows run from the largest gain to the largest"
    " loss."
)


@dataclass(frozen=True)
class _Picture:
    title: str
    text: str
    name: str
    pixels: NDArray[numpy.uint8]


def write_report(
    run: Run,
    pairs: HeldOutPairs,
    before: Swap,
    after: Swap,
    analyser: FaceAnalyser,
    known: list[KnownSwap] | None = None,
) -> dict[str, Any]:
    """Score base and tuned model on held-out pairs; write the report and its pictures.

    Args:
        run: Where it goes.
        pairs: Held-out pairs.
        before: The base, driven by the person's vector or picture.
        after: The tuned model, driven by the same.
        analyser: Whose recognisers judge.
        known: Targets with their true swaps, where the world can draw them.

    Returns:
        What `report.json` holds.
    """
    first, second = before(pairs.inputs), after(pairs.inputs)
    l1 = compare_on_truth(first, second, pairs.truths, pairs.faces, pairs.blocks)
    own = compare_on_recogniser(pairs, first, second, analyser, analyser.get_recogniser())
    judge_options = analyser.get_judge()
    judge = (
        compare_on_recogniser(pairs, first, second, analyser, judge_options)
        if judge_options
        else None
    )
    verdict, sentence = decide(l1, judge) if pairs.are_swapped else NOT_JUDGED
    notes = [] if judge else [SELF_GRADED]
    if not pairs.are_swapped:
        notes.append(NO_OTHERS)
    config = run.config
    rows = choose_rows(numpy.array(l1["pairs"]))
    shown: dict[str, NDArray[numpy.uint8] | NDArray[numpy.float32]] = {
        pairs.input_title: pairs.inputs[rows],
        "before": first[rows],
        "after": second[rows],
        "truth": pairs.truths[rows],
    }
    pictures = [
        _Picture(
            "Held-out frames of the person",
            SWAPPED_TEXT if pairs.are_swapped else SELF_TEXT,
            "held_out.png",
            draw_grid(shown),
        )
    ]
    report: dict[str, Any] = {
        "model": run.reference,
        "person": config.person,
        "version": config.version,
        "verdict": verdict,
        "sentence": sentence,
        "proven": verdict == "better" and judge is not None,
        "notes": notes,
        "preset": config.preset_name,
        "seed": config.seed,
        "analyser": config.analyser,
        "package_version": __version__,
        "dataset_digest": config.dataset_digest,
        "base": {
            "name": config.base_name,
            "vendor": config.base_vendor,
            "licence": config.base_licence,
            "sha256": config.base_sha256,
        },
        "crops": {
            "train": len(config.train),
            "held_out": len(pairs.crops),
            "held_out_shots": len({crop.record.shot for crop in pairs.crops}),
        },
        "face_l1": l1,
        "training_recogniser": own,
        "judge": judge,
    }
    if known:
        report["true_swap"], picture = _compare_known(known, before, after)
        pictures.append(picture)
    _write(run, report, pictures)
    return report


def _compare_known(
    known: list[KnownSwap], before: Swap, after: Swap
) -> tuple[dict[str, Any], _Picture]:
    crops = numpy.stack([swap.crop for swap in known])
    truths = numpy.stack([swap.truth for swap in known])
    faces = numpy.stack([swap.face for swap in known])
    first, second = before(crops), after(crops)
    result = compare_on_truth(first, second, truths, faces, [swap.block for swap in known])
    copied = measure_face_l1(crops.astype(numpy.float32), truths.astype(numpy.float32), faces)
    result["copy_of_target"] = round(float(copied.mean()), 4)
    rows = choose_rows(numpy.array(result["pairs"]))
    grid = draw_grid(
        {
            "target": crops[rows],
            "before": first[rows],
            "after": second[rows],
            "true swap": truths[rows],
        }
    )
    text = (
        "The person is swapped onto other people the model has never seen. In this drawn world"
        " the true swap is known. Rows run from the largest gain to the largest loss."
    )
    return result, _Picture("Swaps onto other people", text, "true_swaps.png", grid)


def _write(run: Run, report: dict[str, Any], pictures: list[_Picture]) -> None:
    folder = home.create_private_directory(run.directory / "previews")
    for picture in pictures:
        save_picture(folder / picture.name, picture.pixels)
    home.write_text(
        run.directory / "report.json", json.dumps(report, indent=2, sort_keys=True) + "\n"
    )
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("facefusion_finetune.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    page = environment.get_template("report.html.j2").render(
        report=report,
        rows=_table(report),
        pictures=[
            {
                "title": picture.title,
                "text": picture.text,
                "data": base64.b64encode(encode_png(picture.pixels)).decode("ascii"),
            }
            for picture in pictures
        ],
    )
    home.write_text(run.report_path, page)


def _table(report: dict[str, Any]) -> list[dict[str, str]]:
    entries = [("Distance to the real frame, grey levels (less is better)", report["face_l1"], 2)]
    if report["judge"]:
        title = f"Likeness by the independent judge, {report['judge']['recogniser']}"
        entries.append((title, report["judge"], 3))
    own = report["training_recogniser"]
    entries.append((f"Likeness by the training recogniser, {own['recogniser']}", own, 3))
    if "true_swap" in report:
        entries.append(
            ("Distance to the true swap on other people, grey levels", report["true_swap"], 2)
        )
    return [
        {
            "title": title,
            "before": f"{values['before']:.{digits}f}",
            "after": f"{values['after']:.{digits}f}",
            "change": f"{values['change']['mean']:+.{digits}f}",
            "interval": f"{values['change']['low']:+.{digits}f} to"
            f" {values['change']['high']:+.{digits}f}",
            "ceiling": f"{values['ceiling']:.{digits}f}" if values.get("ceiling") else "",
        }
        for title, values, digits in entries
    ]
