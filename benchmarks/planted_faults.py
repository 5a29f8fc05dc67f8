"""How many frames with planted faults an extraction drops, and how many good frames it keeps.

    python -m benchmarks.planted_faults [--seed 3] [--every 4] [--write docs/dataset.md]

Runs every person of the bench, with some frames of another one, through FaceFusion with the bench's
stand-in models. Twice: with people distinguished as in FaceFusion, and with everybody taken for one
person, so that the quality checks alone have to find the faults. The bench's occluder detects
nothing; the last column replaces it by one that detects the planted object.
"""

import argparse
import importlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from facefusion_finetune import home
from facefusion_finetune.dataset.extraction.extract import ExtractSettings, extract_footage
from facefusion_finetune.dataset.manifest import read_manifest
from facefusion_finetune.faces.facefusion import FaceFusionAnalyser
from facefusion_finetune.host.locate import read_host
from facefusion_finetune.people.profile import add_person, create_consent
from tests.support import host as support
from tests.support.planted_footage import FAULTS, GOOD, Tally, plant_footage, see_object, tally

STRANGERS = {
    "asl_a": "asl_c",
    "asl_b": "asl_c",
    "asl_c": "asl_b",
    "asl_d": "asl_c",
    "asl_e": "asl_d",
    "headpose_f": "asl_a",
    "headpose_m": "asl_a",
}
"""Whose frames are mixed in: a person the stand-in recogniser can distinguish."""
BEGIN, END = "<!-- table: python -m benchmarks.planted_faults -->", "<!-- end of table -->"
DISTANCES = {"distinguished": 0.1, "one person": 1.0}
"""FaceFusion's `reference_face_distance`. The stand-in's embeddings of two people have a cosine of
up to 0.84, those of one person 0.93 or more; 0.1 corresponds to a cosine of 0.8."""

Tallies = dict[str, Tally]


def measure(folder: Path, analyser: FaceFusionAnalyser, seed: int, every: int) -> list[Tallies]:
    """Tallies over all persons: distinguished, as one person, and as one with a seeing occluder."""
    state: Any = importlib.import_module("facefusion.state_manager")
    masker: Any = importlib.import_module("facefusion.face_masker")
    sums: list[Tallies] = [{}, {}, {}]
    blind = masker.forward_occlude_face
    for person, stranger in STRANGERS.items():
        planted = folder / person
        mine, theirs = (
            sorted(support.find_footage(name, "").iterdir()) for name in (person, stranger)
        )
        plant_footage(planted, mine, theirs, analyser, seed, every)
        # A picture of the person, as a user would give where the footage also shows others.
        good = sorted((planted / GOOD).rglob("*.png"))
        settings = ExtractSettings((good[len(good) // 2],))
        own = [path for path in planted.iterdir() if path.name != "another"]
        for place, (distance, paths, occlude) in enumerate(
            (
                (DISTANCES["distinguished"], [planted], blind),
                (DISTANCES["one person"], own, blind),
                (DISTANCES["one person"], own, see_object),
            )
        ):
            state.set_item("reference_face_distance", distance)
            masker.forward_occlude_face = occlude
            record = add_person(f"{person}-{place}", create_consent(None, "The bench."))
            extract_footage(record, paths, analyser, settings)
            _add(sums[place], tally(planted, read_manifest(record)))
        masker.forward_occlude_face = blind
        print(person, {kind: counted.kept for kind, counted in sums[0].items()}, file=sys.stderr)
    return sums


def format_table(sums: list[Tallies]) -> str:
    """The tallies as a Markdown table."""
    apart, alone, seen = sums
    lines = [
        "| planted | frames | dropped | found by the quality checks alone | the same, with a seeing"
        " occluder |",
        "|---|---|---|---|---|",
    ]
    for kind in (*FAULTS, "another"):
        counted = apart[kind]
        named = "-"
        named_seen = "-"
        if kind in FAULTS:
            named, named_seen = (f"{part[kind].caught:.0%}" for part in (alone, seen))
        dropped = 1 - counted.kept / counted.frames
        lines.append(f"| {kind} | {counted.frames} | {dropped:.0%} | {named} | {named_seen} |")
    kept = [f"{part[GOOD].kept / part[GOOD].frames:.0%} kept" for part in sums]
    lines.append(f"| nothing ({GOOD}) | {apart[GOOD].frames} | {kept[0]} | {kept[1]} | {kept[2]} |")
    return "\n".join(lines)


def _add(sums: Tallies, more: Tallies) -> None:
    for kind, counted in more.items():
        total = sums.setdefault(kind, Tally())
        for name in ("frames", "unseen", "kept", "named"):
            setattr(total, name, getattr(total, name) + getattr(counted, name))


def main() -> None:
    """Measure, print, and write the table if requested."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    reason, checkout = support.explain_missing(), support.find_checkout()
    if reason or checkout is None:
        sys.exit(f"FaceFusion and the bench are needed: {reason}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ[home.HOME_VARIABLE] = str(folder / "home")
        host = support.furnish(checkout, folder / "facefusion")
        options = support.BENCH_SETTINGS | {"log_level": "warn"}
        analyser = FaceFusionAnalyser(read_host(host, str(host)), options)
        table = format_table(measure(folder, analyser, arguments.seed, arguments.every))
    print(table)
    if arguments.write:
        text = arguments.write.read_text("utf-8")
        head, rest = text.split(BEGIN)
        tail = rest.split(END)[1]
        home.write_text(arguments.write, f"{head}{BEGIN}\n{table}\n{END}{tail}", 0o644)


if __name__ == "__main__":
    main()
