"""The demo's world with every one of FaceFusion's swappers in it, as small random networks."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy
import onnx
from numpy.typing import NDArray

from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.faces.protocol import Points
from facefusion_finetune.swappers.catalogue import SwapperOptions
from tests.support.families import ENTRIES, build, build_converter

ZOOMS = {
    "arcface_128": 1.05,
    "arcface_112_v1": 1.1,
    "arcface_112_v2": 1.15,
    "ffhq_512": 1.2,
    "mtcnn_512": 1.25,
}
"""FaceFusion's templates, here the demo's one seen so many times closer: within its cut-outs."""

NORMALISED = {"simswap_256": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))}


class FamilyAnalyser(DemoAnalyser):
    """The demo's analyser, asked for FaceFusion's swappers.

    Args:
        footage: As `DemoAnalyser`.
        folder: Where the swappers are written when they are asked for.
        knows_others: Whether there are pictures of other people.
    """

    def __init__(self, footage: Sequence[Path], folder: Path, knows_others: bool = True) -> None:
        super().__init__(footage)
        self._folder = folder
        self._knows_others = knows_others

    def warp_templates(self) -> Mapping[str, Points]:
        templates = dict(super().warp_templates())
        (points,) = templates.values()
        return templates | {name: (points - 0.5) * zoom + 0.5 for name, zoom in ZOOMS.items()}

    def list_swappers(self) -> list[str]:
        return sorted(ENTRIES)

    def get_swapper(self, name: str, path: Path | None = None) -> SwapperOptions:
        entry = ENTRIES[name]
        file = path or self._folder / f"{name}.onnx"
        if not file.exists():
            onnx.save(build(name), str(file))
        even = ((0.5,) * 3, (0.5,) * 3) if entry.signed else ((0.0,) * 3, (1.0,) * 3)
        mean, deviation = NORMALISED.get(name, even)
        options = SwapperOptions(
            name=name,
            path=file,
            type=entry.family,
            template="arcface_112_v1",
            size=(entry.size, entry.size),
            mean=mean,
            standard_deviation=deviation,
            vendor="tests",
            licence="Apache-2.0",
            precision="fp16" if entry.precision == "fp16" else "fp32",
        )
        if not options.family.needs_converter:
            return options
        converter = self._folder / f"crossface_{entry.family}.onnx"
        if not converter.exists():
            onnx.save(build_converter(), str(converter))
        return replace(options, converter=converter)

    def sample_other_pictures(
        self, count: int, seed: int, template: str, size: tuple[int, int]
    ) -> NDArray[numpy.uint8] | None:
        if not self._knows_others:
            return None
        return super().sample_other_pictures(count, seed, template, size)
