"""Whether FaceFusion's memory grows over thousands of swapped frames, with and without the plug-in.

    python -m benchmarks.soak [--frames 2000] [--samples soak] [--draw docs/images/soak.png]

A copy of FaceFusion with small stand-in models swaps a video of so many different frames, each time
in one process: with a tuned model, with its own face swapper, and with a tuned model by one thread
while its store of faces is emptied every 25 frames. Its preview shows a quarter as many frames, of
another person every ten. Prints figures of the first and the last sample, and by how much memory
grows over the second half; draws the curves. Curves with complete samples are not measured again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from PIL import Image, ImageDraw, ImageFont

from facefusion_finetune.home import HOME_VARIABLE, use_home
from facefusion_finetune.host.link import link
from tests.support import host as support

EVERY = 25
"""Frames between two samples."""
PEOPLE = ("ada", "bea", "cleo", "dora", "eve")
TUNED, OWN = "finetuned_swapper", "face_swapper"

Sample = dict[str, Any]


@dataclass(frozen=True)
class Curve:
    """One process that swaps many frames."""

    name: str
    label: str
    processor: str
    colour: str
    forget: bool = False
    """Whether FaceFusion's store of faces is emptied at every sample, with one thread: how much
    the frames in work take with several of them is chance."""
    preview: bool = False
    """Previews of several people in turn instead of a video; a quarter as many frames."""


CURVES = (
    Curve("tuned", "tuned model, video", TUNED, "#1f6fb2"),
    Curve("own", "FaceFusion's own face swapper, video", OWN, "#8a8f98"),
    Curve(
        "forget",
        "tuned model, one thread, store of faces emptied",
        TUNED,
        "#2a9d57",
        True,
    ),
    Curve("preview", "previews, five people in turn", TUNED, "#d1761f", preview=True),
)


def create_video(path: Path, frames: int) -> Path:
    """Write a video of a face in which no frame equals another: FaceFusion knows frames again."""
    clip = support.find_footage("asl_a", "yes.mkv")
    command = ["ffmpeg", "-v", "error", "-stream_loop", "-1", "-i", str(clip), "-an"]
    command += ["-frames:v", str(frames), "-vf", "noise=alls=4:allf=t:all_seed=7"]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "18", "-pix_fmt", "yuv420p"]
    subprocess.run([*command, str(path)], check=True)
    return path


def create_host(folder: Path) -> Path:
    """A furnished FaceFusion, linked, with a model of each of the people."""
    checkout = support.find_checkout()
    assert checkout is not None
    host = support.furnish(checkout, folder / "facefusion")
    with use_home(folder / "home"):  # keeps the record of the user's own linked host
        link(host)
    for person in PEOPLE:
        support.register_model(host, person)
    return host


def measure(curve: Curve, host: Path, video: Path, frames: int, samples: Path) -> None:
    """Swap the frames in one process, which writes its samples to a file."""
    options = ["--every", EVERY, *(["--forget"] if curve.forget else [])]
    if curve.preview:
        options += ["--previews", frames // 4, "--people", *PEOPLE]
    model = ["--finetuned-swapper-model", PEOPLE[0]]
    threads = ["--execution-thread-count", "1"] if curve.forget else []
    if curve.processor == OWN:
        source = support.find_footage("headpose_m", "headpose_m.mp4")
        picture = support.extract_frame(source, 1, host.parent / "source.png")
        model = ["--face-swapper-model", "inswapper_128", "--source-paths", str(picture)]
    command = [
        *(sys.executable, "-m", "benchmarks.soak.inside", samples, curve.processor, *options, "--"),
        *("headless-run", "--processors", curve.processor, *model, *threads),
        *support.BENCH_OPTIONS,
        *("-t", video, "-o", host.parent / f"{curve.name}.mp4"),
        *("--jobs-path", host.parent / f"{curve.name}-jobs"),
    ]
    variables = {
        "PYTHONPATH": str(support.REPOSITORY),
        "OMP_NUM_THREADS": "1",  # as FaceFusion's own start sets it
        HOME_VARIABLE: str(host.parent / "home"),
    }
    subprocess.run(
        list(map(str, command)),
        cwd=host,
        env=support.create_environment(host, **variables),
        check=True,
    )


def read_samples(path: Path) -> list[Sample]:
    """The samples of a curve; none if there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def measure_growth(samples: list[Sample]) -> float:
    """KiB per frame by which memory grows over the second half, by least squares."""
    half = samples[len(samples) // 2 :]
    frames, sizes = ([sample[key] for sample in half] for key in ("frames", "mib"))
    return float(numpy.polyfit(frames, sizes, 1)[0]) * 1024


def describe(curve: Curve, samples: list[Sample]) -> str:
    """The curve in one line."""
    first, last = samples[0], samples[-1]
    changes = ", ".join(
        f"{name} {first[key]:.0f} -> {last[key]:.0f}" for name, key in FIGURES.items()
    )
    sessions = max(sample["sessions"] for sample in samples)
    return (
        f"{curve.label}: {changes}, at most {sessions} session(s),"
        f" {measure_growth(samples):+.1f} KiB a frame in the second half"
    )


FIGURES = {
    "frames": "frames",
    "MiB": "mib",
    "descriptors": "descriptors",
    "threads": "threads",
    "faces": "faces",
}
"""Keys of a sample, by what they are called."""

WIDTH, LEFT, RIGHT = 1000, 70, 20
TOP = 40
PANELS = (("resident memory in MiB", "mib", TOP, 300), ("open descriptors", "descriptors", 400, 90))
"""Title, key, top and height of each diagram."""
BOTTOM = 530
INK, FAINT = "#20242a", "#d9dde2"


def draw(drawn: dict[Curve, list[Sample]], path: Path) -> None:
    """Draw memory and descriptors against frames."""
    picture = Image.new("RGB", (WIDTH, BOTTOM + 26 * len(drawn)), "white")
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(15)
    total = max(samples[-1]["frames"] for samples in drawn.values())

    def place(sample: Sample, key: str, top: int, height: int, highest: float) -> tuple[float, ...]:
        x = LEFT + (WIDTH - LEFT - RIGHT) * sample["frames"] / total
        return x, top + height * (1 - sample[key] / highest)

    for title, key, top, height in PANELS:
        most = max(sample[key] for samples in drawn.values() for sample in samples)
        step = next(step for step in (5, 10, 50, 100, 200, 500, 1000) if 4 * step >= most)
        highest = step * (most // step + 1)
        pen.text((LEFT, top - 26), title, INK, font)
        for value in range(0, int(highest) + 1, step):
            y = top + height * (1 - value / highest)
            pen.line([(LEFT, y), (WIDTH - RIGHT, y)], FAINT)
            pen.text((LEFT - 10, y), str(value), INK, font, anchor="rm")
        for curve, samples in drawn.items():
            line = [place(sample, key, top, height, highest) for sample in samples]
            pen.line(line, curve.colour, 3)
    bottom = PANELS[-1][2] + PANELS[-1][3]
    for part in range(5):
        x = LEFT + (WIDTH - LEFT - RIGHT) * part / 4
        anchor = "rt" if part == 4 else "mt"
        unit = " frames" if part == 4 else ""
        pen.text((x, bottom + 8), f"{total * part // 4}{unit}", INK, font, anchor=anchor)
    for row, curve in enumerate(drawn):
        y = BOTTOM + 26 * row
        pen.line([(LEFT, y), (LEFT + 40, y)], curve.colour, 3)
        pen.text((LEFT + 52, y), curve.label, INK, font, anchor="lm")
    picture.quantize(64).save(path, optimize=True)


def main() -> None:
    """Measure what is not measured yet, print and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--samples", type=Path, default=Path("soak"), help="folder of the samples")
    parser.add_argument("--draw", type=Path, help="where the picture goes")
    arguments = parser.parse_args()
    reason = support.explain_missing()
    if reason:
        sys.exit(f"FaceFusion and the bench are needed: {reason}")
    folder: Path = arguments.samples.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    with tempfile.TemporaryDirectory() as name:
        host, video = create_host(Path(name)), create_video(Path(name) / "v.mp4", arguments.frames)
        for curve in CURVES:
            file = folder / f"{curve.name}.jsonl"
            wanted = arguments.frames // (4 if curve.preview else 1) // EVERY
            if len(read_samples(file)) < wanted:
                file.unlink(missing_ok=True)
                measure(curve, host, video, arguments.frames, file)
            drawn[curve] = read_samples(file)
            print(describe(curve, drawn[curve]), flush=True)
    if arguments.draw:
        draw(drawn, arguments.draw)


if __name__ == "__main__":
    main()
