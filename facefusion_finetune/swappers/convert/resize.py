"""ONNX's Resize in PyTorch, in all variants that exporters write."""

from typing import Any

import numpy
import torch
from numpy.typing import NDArray
from onnx import NodeProto
from torch import Tensor, nn
from torch.nn import functional

from facefusion_finetune.swappers.graphs.shapes import Trace

MAX_SIDE = 8192
"""Pixels; some variants need a matrix of old by new rows."""


class TorchResize(nn.Module):
    """Bilinear or bicubic resizing by PyTorch itself."""

    def __init__(self, size: tuple[int, int], mode: str, align_corners: bool) -> None:
        super().__init__()
        self._size, self._mode, self._align_corners = size, mode, align_corners

    def forward(self, pictures: Tensor) -> Tensor:
        """(n, C, H, W) to (n, C, h, w)."""
        return functional.interpolate(
            pictures, self._size, mode=self._mode, align_corners=self._align_corners
        )


class NearestResize(nn.Module):
    """Nearest-neighbour resizing with precomputed source rows and columns."""

    def __init__(self, rows: NDArray[numpy.int64], columns: NDArray[numpy.int64]) -> None:
        super().__init__()
        self.register_buffer("rows", torch.from_numpy(rows))
        self.register_buffer("columns", torch.from_numpy(columns))

    def forward(self, pictures: Tensor) -> Tensor:
        """(n, C, H, W) to (n, C, h, w)."""
        picked = pictures.index_select(2, self.get_buffer("rows"))
        return picked.index_select(3, self.get_buffer("columns"))


class LinearResize(nn.Module):
    """Linear resizing with one matrix for the rows and one for the columns."""

    def __init__(self, rows: NDArray[numpy.float32], columns: NDArray[numpy.float32]) -> None:
        super().__init__()
        self.register_buffer("rows", torch.from_numpy(rows))
        self.register_buffer("columns", torch.from_numpy(columns))

    def forward(self, pictures: Tensor) -> Tensor:
        """(n, C, H, W) to (n, C, h, w)."""
        return self.get_buffer("rows") @ pictures @ self.get_buffer("columns").T


def build_resize(trace: Trace, node: NodeProto, attributes: dict[str, Any]) -> nn.Module:
    """The module of a Resize node, called with the picture only.

    Raises:
        NotImplementedError: It resizes batch or channels, crops, or uses antialiasing.
    """
    taken = trace.values[node.input[0]].shape
    made = trace.values[node.output[0]].shape
    if (
        len(taken) != 4
        or taken[:2] != made[:2]
        or attributes.get("antialias")
        or max(*taken[2:], *made[2:]) > MAX_SIDE
    ):
        raise NotImplementedError(f"Resize from {list(taken)} to {list(made)}")
    mode = attributes.get("mode", b"nearest").decode()
    coordinates = attributes.get("coordinate_transformation_mode", b"half_pixel").decode()
    scales = _read_scales(trace, node, taken, made)
    exact = all(
        scale * old == new for scale, old, new in zip(scales, taken[2:], made[2:], strict=True)
    )
    size = (made[2], made[3])
    if mode == "nearest":
        rounding = attributes.get("nearest_mode", b"round_prefer_floor").decode()
        rows, columns = (
            _round(_map_coordinates(old, new, scale, coordinates), rounding).clip(0, old - 1)
            for old, new, scale in zip(taken[2:], size, scales, strict=True)
        )
        return NearestResize(rows.astype(numpy.int64), columns.astype(numpy.int64))
    aligned = coordinates == "align_corners"
    usual = coordinates == "half_pixel" or (coordinates == "pytorch_half_pixel" and min(size) > 1)
    if (usual and exact) or aligned:
        return TorchResize(size, "bilinear" if mode == "linear" else "bicubic", aligned)
    if mode != "linear":
        raise NotImplementedError(f"Resize of mode {mode} with {coordinates}")
    rows, columns = (
        _create_interpolation(_map_coordinates(old, new, scale, coordinates), old)
        for old, new, scale in zip(taken[2:], size, scales, strict=True)
    )
    return LinearResize(rows, columns)


def _read_scales(
    trace: Trace, node: NodeProto, taken: tuple[int, ...], made: tuple[int, ...]
) -> tuple[float, float]:
    # In opset 10 the scales are the second input; later opsets have roi before them.
    place = 1 if trace.opset < 11 else 2
    name = node.input[place] if len(node.input) > place else ""
    scales = trace.read_constant(name).ravel() if name else numpy.zeros(0)
    if len(scales) < 2:
        return made[2] / taken[2], made[3] / taken[3]
    return float(scales[-2]), float(scales[-1])


def _map_coordinates(old: int, new: int, scale: float, coordinates: str) -> NDArray[numpy.float64]:
    """The position of each new row or column among the old ones."""
    places = numpy.arange(new, dtype=numpy.float64)
    if coordinates == "asymmetric":
        return places / scale
    if coordinates == "align_corners":
        return places * ((old - 1) / (new - 1) if new > 1 else 0.0)
    if coordinates == "pytorch_half_pixel" and new == 1:
        return numpy.zeros(1)
    if coordinates in ("half_pixel", "pytorch_half_pixel"):
        return (places + 0.5) / scale - 0.5
    raise NotImplementedError(f"Resize with {coordinates}")


def _round(places: NDArray[numpy.float64], rounding: str) -> NDArray[numpy.float64]:
    if rounding.startswith("round"):
        places = places + (0.5 if rounding == "round_prefer_ceil" else -0.5)
    up = rounding in ("ceil", "round_prefer_floor")
    return numpy.ceil(places) if up else numpy.floor(places)


def _create_interpolation(places: NDArray[numpy.float64], old: int) -> NDArray[numpy.float32]:
    """(new, old): the weight of each old row in each new one."""
    places = places.clip(0, old - 1)
    low = numpy.floor(places).astype(numpy.int64)
    high = (low + 1).clip(0, old - 1)
    share = (places - low).astype(numpy.float32)
    mixture = numpy.zeros((len(places), old), numpy.float32)
    numpy.add.at(mixture, (numpy.arange(len(places)), low), 1 - share)
    numpy.add.at(mixture, (numpy.arange(len(places)), high), share)
    return mixture
