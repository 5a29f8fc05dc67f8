"""Writes the demo's networks as ONNX, node by node, in the layout of the files they imitate.

torch's exporter would choose its own names and operators. Code that reads a swapper depends on
inswapper's: operator order, layer names, opset 11, batch 1 and `buff2fs` as the last initializer.
"""

from typing import Any

import numpy
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from facefusion_finetune.demo.geometry import CROP_SIZE, READER_FACTORS
from facefusion_finetune.demo.networks.modules import (
    DECODER,
    ENCODER,
    STYLES,
    VECTOR,
    WIDTH,
    Judge,
    Reader,
    Recogniser,
    Swapper,
)

OPSET, IR_VERSION = 11, 6


class _Graph:
    """A graph under construction; tensors are referred to by name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def constant(self, value: NDArray[Any], name: str | None = None) -> str:
        name = name or f"const_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(numpy.ascontiguousarray(value), name))
        return name

    def scalar(self, value: float) -> str:
        return self.constant(numpy.array(value, dtype=numpy.float32))

    def integers(self, *values: int) -> str:
        return self.constant(numpy.array(values, dtype=numpy.int64))

    def add(
        self, kind: str, *inputs: str, name: str | None = None, out: str | None = None, **rest: Any
    ) -> str:
        index = len(self.nodes)
        out = out or f"tensor_{index}"
        name = name or f"{kind}_n{index}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=name, **rest))
        return out

    def convolve(self, x: str, name: str, layer: nn.Conv2d, pad: int) -> str:
        weights = [self.constant(_array(layer.weight), f"{name}.weight")]
        if layer.bias is not None:
            weights.append(self.constant(_array(layer.bias), f"{name}.bias"))
        return self.add(
            *("Conv", x, *weights),
            name=name,
            kernel_shape=list(layer.kernel_size),
            strides=list(layer.stride),
            pads=[pad] * 4,
            dilations=[1, 1],
            group=1,
        )

    def multiply_matrix(self, x: str, name: str, layer: nn.Linear, out: str | None = None) -> str:
        weight = self.constant(_array(layer.weight), f"{name}.weight")
        bias = self.constant(_array(layer.bias), f"{name}.bias")
        return self.add("Gemm", x, weight, bias, name=name, out=out, transB=1)

    def normalise(self, x: str, name: str, layer: nn.BatchNorm2d) -> str:
        assert layer.running_mean is not None
        assert layer.running_var is not None
        values = {
            "weight": layer.weight,
            "bias": layer.bias,
            "running_mean": layer.running_mean,
            "running_var": layer.running_var,
        }
        made = [self.constant(_array(value), f"{name}.{key}") for key, value in values.items()]
        return self.add("BatchNormalization", x, *made, name=name, epsilon=layer.eps)

    def finish(self, inputs: dict[str, list[int]], shape: list[int]) -> onnx.ModelProto:
        """The checked model; its output is the tensor named `output`."""
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in inputs.items()],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
            self.initializers,
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(
            graph, opset_imports=[opset], producer_name="facefusion-finetune-demo"
        )
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model


def _array(tensor: torch.Tensor) -> NDArray[numpy.float32]:
    values: NDArray[numpy.float32] = tensor.detach().numpy().astype(numpy.float32)
    return values


def write_swapper(network: Swapper) -> onnx.ModelProto:
    """The swapper's graph: inputs `target` 1 x 3 x 64 x 64 and `source` 1 x 512."""
    graph = _Graph("inswapper_demo")

    def convolve(x: str, number: str) -> str:
        layer = network.convolutions[number]
        assert isinstance(layer, nn.Conv2d)
        pad = layer.kernel_size[0] // 2
        if layer.padding_mode == "reflect":
            pads = graph.integers(0, 0, pad, pad, 0, 0, pad, pad)
            x = graph.add("Pad", x, pads, name=f"Pad_{int(number) - 1}", mode="reflect")
            pad = 0
        return graph.convolve(x, f"Conv_{number}", layer, pad)

    def leak(x: str, number: str) -> str:
        return graph.add("LeakyRelu", x, name=f"LeakyRelu_{int(number) + 1}", alpha=0.2)

    def style(x: str, number: str) -> str:
        x = convolve(x, number)
        x = graph.add("Sub", x, graph.add("ReduceMean", x, axes=[2, 3], keepdims=1))
        square = graph.add("Mul", x, x)
        spread = graph.add("ReduceMean", square, axes=[2, 3], keepdims=1)
        root = graph.add("Sqrt", graph.add("Add", spread, graph.scalar(1e-8)))
        x = graph.add("Mul", x, graph.add("Div", graph.scalar(1.0), root))
        layer = network.modulations[number]
        assert isinstance(layer, nn.Linear)
        row = graph.multiply_matrix("source", f"Gemm_{int(number) + 11}", layer)
        row = graph.add("Unsqueeze", graph.add("Unsqueeze", row, axes=[2]), axes=[3])
        halves = []
        for start in (0, WIDTH):
            bounds = (graph.integers(start), graph.integers(start + WIDTH), graph.integers(1))
            halves.append(graph.add("Slice", row, *bounds))
        return graph.add("Add", graph.add("Mul", x, halves[0]), halves[1])

    x = "target"
    for number in ENCODER:
        x = leak(convolve(x, number), number)
    for first, second in zip(STYLES[::2], STYLES[1::2], strict=True):
        branch = graph.add("Relu", style(x, first), name=f"Relu_{int(first) + 26}")
        x = graph.add("Add", x, style(branch, second), name=f"Add_{int(second) + 26}")
    for number in DECODER:
        if number in ("590", "594"):
            x = graph.add(
                *("Resize", x),
                graph.constant(numpy.zeros(0, numpy.float32)),
                graph.constant(numpy.array([1, 1, 2, 2], numpy.float32)),
                name=f"Resize_{int(number) - 1}",
                mode="linear",
                coordinate_transformation_mode="half_pixel",
            )
        x = convolve(x, number)
        if number != "612":
            x = leak(x, number)
    x = graph.add("Add", graph.add("Tanh", x, name="Tanh_613"), graph.scalar(1.0))
    graph.add("Div", x, graph.scalar(2.0), out="output")
    graph.constant(_array(network.emap), "buff2fs")  # the host reads it as the last initializer
    picture = [1, 3, CROP_SIZE, CROP_SIZE]
    return graph.finish({"target": picture, "source": [1, VECTOR]}, picture)


def write_recogniser(network: Recogniser) -> onnx.ModelProto:
    """The recogniser's graph: input `input` 1 x 3 x 64 x 64, output 1 x 512."""
    graph = _Graph("demo_recogniser")
    x = "input"
    for index, (taken, made, kernel, _) in enumerate(network.SHAPES):
        layer, norm, slope = (network.layers[index], network.norms[index], network.slopes[index])
        assert isinstance(layer, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        assert isinstance(slope, nn.PReLU)
        y = graph.normalise(
            graph.convolve(x, f"conv_{index}", layer, kernel // 2), f"norm_{index}", norm
        )
        leak = graph.constant(_array(slope.weight)[:, None, None], f"slope_{index}.weight")
        y = graph.add("PRelu", y, leak, name=f"slope_{index}")
        x = graph.add("Add", x, y) if taken == made else y
    return _write_vector(graph, x, network)


def write_judge(network: Judge) -> onnx.ModelProto:
    """The judge's graph: input `input` 1 x 3 x 64 x 64, output 1 x 512."""
    graph = _Graph("demo_judge")
    x = "input"
    for index in range(len(network.SHAPES)):
        layer, norm = network.layers[index], network.norms[index]
        assert isinstance(layer, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        x = graph.normalise(graph.convolve(x, f"conv_{index}", layer, 1), f"norm_{index}", norm)
        x = graph.add("Relu", x, name=f"relu_{index}")
        if index in network.POOLED:
            x = graph.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    return _write_vector(graph, x, network)


def write_reader(network: Reader) -> onnx.ModelProto:
    """The reader's graph: input `input` 1 x 3 x 64 x 64, output 1 x len(READER_FACTORS)."""
    graph = _Graph("demo_reader")
    x = "input"
    for index, (_, _, kernel, _) in enumerate(network.SHAPES):
        layer, norm = network.layers[index], network.norms[index]
        assert isinstance(layer, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        x = graph.convolve(x, f"conv_{index}", layer, kernel // 2)
        x = graph.add("Relu", graph.normalise(x, f"norm_{index}", norm), name=f"relu_{index}")
    x = graph.add("Flatten", graph.convolve(x, "reduce", network.reduce, 0), axis=1)
    x = graph.add("Relu", graph.multiply_matrix(x, "hidden", network.hidden), name="relu_hidden")
    graph.multiply_matrix(x, "factors", network.factors, out="output")
    return graph.finish({"input": [1, 3, CROP_SIZE, CROP_SIZE]}, [1, len(READER_FACTORS)])


def _write_vector(graph: _Graph, x: str, network: Recogniser | Judge) -> onnx.ModelProto:
    x = graph.add("Flatten", graph.convolve(x, "reduce", network.reduce, 0), axis=1)
    x = graph.multiply_matrix(x, "hidden", network.hidden)
    graph.multiply_matrix(x, "vector", network.vector, out="output")
    return graph.finish({"input": [1, 3, CROP_SIZE, CROP_SIZE]}, [1, VECTOR])


def read_weights(network: Recogniser | Judge | Reader | Swapper, model: onnx.ModelProto) -> None:
    """Load the weights of a model written by this module.

    The network is in evaluation mode afterwards.
    """
    made = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    state = network.state_dict()
    for key, tensor in state.items():
        if not key.endswith("num_batches_tracked"):
            tensor.copy_(torch.from_numpy(made[_name(key)].reshape(tensor.shape).copy()))
    network.eval()


def _name(key: str) -> str:
    """The initializer's name for a key of the module's state dict."""
    if key == "emap":
        return "buff2fs"
    module, *rest = key.split(".")
    if module == "convolutions":
        return f"Conv_{'.'.join(rest)}"
    if module == "modulations":
        return f"Gemm_{int(rest[0]) + 11}.{rest[1]}"
    numbered = {"layers": "conv", "norms": "norm", "slopes": "slope"}
    return f"{numbered[module]}_{'.'.join(rest)}" if module in numbered else key
