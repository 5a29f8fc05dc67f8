"""The test graphs of all swapper families: do they run, and do they do what swappers do."""

import numpy
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from facefusion_finetune.swappers.catalogue import FAMILIES
from tests.support import families
from tests.support.families import ENTRIES, ONE_OF_EACH

OTHER_LAYOUTS = ("simswap_unofficial_512", "ghost_3_256")
"""Files laid out in another way than the first one of their family."""

UNBOUNDED = {"uniface_256"}

CARRIED = {
    "inswapper_128": {"Gemm", "Unsqueeze", "Slice", "Pad", "Resize"},
    "inswapper_128_fp16": {"Cast", "Gemm"},
    "simswap_256": {"Constant", "Gather", "Reshape", "ReduceMean", "Div"},
    "simswap_unofficial_512": {"Shape", "Split", "Squeeze", "Concat"},
    "ghost_1_256": {"InstanceNormalization", "BatchNormalization", "Shape", "Expand"},
    "ghost_2_256": {"Constant", "ConvTranspose", "Expand", "Reshape"},
    "ghost_3_256": {"MatMul", "ConstantOfShape"},
    "blendswap_256": {"PRelu", "ReduceL2", "Clip", "BatchNormalization", "Unsqueeze"},
    "uniface_256": {"Tile", "Transpose", "Softmax", "MatMul", "ConvTranspose", "Pow"},
    "hififace_unofficial_256": {"Identity", "AveragePool", "Neg", "Clip", "Cast"},
    "hyperswap_1a_256": {"Cast", "DepthToSpace", "MaxPool", "ConvTranspose"},
}


def open_session(model: ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run(
    session: onnxruntime.InferenceSession,
    inputs: dict[str, NDArray[numpy.float32]],
    target: int = 0,
    source: int = 0,
) -> NDArray[numpy.float32]:
    """The first output for one row of each input."""
    feed = {
        "target": inputs["target"][target : target + 1],
        "source": inputs["source"][source : source + 1],
    }
    output: NDArray[numpy.float32] = session.run(None, feed)[0]
    return output


def find_types(model: ModelProto) -> set[int]:
    """Data types of the weights."""
    return {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) > 1}


@pytest.mark.parametrize("name", ENTRIES)
def test_swaps_like_a_swapper(name: str) -> None:
    entry = ENTRIES[name]
    model = families.build(name)
    assert model.ByteSize() < 10e6
    assert model.opset_import[0].version == entry.opset
    session = open_session(model)
    given = {value.name: tuple(value.shape[1:]) for value in session.get_inputs()}
    assert given == {"target": (3, entry.size, entry.size), "source": entry.source_shape[1:]}
    assert {value.type for value in session.get_inputs()} == {"tensor(float)"}
    inputs = families.create_inputs(name, 2)
    output = run(session, inputs)
    assert output.shape == (1, 3, entry.size, entry.size)
    assert output.dtype == numpy.float32
    spread = float(output.max() - output.min())
    if name not in UNBOUNDED:
        assert -1.001 <= output.min() <= output.max() <= 1.001
        assert (output.min() < 0) == entry.signed
    assert output.std() >= 0.05 * spread
    share_at_end = (numpy.abs(output - output.mean()) > 0.98 * spread / 2).mean()
    assert share_at_end < 0.2
    for other in (run(session, inputs, source=1), run(session, inputs, target=1)):
        assert numpy.abs(other - output).mean() > 0.1 * output.std()


@pytest.mark.parametrize("name", ENTRIES)
def test_same_arguments_give_the_same_bytes(name: str) -> None:
    first = families.build(name).SerializeToString(deterministic=True)
    assert first == families.build(name).SerializeToString(deterministic=True)
    assert first != families.build(name, seed=2).SerializeToString(deterministic=True)


@pytest.mark.parametrize("name", ENTRIES)
def test_facts_name_nodes_of_the_graph(name: str) -> None:
    facts = families.facts(name)
    nodes = [node.name for node in families.build(name, seed=2).graph.node if node.name]
    assert len(set(nodes)) == len(nodes)
    parts = (facts.tail, facts.frozen, facts.style, facts.injections)
    named = [name for part in parts for name in part]
    assert len(set(named)) == len(named)
    assert set(named) | set(facts.computed) <= set(nodes)
    assert list(facts.tail) == sorted(facts.tail, key=nodes.index)
    assert facts.tail
    assert facts.injections
    assert set(facts.mask_rows) <= set(facts.tail)


@pytest.mark.parametrize("name", [*ONE_OF_EACH, *OTHER_LAYOUTS])
def test_computes_the_same_at_every_opset(name: str) -> None:
    inputs = families.create_inputs(name)
    expected = run(open_session(families.build(name, precision="fp32")), inputs)
    for opset in (11, 13, 18, 21):
        model = families.build(name, opset=opset, precision="fp32")
        assert model.opset_import[0].version == opset
        numpy.testing.assert_allclose(run(open_session(model), inputs), expected, atol=2e-4)


@pytest.mark.parametrize("name", ["inswapper_128", "simswap_256", "hyperswap_1a_256"])
def test_half_precision_is_the_same_network(name: str) -> None:
    half, single = (families.build(name, precision=kind) for kind in ("fp16", "fp32"))
    assert find_types(half) == {onnx.TensorProto.FLOAT16}
    assert find_types(single) == {onnx.TensorProto.FLOAT}
    inputs = families.create_inputs(name)
    expected = run(open_session(single), inputs)
    numpy.testing.assert_allclose(run(open_session(half), inputs), expected, atol=0.03)


def test_every_family_of_the_catalogue_has_a_graph_whose_nodes_are_named() -> None:
    assert {entry.family for entry in ENTRIES.values()} == set(FAMILIES)
    assert {ENTRIES[name].family for name in CARRIED} == set(FAMILIES)


@pytest.mark.parametrize("name", CARRIED)
def test_carries_what_its_docstring_says(name: str) -> None:
    assert CARRIED[name] <= {node.op_type for node in families.build(name).graph.node}


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.emap])
def test_ends_in_an_orthonormal_map(name: str) -> None:
    last = families.build(name).graph.initializer[-1]
    array = numpy_helper.to_array(last).astype(numpy.float64)
    assert last.name == "buff2fs"
    numpy.testing.assert_allclose(array @ array.T, numpy.eye(512), atol=5e-3)


def test_shares_and_computes_weights_in_uniface() -> None:
    model, facts = families.build("uniface_256"), families.facts("uniface_256")
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    stored = {tensor.name for tensor in model.graph.initializer}
    assert {node.name for node in layers if node.input[1] not in stored} == set(facts.computed)
    assert facts.tail[-1] not in facts.computed
    users = [node.name for node in layers if node.input[1] == "encoder.from_rgb.weight"]
    assert users == ["target_encoder.from_rgb", "source_encoder.from_rgb"]
    assert sum(node.input[1] == "blur.up" for node in layers) > 2


def test_runs_hififace_in_batches() -> None:
    session = open_session(families.build("hififace_unofficial_256"))
    inputs = families.create_inputs("hififace_unofficial_256", 2)
    picture, mask = session.run(None, inputs)
    assert picture.shape == (2, 3, 256, 256)
    assert mask.shape == (2, 1, 256, 256)
    numpy.testing.assert_allclose(picture[1:], run(session, inputs, 1, 1), atol=1e-4)


def test_has_the_true_channels_at_full_width() -> None:
    model = families.build("simswap_256", width=1.0)
    count = sum(int(numpy.prod(tensor.dims)) for tensor in model.graph.initializer)
    assert count == pytest.approx(55.05e6, rel=1e-3)


@pytest.mark.parametrize("name", ["simswap_256", "ghost_1_256", "uniface_256"])
def test_draws_inputs_in_the_entry_s_range(name: str) -> None:
    entry, inputs = ENTRIES[name], families.create_inputs(name, 3, seed=5)
    target, source = inputs["target"], inputs["source"]
    assert target.shape == (3, 3, entry.size, entry.size)
    assert source.shape == (3, *entry.source_shape[1:])
    assert target.dtype == source.dtype == numpy.float32
    steps = numpy.abs(numpy.diff(target, axis=3)).mean()
    assert steps < 0.3 * target.std()
    if source.ndim == 2:
        numpy.testing.assert_allclose(numpy.linalg.norm(source, axis=1), 1, atol=1e-5)
    else:
        assert 0 <= source.min() < source.max() <= 1
    if entry.signed:
        assert -1 <= target.min() < 0 < target.max() <= 1


@pytest.mark.parametrize("opset", [11, 13, 17, 18])
def test_recogniser_tells_pictures_apart(opset: int) -> None:
    session = open_session(families.build_recogniser(opset=opset))
    faces = 2 * families.create_inputs("blendswap_256", 4)["source"] - 1
    rows = [session.run(None, {"input.1": faces[i : i + 1]})[0] for i in range(4)]
    vectors = numpy.concatenate(rows)
    assert vectors.shape == (4, 512)
    vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = (vectors @ vectors.T)[numpy.triu_indices(4, 1)]
    assert likeness.max() < 0.9


def test_converter_keeps_vectors_apart() -> None:
    model = families.build_converter()
    assert model == families.build_converter()
    session = open_session(model)
    vectors = 20 * families.create_inputs("simswap_256", 2)["source"]
    first, second = (session.run(None, {"input": row[None]})[0] for row in vectors)
    assert first.shape == (1, 512)
    assert numpy.abs(first - second).mean() > 0.3 * first.std()
