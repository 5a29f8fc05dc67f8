"""FaceFusion's face swappers as data, for machines without a FaceFusion installation.

The values are those of FaceFusion 3.8.1. An installed FaceFusion is asked directly, so this table
is used only where there is none; the tests compare the two.
"""

import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.home import expand_path, home_directory
from facefusion_finetune.swappers.catalogue import Precision, SwapperOptions

MODELS_VARIABLE = "FACEFUSION_FINETUNE_MODELS"

Triple = tuple[float, float, float]
ZEROS: Triple = (0.0, 0.0, 0.0)
ONES: Triple = (1.0, 1.0, 1.0)
HALVES: Triple = (0.5, 0.5, 0.5)
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class KnownSwapper:
    """A published swapper; see `SwapperOptions` for what the fields mean."""

    name: str
    type: str
    template: str
    side: int
    """Of the target crop, in pixels."""
    vendor: str
    licence: str
    year: int
    mean: Triple = HALVES
    standard_deviation: Triple = HALVES
    precision: Precision = "fp32"
    converter: str | None = None
    """Name of the embedding converter's file, without its suffix."""

    def create_options(self, directory: Path) -> SwapperOptions:
        """Its options, with its files in `directory`, whether they exist or not."""
        return SwapperOptions(
            name=self.name,
            path=directory / f"{self.name}.onnx",
            type=self.type,
            template=self.template,
            size=(self.side, self.side),
            mean=self.mean,
            standard_deviation=self.standard_deviation,
            vendor=self.vendor,
            licence=self.licence,
            year=self.year,
            precision=self.precision,
            converter=None if self.converter is None else directory / f"{self.converter}.onnx",
        )


KNOWN_SWAPPERS: Mapping[str, KnownSwapper] = MappingProxyType(
    {
        swapper.name: swapper
        for swapper in (
            KnownSwapper(
                "blendswap_256",
                type="blendswap",
                template="ffhq_512",
                side=256,
                vendor="mapooon",
                licence="Non-Commercial",
                year=2023,
                mean=ZEROS,
                standard_deviation=ONES,
            ),
            KnownSwapper(
                "ghost_1_256",
                type="ghost",
                template="arcface_112_v1",
                side=256,
                vendor="ai-forever",
                licence="Apache-2.0",
                year=2022,
                converter="crossface_ghost",
            ),
            KnownSwapper(
                "ghost_2_256",
                type="ghost",
                template="arcface_112_v1",
                side=256,
                vendor="ai-forever",
                licence="Apache-2.0",
                year=2022,
                converter="crossface_ghost",
            ),
            KnownSwapper(
                "ghost_3_256",
                type="ghost",
                template="arcface_112_v1",
                side=256,
                vendor="ai-forever",
                licence="Apache-2.0",
                year=2022,
                converter="crossface_ghost",
            ),
            KnownSwapper(
                "hififace_unofficial_256",
                type="hififace",
                template="mtcnn_512",
                side=256,
                vendor="GuijiAI",
                licence="Unknown",
                year=2021,
                converter="crossface_hififace",
            ),
            KnownSwapper(
                "hyperswap_1a_256",
                type="hyperswap",
                template="arcface_128",
                side=256,
                vendor="FaceFusion",
                licence="ResearchRAIL",
                year=2025,
                precision="fp16",
            ),
            KnownSwapper(
                "hyperswap_1b_256",
                type="hyperswap",
                template="arcface_128",
                side=256,
                vendor="FaceFusion",
                licence="ResearchRAIL",
                year=2025,
                precision="fp16",
            ),
            KnownSwapper(
                "hyperswap_1c_256",
                type="hyperswap",
                template="arcface_128",
                side=256,
                vendor="FaceFusion",
                licence="ResearchRAIL",
                year=2025,
                precision="fp16",
            ),
            KnownSwapper(
                "inswapper_128",
                type="inswapper",
                template="arcface_128",
                side=128,
                vendor="InsightFace",
                licence="Non-Commercial",
                year=2023,
                mean=ZEROS,
                standard_deviation=ONES,
            ),
            KnownSwapper(
                "inswapper_128_fp16",
                type="inswapper",
                template="arcface_128",
                side=128,
                vendor="InsightFace",
                licence="Non-Commercial",
                year=2023,
                mean=ZEROS,
                standard_deviation=ONES,
                precision="fp16",
            ),
            KnownSwapper(
                "simswap_256",
                type="simswap",
                template="arcface_112_v1",
                side=256,
                vendor="neuralchen",
                licence="Non-Commercial",
                year=2020,
                mean=IMAGENET_MEAN,
                standard_deviation=IMAGENET_DEVIATION,
                converter="crossface_simswap",
            ),
            KnownSwapper(
                "simswap_unofficial_512",
                type="simswap",
                template="arcface_112_v1",
                side=512,
                vendor="neuralchen",
                licence="Non-Commercial",
                year=2020,
                mean=ZEROS,
                standard_deviation=ONES,
                converter="crossface_simswap",
            ),
            KnownSwapper("uniface_256", "uniface", "ffhq_512", 256, "xc-csc101", "Unknown", 2022),
        )
    }
)
"""By name. Source: the facts FaceFusion 3.8.1 publishes with its model files."""


def find_models_directory(given: Path | None = None) -> Path:
    """The folder searched for swapper files, whether it exists or not.

    Args:
        given: A folder given by the user; if None, `FACEFUSION_FINETUNE_MODELS` is used, or else
            `models` in this package's home.
    """
    configured = given or os.environ.get(MODELS_VARIABLE)
    return expand_path(configured) if configured else home_directory() / "models"


def get_known_swapper(name: str, directory: Path, path: Path | None = None) -> SwapperOptions:
    """The swapper of that name, after a check of its files.

    Args:
        name: FaceFusion's name for it.
        directory: The folder that holds its files.
        path: A file derived from it to use in its place; its own file is then not needed.

    Raises:
        SwapperError: There is no such swapper, or one of its files is missing or damaged.
    """
    if name not in KNOWN_SWAPPERS:
        raise SwapperError(
            f"base {name!r}",
            "it is not one of FaceFusion's face swappers.",
            f"Choose one of: {', '.join(sorted(KNOWN_SWAPPERS))}.",
        )
    options = KNOWN_SWAPPERS[name].create_options(directory)
    if path is not None:
        options = replace(options, path=path)
    for file in options.files:
        if file != path:
            _check_file(name, file)
    return options


def find_origin(stem: str, names: Iterable[str]) -> str | None:
    """The longest of some swappers' names that a file's stem starts with, up to a word boundary."""
    found = [
        name
        for name in names
        if stem.startswith(name) and not stem[len(name) : len(name) + 1].isalnum()
    ]
    return max(found, key=len, default=None)


def is_whole(path: Path) -> bool:
    """Whether the file's crc32 matches the `.hash` next to it; True if there is no `.hash`."""
    expected = path.with_suffix(".hash")
    if not expected.is_file():
        return True
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            checksum = zlib.crc32(chunk, checksum)
    return f"{checksum:08x}" == expected.read_text("utf-8", errors="replace").strip()


def _check_file(name: str, path: Path) -> None:
    if not path.is_file():
        raise SwapperError(
            f"base {name!r}",
            f"its file {path} is missing, and this package does not download it.",
            "Copy it and its .hash from .assets/models of a FaceFusion installation, or set"
            f" {MODELS_VARIABLE} to the folder that holds it.",
        )
    if not is_whole(path):
        raise SwapperError(
            f"base {name!r}",
            f"its file {path} is damaged: its crc32 does not match the .hash next to it.",
            "Copy it again.",
        )
