"""What has to be known about a swapper or recogniser file to feed it, as data.

FaceFusion states the `type` of each of its swappers, and the input settings that differ from file
to file. What all files of a type share is in `FAMILIES`. A model added by a later FaceFusion can be
opened as soon as FaceFusion lists it, provided its type is one of these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from facefusion_finetune.errors import SwapperError

VectorPath = Literal["emap", "unit", "converted", "converted_unit"]
"""How a face embedding (the recogniser's vector) becomes a source input:

`emap`: divided by its norm and multiplied by the 512 x 512 matrix in the swapper's file;
`unit`: divided by its norm;
`converted`: passed, at its own norm, through another network, the converter;
`converted_unit`: the same, and the converter's output divided by its norm.
"""

Precision = Literal["fp32", "fp16"]


@dataclass(frozen=True)
class PictureSource:
    """How a face becomes the source picture of a swapper that takes one: RGB, 0 to 1."""

    template: str
    """Name of the warp template."""
    size: tuple[int, int]
    """Width and height in pixels."""


@dataclass(frozen=True)
class Family:
    """What all swappers of one type share."""

    type: str
    """FaceFusion's name for it."""
    source: VectorPath | PictureSource
    """What drives it: a vector prepared in one of four ways, or a picture."""
    signed: bool = False
    """Whether the output must be multiplied by the standard deviation and shifted by the mean to
    be RGB in 0..1; otherwise it already is."""
    mixes_unit_target: bool = True
    """Whether a weight other than 0.5 mixes in the target's vector at unit norm, not its own."""

    @property
    def picture(self) -> PictureSource | None:
        """How its source picture is cropped; None for a family driven by a vector."""
        return self.source if isinstance(self.source, PictureSource) else None

    @property
    def needs_emap(self) -> bool:
        """Whether its file ends in the matrix that a vector is multiplied by."""
        return self.source == "emap"

    @property
    def needs_converter(self) -> bool:
        """Whether a vector passes through a converter first, so that the vector's norm matters."""
        return self.source in ("converted", "converted_unit")

    @property
    def source_shape(self) -> tuple[int, ...]:
        """Shape of one source input: (512,), or (3, H, W)."""
        if self.picture is None:
            return (512,)
        width, height = self.picture.size
        return (3, height, width)


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.type: family
        for family in (
            Family("inswapper", "emap"),
            Family("simswap", "converted_unit"),
            Family("ghost", "converted", signed=True, mixes_unit_target=False),
            Family("blendswap", PictureSource("arcface_112_v2", (112, 112))),
            Family("uniface", PictureSource("ffhq_512", (256, 256)), signed=True),
            Family("hififace", "converted_unit", signed=True),
            Family("hyperswap", "unit", signed=True),
        )
    }
)
"""By type. Source: the behaviour of FaceFusion's face swapper, identical in 3.4 to 3.8."""


@dataclass(frozen=True)
class SwapperOptions:
    """A base swapper: its files and the contract of its inputs and output."""

    name: str
    """The host's name for it, for example `inswapper_128`."""
    path: Path
    type: str
    """The name of its family."""
    template: str
    """Name of the warp template the target crop is aligned to."""
    size: tuple[int, int]
    """Width and height of the target crop in pixels."""
    mean: tuple[float, float, float]
    standard_deviation: tuple[float, float, float]
    """The target input is RGB in 0..1, minus `mean`, divided by this."""
    vendor: str
    licence: str
    year: int | None = None
    """Year of publication, where known."""
    precision: Precision = "fp32"
    """Of the file's weights, as stated by the host."""
    converter: Path | None = None
    """Where the family needs one: takes a vector, 1 x 512, and outputs a vector."""

    @property
    def family(self) -> Family:
        """What it shares with others of its type.

        Raises:
            SwapperError: The type is unknown.
        """
        return find_family(self.type, f"base {self.name!r}")

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file needed to run it."""
        return (self.path,) if self.converter is None else (self.path, self.converter)


@dataclass(frozen=True)
class RecogniserOptions:
    """A face recogniser: takes an RGB crop, 1 x 3 x H x W, and outputs a vector, 1 x 512."""

    name: str
    path: Path
    template: str
    size: tuple[int, int]
    """Width and height of the crop in pixels."""
    mean: float
    standard_deviation: float
    """Input is (0..255 value - mean) / standard_deviation."""


def find_family(swapper_type: str, given: str) -> Family:
    """The family of a type.

    Args:
        swapper_type: FaceFusion's name for it.
        given: What has that type, for the error message.

    Raises:
        SwapperError: The type is unknown.
    """
    family = FAMILIES.get(swapper_type)
    if family is None:
        raise SwapperError(
            given,
            f"its swapper type {swapper_type!r} is not supported by this version.",
            f"Use a swapper of one of these types: {', '.join(FAMILIES)}.",
        )
    return family


def create_options(name: str, entry: Mapping[str, Any]) -> SwapperOptions:
    """A swapper's options from FaceFusion's own entry for it.

    Args:
        name: FaceFusion's name for it.
        entry: Its options in the model set of FaceFusion's face swapper.

    Raises:
        SwapperError: Its type is unknown, or it lacks the converter that its type needs.
    """
    given = f"base {name!r}"
    family = find_family(entry["type"], given)
    sources, metadata = entry["sources"], entry.get("__metadata__", {})
    if family.needs_converter and "embedding_converter" not in sources:
        raise SwapperError(
            given,
            f"a swapper of type {family.type!r} needs an embedding converter, and FaceFusion"
            " lists none for it.",
            "Use another base.",
        )
    width, height = entry["size"]
    return SwapperOptions(
        name=name,
        path=Path(sources["face_swapper"]["path"]),
        type=family.type,
        template=entry["template"],
        size=(width, height),
        mean=_convert_triple(entry["mean"]),
        standard_deviation=_convert_triple(entry["standard_deviation"]),
        vendor=metadata.get("vendor", "unknown"),
        licence=metadata.get("license", "unknown"),
        year=metadata.get("year"),
        precision="fp16" if entry.get("precision") == "fp16" else "fp32",
        converter=(
            Path(sources["embedding_converter"]["path"]) if family.needs_converter else None
        ),
    )


def _convert_triple(values: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = map(float, values)
    return first, second, third
