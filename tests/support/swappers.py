"""Stand-ins of all FaceFusion's swappers in a furnished host, and swaps by them in this process.

It also runs as a script, over a FaceFusion of another version: see `main`.
"""

import base64
import importlib
import json
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy
import onnx
from numpy.typing import NDArray

from facefusion_finetune.faces.facefusion import FaceFusionAnalyser
from facefusion_finetune.faces.protocol import VisionFrame
from facefusion_finetune.host.locate import read_host
from facefusion_finetune.host.models import card_path, hash_path
from facefusion_finetune.swappers.catalogue import SwapperOptions
from tests.support import host as support
from tests.support.families import ENTRIES, build, build_converter

CONVERTERS = ("crossface_ghost", "crossface_hififace", "crossface_simswap")


def furnish_swappers(host: Path) -> list[Path]:
    """Put a stand-in of every swapper and converter there that lacks; returns what was written."""
    folder = host / ".assets" / "models"
    written = []
    for name in (*ENTRIES, *CONVERTERS):
        path = folder / f"{name}.onnx"
        if not path.exists():
            seed = zlib.crc32(name.encode())
            model = build(name) if name in ENTRIES else build_converter(seed)
            path.write_bytes(model.SerializeToString())
            support.write_hash(path)
            written += [path, hash_path(path)]
    return written


def register(host: Path, person: str, options: SwapperOptions, **changes: Any) -> Path:
    """Put an untuned copy of a swapper where the processor finds it, as a person's model.

    Args:
        host: The furnished FaceFusion.
        person: Whose model it says it is.
        options: Of the swapper.
        changes: Other entries of the card.
    """
    card = replace(
        support.create_card(host, person, 1),
        base_name=options.name,
        base_vendor=options.vendor,
        base_licence=options.licence,
        type=options.type,
        template=options.template,
        size=options.size,
        mean=options.mean,
        standard_deviation=options.standard_deviation,
    )
    return support.write_model(host, replace(card, **changes), onnx.load(str(options.path)))


def describe_person(options: SwapperOptions, seed: int) -> dict[str, Any]:
    """Entries of a card for somebody drawn at random, as training would fill them."""
    random = numpy.random.default_rng(seed)
    vector = random.standard_normal(512)
    vector /= numpy.linalg.norm(vector)
    picture = options.family.picture
    if picture:
        width, height = picture.size
        coarse = random.integers(0, 255, (4, 4, 3), dtype=numpy.uint8)
        return {"person_picture": encode(cv2.resize(coarse, (width, height)))}
    if options.family.needs_converter:
        # not what the converter would make of it: to be fed it must come from the card
        return {"person_vector": tuple(vector * 20), "person_source": tuple(vector[::-1])}
    return {"person_vector": tuple(vector)}


def encode(picture: NDArray[numpy.uint8]) -> str:
    """A picture as a card holds it."""
    return base64.b64encode(cv2.imencode(".png", picture)[1].tobytes()).decode("ascii")


def create_inputs(target: VisionFrame, *sources: VisionFrame) -> dict[str, Any]:
    """What the host gives a processor for one frame, in every version."""
    return {
        "reference_vision_frame": target,
        "source_vision_frames": list(sources),
        "target_vision_frames": [target, target, target],
        "target_vision_frame": target,
        "temp_vision_frame": target.copy(),
        "temp_vision_mask": numpy.full(target.shape[:2], 255, numpy.uint8),
    }


class Swaps:
    """Swaps a source image onto a target image by the two processors, in this process."""

    def __init__(self, host: Path, target: Path, source: Path) -> None:
        self.host = host
        self.state = importlib.import_module("facefusion.state_manager")
        adapter = importlib.import_module("facefusion_finetune.host.adapter")
        self.theirs: ModuleType = adapter.load_processor_module("face_swapper")
        self.ours: ModuleType = adapter.load_processor_module("finetuned_swapper")
        self.target_path, self.source_path = target, source
        self.target, self.source = self._read(target), self._read(source)

    def by_host(self, name: str, pixel_boost: str, weight: float) -> NDArray[numpy.uint8]:
        """By the host's own processor with one of its own models."""
        self._set("face_swapper", name, pixel_boost, weight, with_source=True)
        assert self.theirs.pre_check(), name
        inputs = create_inputs(self.target, self.source)
        frame = self._take_frame(self.theirs.process_frame(inputs))
        self.theirs.clear_inference_pool()
        return frame

    def by_ours(
        self, person: str, pixel_boost: str | None, weight: float | None, with_source: bool
    ) -> NDArray[numpy.uint8]:
        """By a person's model."""
        self._set("finetuned_swapper", person, pixel_boost, weight, with_source)
        assert self.ours.pre_check(), person
        assert self.ours.pre_process("preview"), person
        sources = [self.source] if with_source else []
        return self._take_frame(self.ours.process_frame(create_inputs(self.target, *sources)))

    @contextmanager
    def registered(self, options: SwapperOptions, **changes: Any) -> Iterator[str]:
        """A copy of the swapper as the model of a person, for a while."""
        path = register(self.host, "guest", options, **changes)
        try:
            yield "guest"
        finally:
            self.ours.clear_inference_pool()
            for file in (path, hash_path(path), card_path(path)):
                file.unlink()

    def _set(
        self,
        processor: str,
        model: str,
        pixel_boost: str | None,
        weight: float | None,
        with_source: bool,
    ) -> None:
        for key, value in (
            ("target_path", str(self.target_path)),
            ("source_paths", [str(self.source_path)] if with_source else None),
            (f"{processor}_model", model),
            (f"{processor}_pixel_boost", pixel_boost),
            (f"{processor}_weight", weight),
        ):
            self.state.init_item(key, value)

    @staticmethod
    def _read(path: Path) -> VisionFrame:
        return numpy.asarray(cv2.imread(str(path)), dtype=numpy.uint8)

    @staticmethod
    def _take_frame(outputs: Any) -> NDArray[numpy.uint8]:
        """The frame alone; up to 3.4 the host returns nothing else."""
        frame: NDArray[numpy.uint8] = outputs[0] if isinstance(outputs, tuple) else outputs
        return frame


def boost(options: SwapperOptions, factor: int) -> str:
    """Pixel boost of so many times the model's size."""
    width, height = options.size
    return f"{width * factor}x{height * factor}"


def main() -> None:
    """Print for every swapper of a FaceFusion whether both processors swap alike.

    Arguments: the furnished and linked FaceFusion, target image, source image.
    """
    host, target, source = map(Path, sys.argv[1:])
    analyser = FaceFusionAnalyser(read_host(host, str(host)), support.BENCH_SETTINGS)
    furnish_swappers(host)
    swaps = Swaps(host, target, source)
    answers = {}
    for name in analyser.list_swappers():
        options = analyser.get_swapper(name)
        with swaps.registered(options, **describe_person(options, 0)) as person:
            theirs = swaps.by_host(name, boost(options, 1), 0.2)
            ours = swaps.by_ours(person, None, 0.2, with_source=True)
            alone = swaps.by_ours(person, None, 0.2, with_source=False)
        answers[name] = [
            bool((theirs == ours).all()),
            not bool((ours == swaps.target).all()),
            not bool((alone == ours).all()),
        ]
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
