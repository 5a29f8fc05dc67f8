"""Nodes of any kind with any attributes on any tensors, to be put into a model."""

from random import Random
from typing import Any

import numpy
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from facefusion_finetune.swappers.files.checks import OPERATORS

ODD_INTS = (0, 1, 2, 3, 4, -1, -2, -5, 7, 16, 255, 65_535, (1 << 31) - 1, -(1 << 31), 1 << 40)
LAST_INTS = ((1 << 63) - 1, -(1 << 63))
ODD_FLOATS = (0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, float("nan"), float("inf"))
ODD_WORDS = ("", "linear", "nearest", "cubic", "reflect", "edge", "wrap", "constant", "CRD", "DCR")
ODD_WORDS += ("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET", "half_pixel", "tf_crop_and_resize")
TYPES = (1, 1, 1, 7, 7, 7, 6, 9, 10, 11, 2)


def insert_odd_node(data: bytes, random: Random) -> bytes:
    """A model with one more node, and with a few more constants for it."""
    model = ModelProto()
    model.ParseFromString(data)
    opset = next((one.version for one in model.opset_import if not one.domain), 17)
    place = random.randrange(len(model.graph.node) + 1)
    before = list(model.graph.node)[:place]
    seen = [name for node in before[-20:] for name in node.output if name] or ["target"]
    stored = [tensor.name for tensor in model.graph.initializer]
    seen += [*random.choices(stored or [""], k=3), "target", "source"]
    kind = random.choice(sorted(OPERATORS))
    try:
        schema = onnx.defs.get_schema(kind, opset)
    except onnx.defs.SchemaError:
        return data
    inputs = []
    count = random.randint(schema.min_input, min(schema.max_input, schema.min_input + 3))
    for number in range(count):
        if (random.random() < 0.5 and number) or kind in ("Range", "ConstantOfShape"):
            name = f"odd_{place}_{number}_{random.randrange(1 << 20)}"
            model.graph.initializer.append(_draw_tensor(name, random))
        else:
            name = random.choice([*seen, ""]) if number else random.choice(seen)
        inputs.append(name)
    most = min(schema.max_output, schema.min_output + 2)
    outputs = [f"odd_{place}_{n}" for n in range(random.randint(max(1, schema.min_output), most))]
    node = helper.make_node(kind, inputs, outputs, name=f"odd_{place}")
    for key, entry in schema.attributes.items():
        if entry.required or random.random() < 0.5:
            attribute = _draw_attribute(key, str(entry.type).rpartition(".")[2], random)
            if attribute is not None:
                node.attribute.append(attribute)
    _put(model, node, place, random)
    return model.SerializeToString()


def _put(model: ModelProto, node: NodeProto, place: int, random: Random) -> None:
    nodes = list(model.graph.node)
    # Often something after it has to work with what it makes.
    if place < len(nodes) and random.random() < 0.6:
        taken = [number for number, name in enumerate(nodes[place].input) if name]
        if taken:
            nodes[place].input[random.choice(taken)] = node.output[0]
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:place], node, *nodes[place:]])


def _draw_tensor(name: str, random: Random) -> TensorProto:
    kind = random.choice(TYPES)
    shape = random.choice(((), (0,), (1,), (2,), (3,), (4,), (4,), (8,), (1, 4), (1, 1, 1, 1)))
    size = int(numpy.prod(shape))
    if kind in (1, 10, 11):
        values: Any = [random.choice(ODD_FLOATS) for _ in range(size)]
    else:
        odd = (*ODD_INTS, *LAST_INTS) if random.random() < 0.5 else range(-2, 6)
        values = [random.choice(odd) for _ in range(size)]
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    with numpy.errstate(all="ignore"):
        array = numpy.array(values, numpy.float64 if kind in (1, 10, 11) else numpy.int64)
        return numpy_helper.from_array(array.astype(dtype).reshape(shape), name)


def _draw_attribute(key: str, kind: str, random: Random) -> AttributeProto | None:
    ints = ODD_INTS if random.random() < 0.5 else (0, 1, 2, 3)
    count = random.choice((0, 1, 2, 2, 4, 4, 8))
    values: dict[str, Any] = {
        "INT": random.choice((*ints, *LAST_INTS)),
        "INTS": [random.choice(ints) for _ in range(count)],
        "FLOAT": random.choice(ODD_FLOATS),
        "FLOATS": [random.choice(ODD_FLOATS) for _ in range(count)],
        "STRING": random.choice(ODD_WORDS),
        "TENSOR": _draw_tensor("value", random),
    }
    if kind not in values:
        return None
    attribute_type = AttributeProto.AttributeType.Value(kind)
    return helper.make_attribute(key, values[kind], attr_type=attribute_type)
