"""Resolves the base swapper of a run, and checks its file and its licence."""

from dataclasses import replace
from pathlib import Path

from facefusion_finetune.errors import SwapperError, TrainingError
from facefusion_finetune.faces.protocol import FaceAnalyser, SwapperCatalogue
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.branches.split import has_branches
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.files.bases import digest_file
from facefusion_finetune.swappers.graphs.graph import SwapperGraph, read_swapper
from facefusion_finetune.swappers.known import find_origin

INSWAPPER_TEMPLATE = "arcface_128"


def resolve_base(base: str, analyser: SwapperCatalogue) -> SwapperOptions:
    """The base swapper given by FaceFusion's name or by the path of an ONNX file.

    An ONNX file does not describe its inputs. If its name starts with that of a known swapper, it
    is treated as that one; otherwise it must have the layout of an inswapper.

    Raises:
        SwapperError: There is no such swapper, the file's type is unknown, or the analyser has no
            template for it.
    """
    path = Path(base)
    if path.suffix != ".onnx":
        return analyser.get_swapper(base)
    names = analyser.list_swappers()
    origin = find_origin(path.stem, names)
    if origin:
        return replace(analyser.get_swapper(origin, path.resolve()), name=path.stem)
    graph = read_swapper(path)
    if graph.emap is None:
        raise SwapperError(
            base,
            "it is a face swapper, but neither its name nor its layout tells its type.",
            "Start the file's name with that of the model it derives from, as in"
            f" simswap_256_mine.onnx. Known models: {', '.join(names)}.",
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
    """Read the base's graph, and check that it matches its options.

    Raises:
        SwapperError: The file is not a swapper, does not match the options, or the analyser has no
            template for it.
    """
    graph = read_swapper(options.path, options.size)
    if has_branches(graph.file):
        raise SwapperError(
            str(options.path),
            "it is a tuned model, not a base.",
            "Use the base it was tuned from, as published by FaceFusion.",
        )
    family = options.family
    if (graph.size, graph.source_shape) != (options.size, family.source_shape):
        raise SwapperError(
            str(options.path),
            f"it takes crops of {list(graph.size)} and a source of {list(graph.source_shape)}, but"
            f" {options.name!r} takes {list(options.size)} and {list(family.source_shape)}.",
            "Use the file as published by FaceFusion, under its own name.",
        )
    pictures = [family.picture.template] if family.picture else []
    for template in (options.template, *pictures):
        if template not in analyser.warp_templates():
            raise SwapperError(
                f"base {options.name!r}",
                f"{analyser.name} has no face alignment template {template!r}.",
                "Use another base.",
            )
    return graph


def check_base(run: Run, options: SwapperOptions) -> None:
    """Check that a run continues with the base it was started with.

    Raises:
        TrainingError: The base file's digest has changed.
    """
    if digest_file(options.path) != run.config.base_sha256:
        raise TrainingError(
            f"run {run.reference}",
            f"it was started with a different {run.config.base_name} than {options.path} is now"
            " (the digests differ).",
            "Restore the original base file, or train again without --resume.",
        )


COMMERCIAL_LICENCES = frozenset(
    name.casefold()
    for name in (
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0"),
        *("ISC", "MIT", "Unlicense", "WTFPL", "Zlib"),
    )
)
"""SPDX names of licences that allow commercial use of derived works without conditions on the use.
All others are assumed to forbid it."""


COMMERCIAL_BASES = ("ghost_1_256", "ghost_2_256", "ghost_3_256")
"""FaceFusion 3.8's bases whose stated licence allows commercial use."""


def allows_commercial_use(licence: str) -> bool:
    """Whether a licence, by its SPDX name, is known to allow commercial use."""
    return licence.strip().casefold() in COMMERCIAL_LICENCES


def check_licence(options: SwapperOptions) -> None:
    """Check that a model tuned from a base, which inherits its licence, may be used commercially.

    Args:
        options: The base, with the licence stated by FaceFusion.

    Raises:
        SwapperError: The base's licence forbids commercial use, or is unknown.
    """
    if allows_commercial_use(options.licence):
        return
    is_unknown = options.licence.casefold().startswith("unknown")
    state = "is unknown" if is_unknown else f"({options.licence}) does not allow commercial use"
    raise SwapperError(
        f"base {options.name!r} with --commercial",
        f"its licence {state}, and tuned models inherit it.",
        f"Use a base with a suitable licence: {', '.join(COMMERCIAL_BASES)}; or train without"
        " --commercial.",
    )
