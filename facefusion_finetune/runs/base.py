"""Which base swapper a user means, and what it allows: its licence, a run that goes on with it."""

from dataclasses import replace
from pathlib import Path

from facefusion_finetune.errors import SwapperError, TrainingError
from facefusion_finetune.faces.protocol import FaceAnalyser, SwapperCatalogue
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.branches.split import has_branches
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.files.bases import digest_file
from facefusion_finetune.swappers.graphs.graph import SwapperGraph, read_swapper

INSWAPPER_TEMPLATE = "arcface_128"


def resolve_base(base: str, analyser: SwapperCatalogue) -> SwapperOptions:
    """The base swapper a user names: by FaceFusion's name, or by the path of an ONNX file.

    An ONNX file does not say how it is to be fed. One whose name begins with that of a known
    swapper is fed as that; any other must have the layout of an inswapper.

    Raises:
        SwapperError: There is no such swapper, it is not known how to feed the file, or the
            analyser has no template for it.
    """
    path = Path(base)
    if path.suffix != ".onnx":
        return analyser.get_swapper(base)
    names = analyser.list_swappers()
    origin = _find_origin(path.stem, names)
    if origin:
        return replace(analyser.get_swapper(origin, path.resolve()), name=path.stem)
    graph = read_swapper(path)
    if graph.emap is None:
        raise SwapperError(
            base,
            "it is a face swapper, but neither its name nor its layout says how it is to be fed.",
            "Let the file's name begin with that of the model it derives from, as in"
            f" simswap_256_mine.onnx. Known are: {', '.join(names)}.",
        )
    return SwapperOptions(
        name=path.stem,
        path=path.resolve(),
        type="inswapper",
        template=INSWAPPER_TEMPLATE,
        size=graph.size,
        mean=(0.0, 0.0, 0.0),
        standard_deviation=(1.0, 1.0, 1.0),
        vendor="unknown",
        licence="unknown: that of the given file",
    )


def open_base(options: SwapperOptions, analyser: FaceAnalyser) -> SwapperGraph:
    """Read the base's graph, and check that it is what its options say.

    Raises:
        SwapperError: It is no swapper, another one, or the analyser has no template for it.
    """
    graph = read_swapper(options.path)
    if has_branches(graph.file):
        raise SwapperError(
            str(options.path),
            "it is a tuned model with a gated change, not a base.",
            "Give the base that it was tuned from, as FaceFusion publishes it.",
        )
    family = options.family
    if (graph.size, graph.source_shape) != (options.size, family.source_shape):
        raise SwapperError(
            str(options.path),
            f"it swaps crops of {list(graph.size)} by a source of {list(graph.source_shape)}, but"
            f" {options.name!r} by its name swaps {list(options.size)} by"
            f" {list(family.source_shape)}.",
            "Use the file as FaceFusion publishes it, under its own name.",
        )
    pictures = [family.picture.template] if family.picture else []
    for template in (options.template, *pictures):
        if template not in analyser.warp_templates():
            raise SwapperError(
                f"base {options.name!r}",
                f"{analyser.name} has no template {template!r} to align it by.",
                "Name another base.",
            )
    return graph


def _find_origin(stem: str, names: list[str]) -> str | None:
    """The longest of the names that `stem` begins with, up to the end of a word."""
    found = [
        name
        for name in names
        if stem.startswith(name) and not stem[len(name) : len(name) + 1].isalnum()
    ]
    return max(found, key=len, default=None)


def check_base(run: Run, options: SwapperOptions) -> None:
    """Make sure that a run goes on with the base it was started with.

    Raises:
        TrainingError: The base file's digest is another one.
    """
    if digest_file(options.path) != run.config.base_sha256:
        raise TrainingError(
            f"run {run.reference}",
            f"it was started with another {run.config.base_name} than {options.path} holds now"
            " (the digests differ).",
            "Put the former base file back, or train anew without --resume.",
        )


COMMERCIAL_LICENCES = frozenset(
    name.casefold()
    for name in (
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0"),
        *("ISC", "MIT", "Unlicense", "WTFPL", "Zlib"),
    )
)
"""SPDX names of licences that allow commercial use of what is made from the work, without
conditions on the use. What is not among them, or unknown, is taken to forbid it."""


COMMERCIAL_BASES = ("ghost_1_256", "ghost_2_256", "ghost_3_256")
"""Those of FaceFusion 3.8 whose licence, as it states it, is among them."""


def allows_commercial_use(licence: str) -> bool:
    """Whether a licence, by its SPDX name, is known to allow commercial use."""
    return licence.strip().casefold() in COMMERCIAL_LICENCES


def check_licence(options: SwapperOptions) -> None:
    """Make sure that a model tuned from a base may be used commercially: it inherits the licence.

    Args:
        options: The base, with the licence FaceFusion states for it.

    Raises:
        SwapperError: The base's licence forbids it, or is unknown.
    """
    if allows_commercial_use(options.licence):
        return
    is_unknown = options.licence.casefold().startswith("unknown")
    state = "is unknown" if is_unknown else f"({options.licence}) does not allow commercial use"
    raise SwapperError(
        f"base {options.name!r} with --commercial",
        f"its licence {state}, and a model tuned from it inherits that licence.",
        f"Use a base that may be used commercially: {', '.join(COMMERCIAL_BASES)}; or train without"
        " --commercial.",
    )
