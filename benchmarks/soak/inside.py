"""The part of `benchmarks.soak` that runs inside FaceFusion: one process for each curve.

    python -m benchmarks.soak.inside SAMPLES PROCESSOR [options] -- [arguments of facefusion.py]

Watches a processor's `process_frame`; all the rest FaceFusion does itself, as with its command or
as in its page's preview.
"""

import argparse
import importlib
import json
import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

TURN = 10
"""Previews until another person is selected."""


class Watch:
    """Counts the frames of a processor, and measures this process every so many of them."""

    def __init__(self, module: ModuleType, samples: Path, every: int, forget: bool) -> None:
        self.name = module.__name__
        self.samples = samples
        self.every = every
        self.forget = forget
        self.frames = 0
        self.lock = threading.Lock()
        self.started = time.monotonic()
        process_frame = module.process_frame

        def process_and_count(inputs: Any) -> Any:
            outputs = process_frame(inputs)
            with self.lock:
                self.frames += 1
                if self.frames % self.every == 0:
                    self.measure()
            return outputs

        module.process_frame = process_and_count  # type: ignore[attr-defined]

    def measure(self) -> None:
        """Append a line of figures to the samples."""
        from facefusion import face_store, inference_manager

        if self.forget:
            face_store.clear_faces()
        process = psutil.Process()
        pools = inference_manager.INFERENCE_POOL_SET.values()
        figures = {
            "frames": self.frames,
            "seconds": round(time.monotonic() - self.started, 1),
            "mib": round(process.memory_info().rss / 2**20, 1),
            "descriptors": process.num_fds(),
            "threads": process.num_threads(),
            "faces": len(face_store.FACE_STORE),
            "sessions": len({key for pool in pools for key in pool if self.name in key}),
        }
        with self.samples.open("a") as file:
            file.write(json.dumps(figures) + "\n")


def make_previews(count: int, people: list[str]) -> None:
    """Let FaceFusion's page make previews of one frame after the other, in turn of each person.

    Args:
        count: How many.
        people: Who is selected in turn.
    """
    from facefusion import core, state_manager

    def route(_: Any) -> None:
        preview = importlib.import_module("facefusion.uis.components.preview")
        for frame in range(count):
            person = people[frame // TURN % len(people)]
            # As if chosen in the dropdown: the page has a state of its own.
            state_manager.STATE_SET["ui"]["finetuned_swapper_model"] = person
            preview.update_preview_image("default", "1024x1024", frame)

    core.route = route
    core.cli()


def main() -> None:
    """Watch a processor until FaceFusion is done."""
    parser = argparse.ArgumentParser()
    parser.add_argument("samples", type=Path)
    parser.add_argument("processor")
    parser.add_argument("--every", type=int, default=25)
    parser.add_argument("--forget", action="store_true")
    parser.add_argument("--previews", type=int, default=0)
    parser.add_argument("--people", nargs="*", default=[])
    place = sys.argv.index("--")
    arguments = parser.parse_args(sys.argv[1:place])
    sys.argv = ["facefusion.py", *sys.argv[place + 1 :]]
    module = importlib.import_module(f"facefusion.processors.modules.{arguments.processor}.core")
    Watch(module, arguments.samples, arguments.every, arguments.forget)
    if arguments.previews:
        make_previews(arguments.previews, arguments.people)
    else:
        from facefusion import core

        core.cli()


if __name__ == "__main__":
    main()
