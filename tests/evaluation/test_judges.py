"""Which files may judge: another recogniser, and nothing that grades itself or knows no faces."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from facefusion_finetune.demo.analyser import WEIGHTS, DemoAnalyser
from facefusion_finetune.errors import EvaluationError
from facefusion_finetune.evaluation.judges import check_discrimination, open_judge, open_recogniser
from facefusion_finetune.faces.protocol import FaceAnalyser, Points
from facefusion_finetune.swappers.catalogue import RecogniserOptions
from facefusion_finetune.swappers.files.bases import digest_file
from tests.support.families import build, build_recogniser
from tests.support.hostile import bounded
from tests.support.tiny import make_node

DEMO = DemoAnalyser([])
CROPS = numpy.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=numpy.uint8)


class ArcfaceAnalyser(DemoAnalyser):
    """An analyser with an ArcFace template and recogniser, and no judge, as FaceFusion is."""

    def __init__(self, path: Path) -> None:
        super().__init__([])
        self._path = path

    def warp_templates(self) -> Mapping[str, Points]:
        (points,) = super().warp_templates().values()
        return {"demo_64": points, "arcface_112_v2": points}

    def get_recogniser(self) -> RecogniserOptions:
        return RecogniserOptions("trained", self._path, "demo_64", (112, 112), 127.5, 127.5)

    def get_judge(self) -> None:  # type: ignore[override]
        return None


@pytest.fixture(scope="module")
def analyser(tmp_path_factory: pytest.TempPathFactory) -> ArcfaceAnalyser:
    path = tmp_path_factory.mktemp("trained") / "trained.onnx"
    onnx.save(build_recogniser(seed=1), str(path))
    return ArcfaceAnalyser(path)


def write(folder: Path, model: ModelProto, name: str = "second.onnx") -> Path:
    path = folder / name
    onnx.save(model, str(path))
    return path


def build_plain(
    made: int = 96,
    taken: tuple[int | str, ...] = (1, 3, 112, 112),
    scale: float = 1.0,
    start: float = 0.0,
    kind: int = TensorProto.FLOAT,
) -> ModelProto:
    """Mean colours of a picture, mixed into a vector: the smallest network that tells pictures."""
    random = numpy.random.default_rng(0)
    tensors = {
        "weight": random.standard_normal((made, 3)) * scale,
        "bias": random.standard_normal(made) + start,
    }
    number = helper.tensor_dtype_to_np_dtype(kind)
    graph = helper.make_graph(
        [
            make_node("GlobalAveragePool", ["picture"], ["colours"]),
            make_node("Flatten", ["colours"], ["row"]),
            make_node("Gemm", ["row", "weight", "bias"], ["vector"], transB=1),
        ],
        "plain",
        [helper.make_tensor_value_info("picture", kind, list(taken))],
        [helper.make_tensor_value_info("vector", kind, [taken[0], made])],
        [numpy_helper.from_array(array.astype(number), name) for name, array in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def refuse(path: Path, analyser: FaceAnalyser, message: str) -> None:
    with bounded(), pytest.raises(EvaluationError, match=message) as caught:
        open_judge(path, analyser)
    assert caught.value.given == f"judge {path}"
    assert caught.value.why.endswith(".")
    assert "independently trained" in caught.value.todo
    assert caught.value.exit_code == 1


def test_the_analysers_own_judge_needs_no_file() -> None:
    judge = open_judge(None, DEMO)
    assert judge is not None
    assert judge.options == DEMO.get_judge()
    crops = DEMO.sample_other_pictures(3, 0, "demo_64", (64, 64))
    vectors = judge.embed(crops)
    assert vectors.shape == (3, 512)
    assert vectors.dtype == numpy.float32
    trained = open_recogniser(DEMO.get_recogniser())
    assert numpy.abs(trained.embed(crops) - [DEMO.embed(crop) for crop in crops]).max() < 1e-4
    assert not numpy.allclose(vectors, trained.embed(crops), atol=0.1)


def test_without_a_file_and_an_own_one_there_is_no_judge(analyser: ArcfaceAnalyser) -> None:
    assert open_judge(None, analyser) is None


def test_a_file_is_a_judge_with_what_it_says_of_itself(analyser: ArcfaceAnalyser) -> None:
    by_file, own = open_judge(WEIGHTS / "judge.onnx", DEMO), open_judge(None, DEMO)
    assert by_file is not None
    assert own is not None
    assert by_file.options.size == (64, 64)
    # the demo has no template of ArcFace's
    assert by_file.options.template == "demo_64"
    assert by_file.sha256 == own.sha256 == digest_file(WEIGHTS / "judge.onnx")
    crops = DEMO.sample_other_pictures(2, 5, "demo_64", (64, 64))
    assert numpy.array_equal(by_file.embed(crops), own.embed(crops))
    judge = open_judge(WEIGHTS / "judge.onnx", analyser)
    assert judge is not None
    assert judge.options.template == "arcface_112_v2"


def test_another_arcface_may_judge(analyser: ArcfaceAnalyser, tmp_path: Path) -> None:
    judge = open_judge(write(tmp_path, build_recogniser(seed=2, opset=14)), analyser)
    assert judge is not None
    assert judge.options.name == "second"
    assert judge.options.size == (112, 112)
    vectors = judge.embed(CROPS)
    assert vectors.shape == (3, 512)
    assert numpy.array_equal(vectors[1:2], judge.embed(CROPS[1:2]))


@pytest.mark.parametrize(
    ("taken", "size"),
    [
        ((1, 3, 112, 96), (96, 112)),
        (("batch", 3, 112, 112), (112, 112)),
        (("batch", 3, "height", "width"), (112, 112)),
    ],
)
def test_sizes_are_the_files_and_open_ones_are_the_usual(
    taken: tuple[int | str, ...],
    size: tuple[int, int],
    analyser: ArcfaceAnalyser,
    tmp_path: Path,
) -> None:
    judge = open_judge(write(tmp_path, build_plain(taken=taken)), analyser)
    assert judge is not None
    assert judge.options.size == size
    crops = numpy.zeros((2, size[1], size[0], 3), numpy.uint8)
    crops[1] = (255, 0, 0)
    grey, blue = judge.embed(crops)
    assert grey.shape == (96,)
    # pure blue is (-1, -1, 1) in RGB, and so the third column of the weights makes the difference
    weight, bias = map(numpy_helper.to_array, onnx.load(judge.options.path).graph.initializer)
    assert blue - grey == pytest.approx(2 * weight[:, 2], abs=1e-4)
    assert grey == pytest.approx(bias - weight.sum(axis=1), abs=1e-4)


def test_files_that_are_not_there_or_no_model_are_refused(
    analyser: ArcfaceAnalyser, tmp_path: Path
) -> None:
    refuse(tmp_path / "nothing.onnx", analyser, "no such file")
    refuse(tmp_path, analyser, "it is not a valid ONNX file")
    text = tmp_path / "text.onnx"
    text.write_text("a recogniser")
    refuse(text, analyser, "it is not a valid ONNX file")
    half = tmp_path / "half.onnx"
    half.write_bytes((WEIGHTS / "judge.onnx").read_bytes()[:400_000])
    refuse(half, analyser, "it is not a valid ONNX file")


def reach_outside(model: ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def hide_graph(model: ModelProto) -> None:
    (value,) = model.graph.output
    branch = helper.make_graph([make_node("Identity", ["row"], ["one"])], "b", [], [value])
    node = make_node("If", ["row"], ["two"], then_branch=branch, else_branch=branch)
    model.graph.node.insert(2, node)


def demand_memory(model: ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(numpy.array([60_000] * 3), "huge"))
    model.graph.node.insert(0, make_node("ConstantOfShape", ["huge"], ["wall"]))
    model.graph.node.insert(1, make_node("ReduceSum", ["wall"], ["sum"]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (reach_outside, "is outside the folder"),
        (hide_graph, "no swapper needs|contains a subgraph"),
        (demand_memory, "'ConstantOfShape_wall' cannot be used"),
    ],
)
def test_hostile_files_are_refused_before_they_run(
    spoil: Callable[[ModelProto], None],
    message: str,
    analyser: ArcfaceAnalyser,
    tmp_path: Path,
) -> None:
    model = build_plain()
    spoil(model)
    path = tmp_path / "hostile.onnx"
    path.write_bytes(model.SerializeToString())
    refuse(path, analyser, message)


@pytest.mark.parametrize("name", ["inswapper_128", "uniface_256"])
def test_a_swapper_is_refused(name: str, analyser: ArcfaceAnalyser, tmp_path: Path) -> None:
    refuse(
        write(tmp_path, build(name)),
        analyser,
        r"only input is a float32 picture.*this one takes target \[1",
    )


@pytest.mark.parametrize(
    ("taken", "found"),
    [
        ((1, 512, 1, 1), r"picture \[1, 512, 1, 1\]"),
        ((1, 1, 112, 112), r"picture \[1, 1, 112, 112\]"),
        ((4, 3, 112, 112), r"picture \[4, 3, 112, 112\]"),
        ((1, 3, 112), r"picture \[1, 3, 112\]"),
    ],
)
def test_other_inputs_are_refused(
    taken: tuple[int, ...], found: str, analyser: ArcfaceAnalyser, tmp_path: Path
) -> None:
    refuse(write(tmp_path, build_plain(taken=taken)), analyser, found)


def test_half_precision_at_the_ends_is_refused(analyser: ArcfaceAnalyser, tmp_path: Path) -> None:
    model = build_plain(kind=TensorProto.FLOAT16)
    refuse(write(tmp_path, model), analyser, "only input is a float32 picture")


def test_a_size_that_does_not_fit_the_weights_is_refused(
    analyser: ArcfaceAnalyser, tmp_path: Path
) -> None:
    model = build_recogniser(seed=2)
    # its fully connected layer is made for 112 x 112
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 128
    refuse(write(tmp_path, model), analyser, "it cannot be run .*fc")


def test_a_classifier_is_refused(analyser: ArcfaceAnalyser, tmp_path: Path) -> None:
    refuse(write(tmp_path, build_plain(10)), analyser, "output has 10 values, fewer than 64")
    refuse(write(tmp_path, build_plain(63)), analyser, "output has 63 values, fewer than 64")
    assert open_judge(write(tmp_path, build_plain(64)), analyser) is not None


def test_a_network_that_makes_pictures_is_refused(
    analyser: ArcfaceAnalyser, tmp_path: Path
) -> None:
    model = build_plain()
    del model.graph.node[:]
    model.graph.node.append(make_node("Relu", ["picture"], ["vector"]))
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, 3, 112, 112])
    )
    refuse(
        write(tmp_path, model), analyser, r"first output \[1, 3, 112, 112\] is no float32 vector"
    )


@pytest.mark.parametrize("scale", [0.0, 1e-7])
def test_one_vector_for_all_pictures_is_refused(
    scale: float, analyser: ArcfaceAnalyser, tmp_path: Path
) -> None:
    path = write(tmp_path, build_plain(scale=scale))
    refuse(path, analyser, "different pictures have the same embedding")


def test_vectors_that_are_no_numbers_are_refused(analyser: ArcfaceAnalyser, tmp_path: Path) -> None:
    path = write(tmp_path, build_plain(start=numpy.nan))
    refuse(path, analyser, "returns NaN or infinity for test pictures")


def test_the_training_recogniser_may_not_judge(analyser: ArcfaceAnalyser, tmp_path: Path) -> None:
    trained = analyser.get_recogniser().path
    refuse(trained, analyser, "is the training recogniser trained itself.*must not judge itself")
    renamed = shutil.copy(trained, tmp_path / "independent.onnx")
    refuse(renamed, analyser, "is the training recogniser trained itself.*must not judge itself")
    refuse(WEIGHTS / "recogniser.onnx", DEMO, "is the training recogniser demo_recogniser itself")


def change_name(model: ModelProto) -> None:
    model.producer_name = "someone else"


def change_last_layer(model: ModelProto) -> None:
    tensor = max(model.graph.initializer, key=lambda tensor: tensor.name == "fc.weight")
    weights = numpy_helper.to_array(tensor)
    noise = numpy.random.default_rng(3).standard_normal(weights.shape) * weights.std() * 0.01
    tensor.CopyFrom(numpy_helper.from_array((weights + noise).astype(numpy.float32), tensor.name))


def change_scale(model: ModelProto) -> None:
    end = model.graph.output[0].name
    next(node for node in model.graph.node if end in node.output).output[0] = "unscaled"
    model.graph.initializer.append(numpy_helper.from_array(numpy.float32(-3), "scale"))
    model.graph.node.append(make_node("Mul", ["unscaled", "scale"], [end]))


def round_weights(model: ModelProto) -> None:
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1:
            weights = numpy_helper.to_array(tensor).astype(numpy.float16).astype(numpy.float32)
            tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))


@pytest.mark.parametrize("change", [change_name, change_last_layer, change_scale, round_weights])
def test_a_copy_with_other_bytes_may_not_judge(
    change: Callable[[ModelProto], None], analyser: ArcfaceAnalyser, tmp_path: Path
) -> None:
    model = onnx.load(analyser.get_recogniser().path)
    change(model)
    path = write(tmp_path, model)
    assert digest_file(path) != digest_file(analyser.get_recogniser().path)
    refuse(path, analyser, r"embeddings match those of the training recogniser trained \(cosine")


def draw_vectors(
    generator: numpy.random.Generator, count: int, mean: NDArray[numpy.float64], noise: float
) -> NDArray[numpy.float32]:
    spread = generator.standard_normal((count, len(mean))) * noise
    return ((mean + spread) * generator.uniform(0.5, 20, (count, 1))).astype(numpy.float32)


def test_a_judge_that_tells_people_apart_is_believed() -> None:
    generator = numpy.random.default_rng(0)
    person, other = generator.standard_normal((2, 128))
    real = draw_vectors(generator, 20, person, 0.5)
    assert check_discrimination(real, draw_vectors(generator, 20, other, 0.5)) is None
    assert check_discrimination(real[:2], draw_vectors(generator, 1, other, 0.5)) is None


@pytest.mark.parametrize("blindness", ["all look alike", "only noise", "the wrong way round"])
def test_a_judge_that_cannot_tell_is_not_believed(blindness: str) -> None:
    generator = numpy.random.default_rng(1)
    person = generator.standard_normal(128)
    real = draw_vectors(generator, 20, person, 0.5)
    others = {
        "all look alike": draw_vectors(generator, 20, person, 0.5),
        "only noise": draw_vectors(generator, 20, person, 0.45),
        "the wrong way round": draw_vectors(generator, 20, person, 0.05),
    }[blindness]
    found = check_discrimination(real, others)
    assert found is not None
    assert found.startswith("The judge does not distinguish the person from others")
    assert "its scores here prove nothing" in found
    assert "%" in found


def test_a_frame_is_not_compared_with_itself() -> None:
    # unrelated vectors: each is near to a centroid that it is part of, and to no other
    rows = numpy.random.default_rng(2).standard_normal((24, 512)).astype(numpy.float32)
    assert check_discrimination(rows[:12], rows[12:]) is not None


def test_too_few_frames_prove_nothing() -> None:
    rows = numpy.eye(4, 128, dtype=numpy.float32)
    for real, others in ((rows[:1], rows[1:]), (rows, rows[:0])):
        found = check_discrimination(real, others)
        assert found is not None
        assert f"{len(real)} real frames and {len(others)} of someone else are too few" in found


def test_vectors_without_a_direction_prove_nothing() -> None:
    nothing = numpy.zeros((5, 128), numpy.float32)
    assert check_discrimination(nothing, nothing) is not None
    assert check_discrimination(numpy.full_like(nothing, numpy.nan), nothing) is not None


def test_the_demos_judge_tells_its_people_apart() -> None:
    judge = open_judge(None, DEMO)
    assert judge is not None
    crops = DEMO.sample_other_pictures(6, 1, "demo_64", (64, 64))
    same = numpy.stack([numpy.roll(crops[0], shift, axis=1) for shift in (-1, 0, 1)])
    assert check_discrimination(judge.embed(same), judge.embed(crops[1:])) is None
    assert check_discrimination(judge.embed(crops[:3]), judge.embed(crops[3:])) is not None
