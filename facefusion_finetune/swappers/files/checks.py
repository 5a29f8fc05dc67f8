"""What a swapper's graph may contain. An ONNX file is untrusted input."""

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

from facefusion_finetune.swappers.files.order import order_nodes
from facefusion_finetune.swappers.files.wire import WireError

MAX_RANK = 8


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
"""Standard operators whose output size is known in advance and whose cost is proportional to it."""

NUMERIC_TYPES = frozenset(
    {
        *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BOOL),
        *(TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64),
        *(TensorProto.UINT8, TensorProto.UINT16, TensorProto.UINT32, TensorProto.UINT64),
    }
)
"""Tensor types that numpy also has."""


MAX_NODES = 10_000
MAX_NODE_TENSORS = 64
"""The most inputs, and the most outputs, of one node."""
MAX_DIM = 1 << 31
MAX_ELEMENTS = 1 << 31
"""Of one tensor."""
OPSETS = range(7, 26)
IR_VERSIONS = range(3, 14)
UNBOUNDED = ("start", "end", "value_int")
"""Attributes whose integers may be of any size."""
AUTO_PADS = (b"NOTSET", b"VALID", b"SAME_UPPER", b"SAME_LOWER")
STANDARD_DOMAINS = frozenset({"", "ai.onnx"})


def check_tensor(tensor: TensorProto, decode: bool) -> None:
    """Check a tensor's name, type and dims, and its values where they are in the message.

    Args:
        tensor: The tensor.
        decode: Whether its values are in the message and must fit.

    Raises:
        WireError: A check fails.
    """
    name = tensor.name or "(unnamed)"
    if tensor.data_type not in NUMERIC_TYPES:
        raise WireError(f"tensor {name!r} has the unknown type {tensor.data_type}")
    kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    check_dims(tensor.dims, name)
    if not decode:
        return
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise WireError(f"tensor {name!r} is external data, which only initializers may be")
    fields = (
        *(tensor.float_data, tensor.int32_data, tensor.int64_data),
        *(tensor.double_data, tensor.uint64_data),
    )
    held = len(tensor.raw_data) + 8 * sum(map(len, fields))
    count = math.prod(tensor.dims)
    # Before numpy is called: it would allocate whatever the dims claim.
    if count * kind.itemsize > max(held, 1) * 2:
        raise WireError(f"tensor {name!r} of shape {list(tensor.dims)} has too few values")
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WireError(f"tensor {name!r} cannot be decoded ({error})") from error
    if array.shape != tuple(tensor.dims):
        raise WireError(f"tensor {name!r} does not have the shape {list(tensor.dims)}")


def check_dims(dims: "list[int] | tuple[int, ...]", name: str) -> None:
    """Check that a shape is possible.

    Raises:
        WireError: It is not.
    """
    if (
        len(dims) > MAX_RANK
        or any(not 0 <= dim < MAX_DIM for dim in dims)
        or math.prod(dims) > MAX_ELEMENTS
    ):
        raise WireError(f"tensor {name!r} has the impossible shape {list(dims)}")


def check_graph(model: ModelProto) -> None:
    """Check a graph's names, operators and attributes, and that its nodes can be put in order.

    Raises:
        WireError: A check fails.
    """
    graph = model.graph
    if model.ir_version not in IR_VERSIONS:
        raise WireError(f"its IR version {model.ir_version} is unknown")
    if model.functions or model.training_info or graph.sparse_initializer:
        raise WireError(
            "it contains functions, training steps or sparse weights, which are refused"
        )
    opset = _check_domains(model)
    if not 0 < len(graph.node) <= MAX_NODES:
        raise WireError(f"it has {len(graph.node)} nodes")
    _check_names(graph)
    for index, node in enumerate(graph.node):
        _check_node(node, node.name or f"number {index}", opset)


def get_opset(model: ModelProto) -> int:
    """Version of the standard operator set."""
    return int(next(e.version for e in model.opset_import if e.domain in STANDARD_DOMAINS))


def fits_convolution(node: NodeProto, shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether a convolution's shapes and attributes are consistent, which onnx does not check.

    Args:
        node: A Conv or ConvTranspose.
        shapes: Of its input, its weight, and its bias if it has one.
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
        and attributes.get("auto_pad", b"NOTSET") in AUTO_PADS
        and all(shape == (made,) for shape in bias)
    )


def _check_domains(model: ModelProto) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS]
    if len(versions) != 1 or versions[0] not in OPSETS:
        raise WireError(f"its opset {versions or 'missing'} is unknown")
    foreign = sorted({node.domain for node in model.graph.node} - STANDARD_DOMAINS)
    if foreign:
        raise WireError(f"it needs operators from the domain {foreign[0]!r}, which are refused")
    return int(versions[0])


def _check_names(graph: GraphProto) -> None:
    known = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input]
    if len(set(inputs)) < len(inputs) or "" in inputs:
        raise WireError("two inputs share a name, or one has no name")
    known.update(inputs)
    nodes = [node.name for node in graph.node if node.name]
    if len(set(nodes)) < len(nodes):
        raise WireError("two nodes share a name")
    made: set[str] = set()
    for index, node in enumerate(graph.node):
        name = node.name or f"number {index}"
        if len(node.input) > MAX_NODE_TENSORS or len(node.output) > MAX_NODE_TENSORS:
            raise WireError(f"node {name!r} has too many inputs or outputs")
        outputs = [output for output in node.output if output]
        if not outputs or len(set(outputs)) < len(outputs) or not known.isdisjoint(outputs):
            raise WireError(f"node {name!r} has no output, or one that already exists")
        known.update(outputs)
        made.update(outputs)
    order_nodes(graph)
    results = [value.name for value in graph.output]
    if not results or len(set(results)) < len(results) or not set(results) <= made:
        raise WireError("its outputs are missing, duplicated, or produced by no node")


def _check_node(node: NodeProto, name: str, opset: int) -> None:
    try:
        schema = onnx.defs.get_schema(node.op_type, opset)
    except onnx.defs.SchemaError as error:
        raise WireError(f"node {name!r} has the unknown operator {node.op_type!r}") from error
    if node.op_type not in OPERATORS:
        raise WireError(f"node {name!r} has the operator {node.op_type!r}, which no swapper needs")
    if schema.deprecated:
        raise WireError(f"node {name!r} has the deprecated operator {node.op_type!r}")
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
            raise WireError(f"node {name!r} lacks a required input or output")
    seen: set[str] = set()
    for attribute in node.attribute:
        if attribute.name in seen:
            raise WireError(f"node {name!r} has the attribute {attribute.name!r} twice")
        seen.add(attribute.name)
        _check_attribute(attribute, schema, name)
    counts = [entry.i for entry in node.attribute if entry.name == "num_outputs"]
    # onnx trusts the number and reads past the end of its list.
    if counts not in ([], [len(node.output)]):
        raise WireError(f"node {name!r} does not have as many outputs as num_outputs says")
    missing = [key for key, entry in schema.attributes.items() if entry.required]
    if not set(missing) <= seen:
        raise WireError(f"node {name!r} lacks one of the attributes {missing}")


def _check_attribute(attribute: AttributeProto, schema: onnx.defs.OpSchema, name: str) -> None:
    key = attribute.name
    if attribute.ref_attr_name or key not in schema.attributes:
        raise WireError(f"node {name!r} has the unknown attribute {key!r}")
    if attribute.g.node or attribute.graphs or attribute.HasField("g"):
        raise WireError(f"node {name!r} contains a subgraph, which is refused")
    if attribute.HasField("sparse_tensor") or attribute.sparse_tensors or attribute.tensors:
        raise WireError(f"node {name!r} contains tensors of a kind that is refused")
    kind = str(schema.attributes[key].type).rpartition(".")[2]
    if attribute.type != AttributeProto.AttributeType.Value(kind):
        raise WireError(f"the attribute {key!r} of node {name!r} has the wrong type")
    if not attribute.s.isascii():
        raise WireError(f"the attribute {key!r} of node {name!r} is not ASCII text")
    if key not in UNBOUNDED and abs(attribute.i) >= 1 << 31:
        raise WireError(f"the attribute {key!r} of node {name!r} has an impossible value")
    if attribute.HasField("t"):
        check_tensor(attribute.t, True)
    if len(attribute.ints) > 4 * MAX_RANK and schema.name != "Constant":
        raise WireError(f"the attribute {key!r} of node {name!r} is too long")
    if key in ("strides", "dilations", "kernel_shape") and any(
        not 0 < value < 1 << 16 for value in attribute.ints
    ):
        raise WireError(f"the attribute {key!r} of node {name!r} has an impossible value")
    if key in ("pads", "output_padding", "output_shape") and any(
        abs(value) > 1 << 16 for value in attribute.ints
    ):
        raise WireError(f"the attribute {key!r} of node {name!r} has an impossible value")
    # onnx squares the block size before dividing by it.
    if key in ("group", "blocksize", "num_outputs") and not 0 < attribute.i < 1 << 16:
        raise WireError(f"the attribute {key!r} of node {name!r} has an impossible value")
