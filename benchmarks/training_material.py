"""Material of the training benchmark: graphs of real width with random weights, and pairs."""

from pathlib import Path

import numpy
from numpy.typing import NDArray

from facefusion_finetune.swappers.catalogue import RecogniserOptions, SwapperOptions
from facefusion_finetune.training.pairs.pair_set import KINDS, Kind, PairSet
from tests.support.families import build
from tests.support.families.recogniser import build_recogniser

BASE = "inswapper_128"


def write_base(folder: Path, width: float = 1.0) -> SwapperOptions:
    """Write an inswapper_128 with random weights; `width` is the fraction of the real channels."""
    path = folder / f"{BASE}.onnx"
    path.write_bytes(build(BASE, width=width).SerializeToString())
    return SwapperOptions(
        name=BASE,
        path=path,
        type="inswapper",
        template="arcface_128",
        size=(128, 128),
        mean=(0.0, 0.0, 0.0),
        standard_deviation=(1.0, 1.0, 1.0),
        vendor="benchmark",
        licence="Apache-2.0",
    )


def write_recogniser(folder: Path, width: float = 1.0) -> RecogniserOptions:
    """Write an iresnet50 with random weights."""
    path = folder / "iresnet50.onnx"
    path.write_bytes(build_recogniser(width=width).SerializeToString())
    return RecogniserOptions(
        name=path.stem,
        path=path,
        template="arcface_112_v2",
        size=(112, 112),
        mean=127.5,
        standard_deviation=127.5,
    )


def create_pairs(
    counts: dict[Kind, int],
    size: tuple[int, int],
    crops: int | None = None,
    seed: int = 0,
) -> PairSet:
    """Create pairs of random pictures, driven by random unit vectors.

    Args:
        counts: Number of pairs of each kind.
        size: Width and height in pixels.
        crops: Number of crops they are made from; the number of pairs if not given.
        seed: Of the random generator.
    """
    generator = numpy.random.default_rng(seed)
    width, height = size
    kind = numpy.concatenate([numpy.full(counts.get(name, 0), KINDS.index(name)) for name in KINDS])
    rows = len(kind)
    crops = crops or rows
    goal = numpy.arange(rows) % crops
    for name in ("cross", "prior"):
        goal[kind == KINDS.index(name)] = numpy.arange(counts.get(name, 0))
    sources = generator.normal(size=(rows, 512)).astype(numpy.float32)

    def paint(*shape: int) -> NDArray[numpy.uint8]:
        return generator.integers(0, 256, shape, dtype=numpy.uint8)

    anchor = (counts.get("cross", 0), 3, height // 8, width // 8)
    return PairSet(
        kind=kind,
        crop=numpy.arange(rows) % crops,
        target=numpy.arange(rows),
        goal=goal,
        source=numpy.arange(rows),
        sources=sources / numpy.linalg.norm(sources, axis=1, keepdims=True),
        pictures=paint(rows, height, width, 3),
        prior_truths=generator.random((counts.get("prior", 0), 3, height, width)).astype(
            numpy.float16
        ),
        anchors=generator.random(anchor).astype(numpy.float32),
        face=paint(crops, height, width),
        features=paint(crops, height, width),
        matrix=numpy.tile(
            numpy.array([[112 / width, 0, 0], [0, 112 / height, 0]], numpy.float32), (crops, 1, 1)
        ),
    )
