"""What a swapper's graph may hold. An ONNX file is untrusted input."""

import math
from collections.abc import Sequence

import onnx
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)

from facefusion_finetune.swappers.files.wire import WireError

LARGEST_RANK = 8


# fmt: off
OPERATORS = frozenset({
    "Abs", "Acos", "Acosh", "Add", "And", "Asin", "Asinh", "Atan", "Atanh", "AveragePool",
    "BatchNormalization", "Cast", "Ceil", "Celu", "Clip", "Concat", "Constant", "ConstantOfShape",
    "Conv", "ConvTranspose", "Cos", "Cosh", "DepthToSpace", "Div", "Dropout", "Elu", "Equal",
    "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "Gelu", "Gemm", "GlobalAveragePool",
    "GlobalMaxPool", "Greater", "GreaterOrEqual", "GroupNormalization", "HardSigmoid", "HardSwish",
    "Identity", "InstanceNormalization", "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual",
    "Log", "LogSoftmax", "MatMul", "Max", "MaxPool", "Mean", "Min", "Mish", "Mod", "Mul", "Neg",
    "Not", "Or", "PRelu", "Pad", "Pow", "Range", "Reciprocal", "ReduceL1", "ReduceL2",
    "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd",
    "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Resize", "Round", "Selu", "Shape",
    "Sigmoid", "Sign", "Sin", "Sinh", "Slice", "Softmax", "Softplus", "Softsign", "SpaceToDepth",
    "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Swish", "Tan", "Tanh", "ThresholdedRelu", "Tile",
    "Transpose", "Unsqueeze", "Upsample", "Where", "Xor",
})
# fmt: on
"""Standard operators whose output has a size known beforehand and takes time in proportion."""

NUMBERS = frozenset(
    {
        *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BOOL),
        *(TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
        *(TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
    }
)
"""Types that numpy has, too."""


MOST_NODES = 10_000
MOST_NAMES = 64
"""Inputs or outputs of one node."""
LARGEST_DIM = 1 << 31
LARGEST_TENSOR = 1 << 31
"""Numbers in one tensor."""
OPSETS = range(7, 26)
IR_VERSIONS = range(3, 14)
OPEN_ENDED = ("start", "end", "value_int")
"""Attributes that may be as large as numbers get."""
PADDINGS = (b"NOTSET", b"VALID", b"SAME_UPPER", b"SAME_LOWER")
STANDARD_DOMAINS = frozenset({"", "ai.onnx"})


def check_tensor(tensor: TensorProto, decode: bool) -> None:
    """Check name, type and dims of a tensor, and its numbers where it has them in itself.

    Args:
        tensor: The tensor.
        decode: Whether its numbers are in it and have to fit.

    Raises:
        WireError: Something does not hold.
    """
    name = tensor.name or "without a name"
    if tensor.data_type not in NUMBERS:
        raise WireError(f"tensor {name!r} is of the unknown type {tensor.data_type}")
    kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    check_dims(tensor.dims, name)
    if not decode:
        return
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise WireError(f"tensor {name!r} lies outside the file, where only initializers may")
    fields = (
        *(tensor.float_data, tensor.int32_data, tensor.int64_data),
        *(tensor.double_data, tensor.uint64_data),
    )
    held = len(tensor.raw_data) + 8 * sum(map(len, fields))
    count = math.prod(tensor.dims)
    # Before numpy is asked: it would make room for what the dims claim.
    if count * kind.itemsize > max(held, 1) * 2:
        raise WireError(f"tensor {name!r} of shape {list(tensor.dims)} has too few numbers")
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WireError(f"tensor {name!r} cannot be decoded ({error})") from error
    if array.shape != tuple(tensor.dims):
        raise WireError(f"tensor {name!r} does not have the shape {list(tensor.dims)}")


def check_dims(dims: "list[int] | tuple[int, ...]", name: str) -> None:
    """Check that a shape is one that can be."""
    if (
        len(dims) > LARGEST_RANK
        or any(not 0 <= dim < LARGEST_DIM for dim in dims)
        or math.prod(dims) > LARGEST_TENSOR
    ):
        raise WireError(f"tensor {name!r} has the impossible shape {list(dims)}")


def check_graph(model: ModelProto) -> None:
    """Check names, order, operators and attributes of a graph.

    Raises:
        WireError: Something does not hold.
    """
    graph = model.graph
    if model.ir_version not in IR_VERSIONS:
        raise WireError(f"its IR version {model.ir_version} is unknown")
    if model.functions or model.training_info or graph.sparse_initializer:
        raise WireError("it holds functions, training steps or sparse weights, which are refused")
    opset = _check_domains(model)
    if not 0 < len(graph.node) <= MOST_NODES:
        raise WireError(f"it has {len(graph.node)} nodes")
    _check_names(graph)
    for index, node in enumerate(graph.node):
        _check_node(node, node.name or f"number {index}", opset)


def get_opset(model: ModelProto) -> int:
    """Version of the standard operators."""
    return int(next(e.version for e in model.opset_import if e.domain in STANDARD_DOMAINS))


def fits_convolution(node: NodeProto, shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether shapes and attributes of a convolution go together, which onnx does not ask.

    Args:
        node: A Conv or ConvTranspose.
        shapes: Of what it works on, its weight, and its bias if it has one.
    """
    taken, weight, *bias = shapes
    if len(taken) != len(weight) or len(weight) < 3:
        return False
    attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    group = attributes.get("group", 1)
    transposed = node.op_type == "ConvTranspose"
    made = weight[1] * group if transposed else weight[0]
    return (
        taken[1] == (weight[0] if transposed else weight[1] * group)
        and weight[0] % group == 0
        and list(attributes.get("kernel_shape", weight[2:])) == list(weight[2:])
        and attributes.get("auto_pad", b"NOTSET") in PADDINGS
        and all(shape == (made,) for shape in bias)
    )


def _check_domains(model: ModelProto) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS]
    if len(versions) != 1 or versions[0] not in OPSETS:
        raise WireError(f"its opset {versions or 'missing'} is unknown")
    foreign = sorted({node.domain for node in model.graph.node} - STANDARD_DOMAINS)
    if foreign:
        raise WireError(f"it needs operators of the domain {foreign[0]!r}, which are refused")
    return int(versions[0])


def _check_names(graph: GraphProto) -> None:
    known = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input]
    if len(set(inputs)) < len(inputs) or "" in inputs:
        raise WireError("two inputs have one name, or one has none")
    known.update(inputs)
    made: set[str] = set()
    nodes = [node.name for node in graph.node if node.name]
    if len(set(nodes)) < len(nodes):
        raise WireError("two nodes have one name")
    for index, node in enumerate(graph.node):
        name = node.name or f"number {index}"
        if len(node.input) > MOST_NAMES or len(node.output) > MOST_NAMES:
            raise WireError(f"node {name!r} has too many inputs or outputs")
        for wanted in node.input:
            if wanted and wanted not in known:
                raise WireError(
                    f"node {name!r} uses {wanted!r}, which nothing before it makes: the graph is"
                    " cyclic, out of order or incomplete"
                )
        outputs = [output for output in node.output if output]
        if not outputs or len(set(outputs)) < len(outputs) or known & set(outputs):
            raise WireError(f"node {name!r} makes nothing, or what is there already")
        known.update(outputs)
        made.update(outputs)
    results = [value.name for value in graph.output]
    if not results or len(set(results)) < len(results) or not set(results) <= made:
        raise WireError("its outputs are missing, doubled, or made by no node")


def _check_node(node: NodeProto, name: str, opset: int) -> None:
    try:
        schema = onnx.defs.get_schema(node.op_type, opset)
    except onnx.defs.SchemaError as error:
        raise WireError(f"node {name!r} is of the unknown kind {node.op_type!r}") from error
    if node.op_type not in OPERATORS:
        raise WireError(f"node {name!r} is of the kind {node.op_type!r}, which no swapper needs")
    if schema.deprecated:
        raise WireError(f"node {name!r} is of the abolished kind {node.op_type!r}")
    if (
        not schema.min_input <= len(node.input) <= schema.max_input
        or not schema.min_output <= len(node.output) <= schema.max_output
    ):
        raise WireError(f"node {name!r} has the wrong number of inputs or outputs")
    for given, formal in ((node.input, schema.inputs), (node.output, schema.outputs)):
        optional = onnx.defs.OpSchema.FormalParameterOption.Optional
        if any(
            not one and formal[min(place, len(formal) - 1)].option != optional
            for place, one in enumerate(given)
        ):
            raise WireError(f"node {name!r} leaves out what it cannot do without")
    seen: set[str] = set()
    for attribute in node.attribute:
        if attribute.name in seen:
            raise WireError(f"node {name!r} has the attribute {attribute.name!r} twice")
        seen.add(attribute.name)
        _check_attribute(attribute, schema, name)
    counts = [entry.i for entry in node.attribute if entry.name == "num_outputs"]
    # onnx believes the number and reads beyond its list.
    if counts not in ([], [len(node.output)]):
        raise WireError(f"node {name!r} does not make as many tensors as it says")
    missing = [key for key, entry in schema.attributes.items() if entry.required]
    if not set(missing) <= seen:
        raise WireError(f"node {name!r} lacks one of the attributes {missing}")


def _check_attribute(attribute: AttributeProto, schema: onnx.defs.OpSchema, name: str) -> None:
    key = attribute.name
    if attribute.ref_attr_name or key not in schema.attributes:
        raise WireError(f"node {name!r} has the unknown attribute {key!r}")
    if attribute.g.node or attribute.graphs or attribute.HasField("g"):
        raise WireError(f"node {name!r} holds a graph of its own, which is refused")
    if attribute.HasField("sparse_tensor") or attribute.sparse_tensors or attribute.tensors:
        raise WireError(f"node {name!r} holds weights of a kind that is refused")
    kind = str(schema.attributes[key].type).rpartition(".")[2]
    if attribute.type != AttributeProto.AttributeType.Value(kind):
        raise WireError(f"the attribute {key!r} of node {name!r} is of the wrong type")
    if not attribute.s.isascii():
        raise WireError(f"the attribute {key!r} of node {name!r} is no word")
    if key not in OPEN_ENDED and abs(attribute.i) >= 1 << 31:
        raise WireError(f"the attribute {key!r} of node {name!r} is impossible")
    if attribute.HasField("t"):
        check_tensor(attribute.t, True)
    if len(attribute.ints) > 4 * LARGEST_RANK and schema.name != "Constant":
        raise WireError(f"the attribute {key!r} of node {name!r} is too long")
    if key in ("strides", "dilations", "kernel_shape") and any(
        not 0 < value < 1 << 16 for value in attribute.ints
    ):
        raise WireError(f"the attribute {key!r} of node {name!r} is impossible")
    if key in ("pads", "output_padding", "output_shape") and any(
        abs(value) > 1 << 16 for value in attribute.ints
    ):
        raise WireError(f"the attribute {key!r} of node {name!r} is impossible")
    # onnx multiplies a block's size with itself before it divides by it.
    if key in ("group", "blocksize", "num_outputs") and not 0 < attribute.i < 1 << 16:
        raise WireError(f"the attribute {key!r} of node {name!r} is impossible")
