"""Each operator as PyTorch computes it against onnxruntime, in every form exporters write."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.convert.convert import convert_graph
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.graphs.shapes import trace_graph

Array = NDArray[Any]
GENERATOR = numpy.random.default_rng(0)
PICTURE = GENERATOR.normal(size=(1, 4, 10, 12)).astype(numpy.float32)
ROWS = GENERATOR.normal(size=(1, 6)).astype(numpy.float32)


def _ints(*values: int) -> Array:
    return numpy.array(values, numpy.int64)


def _floats(*shape: int) -> Array:
    return GENERATOR.normal(size=shape).astype(numpy.float32)


Form = tuple[str, int, Array, Sequence[Array | None], dict[str, Any]]

FORMS: dict[str, Form] = {
    "clip attributes": ("Clip", 7, PICTURE, [], {"min": -0.5, "max": 0.5}),
    "clip below only": ("Clip", 11, PICTURE, [numpy.float32(-0.2), None], {}),
    "clip above only": ("Clip", 13, PICTURE, [None, numpy.float32(0.3)], {}),
    "clip nothing": ("Clip", 13, PICTURE, [None, None], {}),
    "conv same upper": ("Conv", 11, PICTURE, [_floats(5, 4, 4, 4)], {"auto_pad": "SAME_UPPER"}),
    "conv same lower": (
        "Conv",
        11,
        PICTURE,
        [_floats(5, 4, 4, 4), _floats(5)],
        {"auto_pad": "SAME_LOWER", "strides": [2, 3]},
    ),
    "conv uneven pads": ("Conv", 11, PICTURE, [_floats(5, 4, 3, 3)], {"pads": [0, 1, 2, 0]}),
    "conv grouped, dilated": (
        "Conv",
        22,
        PICTURE,
        [_floats(6, 2, 3, 3), _floats(6)],
        {"group": 2, "dilations": [2, 1]},
    ),
    "conv transposed": (
        "ConvTranspose",
        11,
        PICTURE,
        [_floats(4, 3, 4, 4), _floats(3)],
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 0]},
    ),
    "gemm plain": ("Gemm", 11, ROWS, [_floats(6, 5)], {}),
    "gemm scaled": (
        "Gemm",
        13,
        ROWS,
        [_floats(5, 6), _floats(5)],
        {"transB": 1, "alpha": 0.5, "beta": 2.0},
    ),
    "gemm matrix bias": ("Gemm", 11, ROWS, [_floats(6, 5), _floats(1, 5)], {}),
    "matmul": ("MatMul", 13, ROWS, [_floats(6, 5)], {}),
    "matmul of a picture": ("MatMul", 13, PICTURE, [_floats(12, 7)], {}),
    "slope per channel": ("PRelu", 11, PICTURE, [_floats(4, 1, 1)], {}),
    "slope for all": ("PRelu", 16, PICTURE, [_floats(1)], {}),
    "pad attributes": ("Pad", 10, PICTURE, [], {"pads": [0, 0, 1, 2, 0, 0, 3, 0], "value": 0.5}),
    "pad reflect": ("Pad", 11, PICTURE, [_ints(0, 0, 1, 2, 0, 0, 3, 0)], {"mode": "reflect"}),
    "pad edge": ("Pad", 13, PICTURE, [_ints(0, 0, 1, 2, 0, 0, 3, 0)], {"mode": "edge"}),
    "pad negative": (
        "Pad",
        13,
        PICTURE,
        [_ints(0, 0, -1, 2, 0, 0, 3, -2), numpy.float32(1.5)],
        {},
    ),
    "pad axes": ("Pad", 18, PICTURE, [_ints(1, 2, 3, 0), None, _ints(-2, 3)], {}),
    "pad around": ("Pad", 19, PICTURE, [_ints(0, 0, 1, 2, 0, 0, 3, 0)], {"mode": "wrap"}),
    "reduce attributes": ("ReduceMean", 11, PICTURE, [], {"axes": [-1, 2], "keepdims": 0}),
    "reduce input": ("ReduceMean", 18, PICTURE, [_ints(2, 3)], {}),
    "reduce all": ("ReduceSum", 13, PICTURE, [], {}),
    "reduce nothing": ("ReduceSum", 13, PICTURE, [], {"noop_with_empty_axes": 1}),
    "reduce norm": ("ReduceL2", 18, PICTURE, [_ints(1)], {}),
    "reduce absolute": ("ReduceL1", 13, PICTURE, [], {"axes": [1]}),
    "reduce most": ("ReduceMax", 18, PICTURE, [_ints(1)], {}),
    "reduce least": ("ReduceMin", 13, PICTURE, [], {"axes": [3]}),
    "reduce squares": ("ReduceSumSquare", 13, PICTURE, [], {"axes": [2, 3]}),
    "reduce exponents": ("ReduceLogSumExp", 18, PICTURE, [_ints(1)], {"keepdims": 0}),
    "reshape": ("Reshape", 13, PICTURE, [_ints(1, -1, 0)], {}),
    "reshape allowing zero": ("Reshape", 14, PICTURE, [_ints(1, 2, -1)], {"allowzero": 1}),
    "reshape without batch": ("Reshape", 13, PICTURE, [_ints(4, -1)], {}),
    "flatten": ("Flatten", 13, PICTURE, [], {"axis": 1}),
    "squeeze": ("Squeeze", 11, PICTURE, [], {"axes": [0]}),
    "squeeze input": ("Squeeze", 13, PICTURE, [_ints(0)], {}),
    "unsqueeze": ("Unsqueeze", 11, ROWS, [], {"axes": [2, 3]}),
    "unsqueeze input": ("Unsqueeze", 21, ROWS, [_ints(-1)], {}),
    "expand": ("Expand", 13, ROWS[..., None], [_ints(1, 6, 5)], {}),
    "expand to more axes": ("Expand", 13, ROWS, [_ints(3, 2, 1, 6)], {}),
    "tile": ("Tile", 13, PICTURE, [_ints(1, 2, 1, 3)], {}),
    "slice attributes": ("Slice", 9, PICTURE, [], {"starts": [1], "ends": [3], "axes": [1]}),
    "slice to the end": ("Slice", 11, PICTURE, [_ints(2), _ints(2**63 - 1), _ints(-1)], {}),
    "slice backwards": (
        "Slice",
        13,
        PICTURE,
        [_ints(-1, 8), _ints(-(2**63), 2), _ints(3, 2), _ints(-1, -2)],
        {},
    ),
    "slice all axes": ("Slice", 13, PICTURE, [_ints(0, 1, 2, 3), _ints(1, 3, 9, -1)], {}),
    "split equal": ("Split", 11, PICTURE, [], {"axis": 1}),
    "split sizes": ("Split", 13, PICTURE, [_ints(1, 3)], {"axis": 1}),
    "split count": ("Split", 18, PICTURE, [], {"axis": 3, "num_outputs": 2}),
    "instance norm": ("InstanceNormalization", 11, PICTURE, [_floats(4), _floats(4)], {}),
    "batch norm": (
        "BatchNormalization",
        15,
        PICTURE,
        [_floats(4), _floats(4), _floats(4), numpy.abs(_floats(4)) + 0.1],
        {"epsilon": 1e-3},
    ),
    "power": ("Pow", 13, numpy.abs(PICTURE), [numpy.float32(2.5)], {}),
    "gather": ("Gather", 13, PICTURE, [_ints(2, 0, 1)], {"axis": 1}),
    "softmax": ("Softmax", 13, PICTURE, [], {"axis": 1}),
    "average": ("AveragePool", 11, PICTURE, [], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "to half and back": ("Cast", 13, PICTURE, [], {"to": TensorProto.FLOAT}),
}

RESIZED = [
    ("nearest", "asymmetric", "floor", (2.0, 2.0)),
    ("nearest", "asymmetric", "round_prefer_floor", (4.0, 4.0)),
    ("nearest", "half_pixel", "round_prefer_ceil", (3.0, 1.5)),
    ("nearest", "half_pixel", "ceil", (0.5, 0.5)),
    ("nearest", "pytorch_half_pixel", "round_prefer_floor", (2.0, 2.0)),
    ("nearest", "align_corners", "round_prefer_floor", (2.0, 2.0)),
    ("linear", "half_pixel", "floor", (2.0, 2.0)),
    ("linear", "pytorch_half_pixel", "floor", (2.0, 0.5)),
    ("linear", "align_corners", "floor", (2.0, 2.0)),
    ("linear", "asymmetric", "floor", (2.0, 2.0)),
    ("linear", "half_pixel", "floor", (1.37, 1.71)),
    ("cubic", "half_pixel", "floor", (2.0, 2.0)),
]


def _write(
    path: Path,
    kind: str,
    opset: int,
    given: Array,
    constants: Sequence[Array | None],
    attributes: dict[str, Any],
    outputs: int = 1,
) -> None:
    names = ["" if constant is None else f"c{i}" for i, constant in enumerate(constants)]
    while names and not names[-1] and kind != "Clip":
        names.pop()
    made = ["output", *(f"more{i}" for i in range(1, outputs))]
    graph = helper.make_graph(
        [helper.make_node(kind, ["input", *names], made, **attributes)],
        "one",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, given.shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in made],
        [
            numpy_helper.from_array(numpy.asarray(constant), f"c{i}")
            for i, constant in enumerate(constants)
            if constant is not None
        ],
    )
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10 if opset > 20 else 8)
    path.write_bytes(model.SerializeToString())


def _compare(path: Path, given: Array) -> None:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = session.run(["output"], {"input": given})[0]
    network = convert_graph(trace_graph(open_model(path)))
    made = network(torch.from_numpy(given))
    made = made[0] if isinstance(made, tuple | list) else made
    numpy.testing.assert_allclose(made.numpy(), expected, atol=2e-5, rtol=1e-5)
    if expected.shape[0] != 1:
        return
    several = numpy.concatenate([given, given[:, ::-1], -given])
    rows = [session.run(["output"], {"input": one[None]})[0] for one in several]
    batch = network(torch.from_numpy(several))
    batch = batch[0] if isinstance(batch, tuple | list) else batch
    numpy.testing.assert_allclose(
        batch.numpy().reshape(3, -1), numpy.stack(rows).reshape(3, -1), atol=2e-5, rtol=1e-5
    )


@pytest.mark.parametrize("form", FORMS)
def test_form(form: str, tmp_path: Path) -> None:
    kind, opset, given, constants, attributes = FORMS[form]
    outputs = 2 if kind == "Split" else 1
    path = tmp_path / "one.onnx"
    _write(path, kind, opset, given, constants, attributes, outputs)
    _compare(path, given)


@pytest.mark.parametrize("opset", [11, 13, 18, 19])
@pytest.mark.parametrize(("mode", "coordinates", "rounding", "scales"), RESIZED)
def test_resize(
    mode: str,
    coordinates: str,
    rounding: str,
    scales: tuple[float, float],
    opset: int,
    tmp_path: Path,
) -> None:
    path = tmp_path / "one.onnx"
    attributes = {
        "mode": mode,
        "coordinate_transformation_mode": coordinates,
        "nearest_mode": rounding,
    }
    roi, factors = numpy.zeros(0, numpy.float32), numpy.array([1, 1, *scales], numpy.float32)
    _write(path, "Resize", opset, PICTURE, [roi, factors], attributes)
    _compare(path, PICTURE)
    if coordinates != "asymmetric" and all(scale == int(scale * 2) / 2 for scale in scales):
        sizes = _ints(1, 4, int(10 * scales[0]), int(12 * scales[1]))
        empty = numpy.zeros(0, numpy.float32) if opset < 13 else None
        _write(path, "Resize", opset, PICTURE, [roi, empty, sizes], attributes)
        _compare(path, PICTURE)


@pytest.mark.parametrize(
    ("kind", "opset", "given", "constants", "attributes"),
    [
        ("Resize", 13, PICTURE, [None, numpy.array([1, 2, 1, 1], numpy.float32)], {}),
        ("Pad", 11, PICTURE, [_ints(0, 1, 0, 0, 0, 0, 0, 0)], {"mode": "reflect"}),
        ("Asinh", 11, PICTURE, [], {}),
    ],
)
def test_what_no_swapper_needs_is_refused_by_name(
    kind: str,
    opset: int,
    given: Array,
    constants: Sequence[Array | None],
    attributes: dict[str, Any],
    tmp_path: Path,
) -> None:
    path = tmp_path / "one.onnx"
    _write(path, kind, opset, given, constants, attributes)
    with pytest.raises(SwapperError, match=f"cannot be converted to PyTorch .*{kind}"):
        convert_graph(trace_graph(open_model(path)))


def test_bounds_worked_out_by_nodes(tmp_path: Path) -> None:
    half = numpy_helper.from_array(numpy.float32(0.5))
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], ["half"], value=half),
            helper.make_node("Neg", ["half"], ["low"]),
            helper.make_node("Shape", ["input"], ["shape"]),
            helper.make_node("Gather", ["shape", "first"], ["one"]),
            helper.make_node("Cast", ["one"], ["high"], to=TensorProto.FLOAT),
            helper.make_node("Clip", ["input", "low", "high"], ["output"]),
        ],
        "bounds",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 4, 10, 12])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch", 4, 10, 12])],
        [numpy_helper.from_array(numpy.int64(0), "first")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path = tmp_path / "bounds.onnx"
    onnx.save(model, str(path))
    _compare(path, PICTURE)


def test_resize_of_absurd_sides_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one.onnx"
    long = numpy.zeros((1, 1, 1, 9000), numpy.float32)
    factors = numpy.array([1, 1, 1, 1.5], numpy.float32)
    attributes = {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}
    _write(path, "Resize", 13, long, [None, factors], attributes)
    with pytest.raises(SwapperError, match="Resize from"):
        convert_graph(trace_graph(open_model(path)))
