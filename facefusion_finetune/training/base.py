"""Which base swapper a user means."""

from pathlib import Path

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.graph import read_swapper


def resolve_base(base: str, analyser: FaceAnalyser) -> SwapperOptions:
    """The base swapper a user names: by FaceFusion's name, or by the path of an ONNX file.

    Raises:
        SwapperError: There is no such swapper, or the analyser has no template for the file.
    """
    path = Path(base)
    if path.suffix != ".onnx":
        return analyser.get_swapper(base)
    graph = read_swapper(path)
    template = "arcface_128"
    if template not in analyser.warp_templates():
        raise SwapperError(
            base, f"{analyser.name} has no template {template!r} to align it by.", "Name a base."
        )
    return SwapperOptions(
        name=path.stem,
        path=path.resolve(),
        type="inswapper",
        template=template,
        size=graph.size,
        mean=(0.0, 0.0, 0.0),
        standard_deviation=(1.0, 1.0, 1.0),
        vendor="unknown",
        licence="unknown: that of the given file",
    )
