"""Where an extraction spends its time, and how much memory it uses.

    python -m benchmarks.extraction [--frames 5000] [--true-width]

Extracts one long video, made of the bench's clips, through FaceFusion with the bench's stand-in
models, and measures how much of the time the networks run, and how much the process grows. The
stand-ins are much lighter than the published networks; `--true-width` replaces the stand-in for
the recogniser by a network of the published size (random weights); the others stay light.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import psutil

from facefusion_finetune import home
from tests.support import host as support
from tests.support.families.recogniser import build_recogniser

PERSONS = ("asl_a", "asl_b", "asl_c")
FRAMES_PER_SECOND = 6.0
SETTLED = 250
"""Frames after which all networks are loaded and all buffers allocated."""
TARGET_SHARE = 0.85
TARGET_GROWTH = 200.0
"""MB."""


@dataclass
class Profile:
    """Network runs, as (start, end) in seconds."""

    runs: list[tuple[float, float]] = field(default_factory=list)

    def install(self) -> None:
        """Time every run of every session from now on."""
        run = onnxruntime.InferenceSession.run

        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return run(*arguments, **options)
            finally:
                self.runs.append((start, time.perf_counter()))

        onnxruntime.InferenceSession.run = timed

    def measure(self, start: float, end: float) -> tuple[float, float]:
        """Total seconds of all network runs, and seconds during which at least one runs."""
        inside = sorted(run for run in self.runs if run[0] >= start and run[1] <= end)
        union, latest = 0.0, start
        for begin, finish in inside:
            union += max(0.0, finish - max(begin, latest))
            latest = max(latest, finish)
        return sum(finish - begin for begin, finish in inside), union


def make_video(path: Path, frames: int) -> Path:
    """Concatenate the bench's clips, looped until there are enough frames."""
    clips = [
        clip for person in PERSONS for clip in sorted(support.find_footage(person, "").iterdir())
    ]
    names = path.with_suffix(".txt")
    names.write_text("".join(f"file '{clip}'\n" for clip in clips))
    once = path.with_name("once.mp4")
    encode = ["-r", "30", "-c:v", "libx264", "-crf", "16", "-g", "30"]
    base = ["ffmpeg", "-v", "error", "-y"]
    subprocess.run(
        [*base, "-f", "concat", "-safe", "0", "-i", str(names), *encode, str(once)], check=True
    )
    seconds = str(frames / FRAMES_PER_SECOND)
    loop = ["-stream_loop", "-1", "-i", str(once), "-t", seconds, "-c", "copy", str(path)]
    subprocess.run([*base, *loop], check=True)
    return path


def replace_recogniser(host: Path) -> None:
    """Replace the stand-in by a recogniser of the published size."""
    path = host / ".assets" / "models" / "arcface_w600k_r50.onnx"
    model = build_recogniser(width=1.0)
    (wanted,) = (value.name for value in onnx.load(path).graph.input)
    (had,) = (value.name for value in model.graph.input)
    model.graph.input[0].name = wanted
    for node in model.graph.node:
        node.input[:] = [wanted if name == had else name for name in node.input]
    onnx.save(model, path)
    support.write_hash(path)


def extract(host: Path, video: Path, frames: int) -> dict[str, float]:
    """Extract, in this process."""
    profile = Profile()
    profile.install()
    from facefusion_finetune.dataset.extraction.extract import (
        ExtractSettings,
        Progress,
        extract_footage,
    )
    from facefusion_finetune.faces.facefusion import FaceFusionAnalyser
    from facefusion_finetune.host.locate import read_host
    from facefusion_finetune.people.profile import add_person, create_consent

    # The stand-in recogniser cannot tell people apart; here everybody counts as one person.
    settings = support.BENCH_SETTINGS | {"log_level": "warn", "reference_face_distance": 1.0}
    analyser = FaceFusionAnalyser(read_host(host, str(host)), settings)
    person = add_person("bench", create_consent(None, "Footage of a bench."))
    process = psutil.Process()
    sizes: list[int] = []

    def on_frame(progress: Progress) -> None:
        sizes.append(process.memory_info().rss)

    start = time.perf_counter()
    result = extract_footage(
        person,
        [video],
        analyser,
        ExtractSettings(frames_per_second=FRAMES_PER_SECOND, most_frames=2 * frames),
        on_frame,
    )
    end = time.perf_counter()
    sizes.append(process.memory_info().rss)
    summed, union = profile.measure(start, end)
    settled = sizes[min(SETTLED, len(sizes) - 1)]
    return {
        "frames": result.frames,
        "kept": result.kept,
        "seconds": end - start,
        "milliseconds_per_frame": (end - start) / result.frames * 1000,
        "networks_per_frame": summed / result.frames * 1000,
        "share_in_networks": union / (end - start),
        "settled_mb": settled / 1e6,
        "growth_mb": (max(sizes[SETTLED:], default=settled) - settled) / 1e6,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=int, default=5000)
    parser.add_argument("--true-width", action="store_true")
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.inside:
        host, video = map(Path, arguments.inside)
        print(json.dumps(extract(host, video, arguments.frames)))
        return
    reason, checkout = support.explain_missing(), support.find_checkout()
    if reason or checkout is None:
        sys.exit(f"FaceFusion and the bench are needed: {reason}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        host = support.furnish(checkout, folder / "facefusion")
        if arguments.true_width:
            replace_recogniser(host)
        video = make_video(folder / "long.mp4", arguments.frames)
        command = [sys.executable, "-m", "benchmarks.extraction"]
        command += ["--frames", str(arguments.frames), "--inside", str(host), str(video)]
        # FaceFusion runs in its own process, so that the memory measured is the extraction's.
        environment = os.environ | {home.HOME_VARIABLE: str(folder / "home")}
        process = subprocess.run(command, check=True, capture_output=True, env=environment)
        figures = json.loads(process.stdout.splitlines()[-1])
    print(
        f"{figures['frames']:.0f} frames in {figures['seconds']:.0f} s,"
        f" {figures['milliseconds_per_frame']:.0f} ms per frame, of which networks ran for"
        f" {figures['networks_per_frame']:.0f} ms; {figures['kept']:.0f} crops kept"
    )
    print(
        f"share of the time in which networks run: {figures['share_in_networks']:.2f}"
        f" (target: at least {TARGET_SHARE})"
    )
    print(
        f"memory: {figures['settled_mb']:.0f} MB after {SETTLED} frames, at most"
        f" {figures['growth_mb']:.0f} MB more until the end (at most {TARGET_GROWTH:.0f} is wanted)"
    )


if __name__ == "__main__":
    main()
