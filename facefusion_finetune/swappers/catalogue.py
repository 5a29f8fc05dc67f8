"""What one needs to know of a swapper or recogniser file to feed it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SwapperOptions:
    """A base swapper: its file and the contract of its inputs and output."""

    name: str
    """As the host calls it, for example `inswapper_128`."""
    path: Path
    type: str
    """Decides how a face becomes the source input; `inswapper` multiplies with the emap."""
    template: str
    """Name of the warp template the target crop is aligned to."""
    size: tuple[int, int]
    """Width and height of the target crop in pixels."""
    mean: tuple[float, float, float]
    standard_deviation: tuple[float, float, float]
    """Target input is RGB in 0..1, minus `mean`, divided by this."""
    vendor: str
    licence: str


@dataclass(frozen=True)
class RecogniserOptions:
    """A face recogniser: RGB crop, 1 x 3 x H x W, in; vector, 1 x 512, out."""

    name: str
    path: Path
    template: str
    size: tuple[int, int]
    """Width and height of the crop in pixels."""
    mean: float
    standard_deviation: float
    """Input is (0..255 value - mean) / standard_deviation."""
