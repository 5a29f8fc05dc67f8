"""onnxruntime sessions, and the arrays that go in and come out."""

from pathlib import Path
from typing import Any

import numpy
import onnxruntime
from numpy.typing import NDArray

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.catalogue import RecogniserOptions, SwapperOptions


def create_session(model: Path | bytes, name: str) -> onnxruntime.InferenceSession:
    """Open a model on the GPU where onnxruntime can use one, else on the CPU.

    Args:
        model: A file, or a serialised model.
        name: Name of the model, for the error message.

    Raises:
        SwapperError: onnxruntime cannot load the model.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    available = onnxruntime.get_available_providers()
    providers = [
        provider
        for provider in ("CUDAExecutionProvider", "CPUExecutionProvider")
        if provider in available
    ]
    try:
        return onnxruntime.InferenceSession(
            str(model) if isinstance(model, Path) else model, options, providers=providers
        )
    except Exception as error:  # onnxruntime's exceptions share no narrower base class
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SwapperError(
            name, f"onnxruntime cannot open it ({reason}).", "Download the file again."
        ) from error


def normalise_crops(crops: NDArray[numpy.uint8], options: SwapperOptions) -> NDArray[numpy.float32]:
    """Crops as the swapper's target input, as the host prepares them.

    Args:
        crops: (n, H, W, 3), BGR.
        options: The swapper's options.

    Returns:
        (n, 3, H, W), RGB.
    """
    rgb = crops[..., ::-1] / 255.0
    scaled = (rgb - options.mean) / options.standard_deviation
    return numpy.ascontiguousarray(scaled.transpose(0, 3, 1, 2), dtype=numpy.float32)


def scale_output(output: NDArray[numpy.float32], options: SwapperOptions) -> NDArray[Any]:
    """A swapper's output as RGB in 0..1, not clipped.

    Args:
        output: (n, 3, H, W).
        options: The swapper's options.

    Returns:
        (n, 3, H, W). Scaled output is float64, as in the host.
    """
    if not options.family.signed:
        return output
    scale = numpy.reshape(options.standard_deviation, (3, 1, 1))
    return numpy.asarray(output * scale + numpy.reshape(options.mean, (3, 1, 1)))


def rgb_to_crops(rgb: NDArray[Any]) -> NDArray[Any]:
    """(n, 3, H, W) RGB, 0 to 1, to (n, H, W, 3) BGR, 0 to 255, clipped.

    Not rounded, because the host pastes it back unrounded.
    """
    return numpy.ascontiguousarray(rgb.transpose(0, 2, 3, 1)[..., ::-1].clip(0, 1) * 255)


def denormalise_output(output: NDArray[numpy.float32], options: SwapperOptions) -> NDArray[Any]:
    """A swapper's output as crops, as the host reads it.

    Args:
        output: (n, 3, H, W).
        options: The swapper's options.

    Returns:
        (n, H, W, 3), BGR, 0 to 255, as in `rgb_to_crops`.
    """
    return rgb_to_crops(scale_output(output, options))


def embed_crops(
    session: onnxruntime.InferenceSession,
    options: RecogniserOptions,
    crops: NDArray[numpy.uint8],
) -> NDArray[numpy.float32]:
    """Face embeddings of aligned crops.

    Args:
        session: The recogniser's session.
        options: The recogniser's options.
        crops: (n, H, W, 3), BGR, aligned to its template.

    Returns:
        (n, 512), not normalised.
    """
    scaled = (crops[..., ::-1] - options.mean) / options.standard_deviation
    inputs = scaled.transpose(0, 3, 1, 2).astype(numpy.float32)
    name = session.get_inputs()[0].name
    rows = [session.run(None, {name: inputs[i : i + 1]})[0] for i in range(len(inputs))]
    return numpy.concatenate(rows).reshape(len(crops), -1)


def run_session(
    session: onnxruntime.InferenceSession, targets: NDArray[Any], sources: NDArray[Any]
) -> NDArray[Any]:
    """Run a swapper file on each crop as the host does.

    Args:
        session: A swapper's session.
        targets: (n, 3, H, W).
        sources: (n, 512) or (n, 3, h, w); n may be 1, for one source for all targets.

    Returns:
        (n, 3, H, W).
    """
    sources = numpy.broadcast_to(sources, (len(targets), *sources.shape[1:]))
    rows = [
        session.run(None, {"target": targets[i : i + 1], "source": sources[i : i + 1]})[0]
        for i in range(len(targets))
    ]
    return numpy.concatenate(rows)
