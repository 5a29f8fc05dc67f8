"""Tuned weights go back into the base, and nothing else changes, linked or not."""

import errno
import os
import shutil
from pathlib import Path

import numpy
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.files.modelfile import ModelFile, open_model
from facefusion_finetune.swappers.files.writeback import MIN_LINKED_BYTES, save_model, write_model
from tests.support.families import ENTRIES, build, create_inputs
from tests.support.inswapper import build_inswapper, write_inswapper
from tests.support.runs import TUNED, move_weights


@pytest.fixture
def base(tmp_path: Path) -> ModelFile:
    return open_model(write_inswapper(tmp_path / "demo.onnx").path)


def _place(base: ModelFile, name: str) -> str:
    shutil.copy(base.path, base.path.parent / name)
    return name


def _answer(path: Path, feed: dict[str, NDArray[numpy.float32]]) -> NDArray[numpy.float32]:
    output: NDArray[numpy.float32] = onnxruntime.InferenceSession(str(path)).run(None, feed)[0]
    return output


def _parts(model: onnx.ModelProto) -> list[object]:
    """All but the initializers and the metadata."""
    rest = onnx.ModelProto()
    rest.CopyFrom(model)
    del rest.graph.initializer[:], rest.metadata_props[:]
    return [rest.SerializeToString(deterministic=True)]


@pytest.mark.parametrize("link", [None, "demo.base"])
def test_only_the_named_weights_and_the_metadata_change(
    base: ModelFile, tmp_path: Path, link: str | None
) -> None:
    if link:
        _place(base, link)
    weights = move_weights(base)
    save_model(base, tmp_path / "tuned.onnx", weights, {"b": "2", "a": "1"}, link)
    before, after = onnx.load(str(base.path)), onnx.load(str(tmp_path / "tuned.onnx"))
    assert _parts(before) == _parts(after)
    assert [tensor.name for tensor in before.graph.initializer] == [
        tensor.name for tensor in after.graph.initializer
    ]
    for first, second in zip(before.graph.initializer, after.graph.initializer, strict=True):
        expected = numpy_helper.to_array(first)
        if first.name in weights:
            expected = weights[first.name]
        given = numpy_helper.to_array(second)
        assert given.dtype == expected.dtype
        assert given.tobytes() == expected.tobytes(), first.name
    assert [(prop.key, prop.value) for prop in after.metadata_props] == [("a", "1"), ("b", "2")]
    onnx.checker.check_model(str(tmp_path / "tuned.onnx"))


def test_nothing_tuned_gives_the_same_bytes(base: ModelFile, tmp_path: Path) -> None:
    save_model(base, tmp_path / "same.onnx")
    assert (tmp_path / "same.onnx").read_bytes() == base.path.read_bytes()


def test_metadata_of_other_keys_is_kept(tmp_path: Path) -> None:
    model = build_inswapper()
    onnx.helper.set_model_props(model, {"theirs": "kept", "ours": "old"})
    onnx.save(model, str(tmp_path / "base.onnx"))
    save_model(open_model(tmp_path / "base.onnx"), tmp_path / "m.onnx", None, {"ours": "new"})
    made = onnx.load(str(tmp_path / "m.onnx")).metadata_props
    assert {prop.key: prop.value for prop in made} == {"theirs": "kept", "ours": "new"}
    assert len(made) == 2


def test_links_point_at_the_bytes_in_the_base(base: ModelFile, tmp_path: Path) -> None:
    save_model(base, tmp_path / "m.onnx", move_weights(base), link=_place(base, "demo.base"))
    content = base.path.read_bytes()
    model = onnx.load(str(tmp_path / "m.onnx"), load_external_data=False)
    *others, last = model.graph.initializer
    assert last.data_location == TensorProto.DEFAULT
    linked = [tensor for tensor in others if tensor.data_location == TensorProto.EXTERNAL]
    assert linked
    for tensor in linked:
        place = {entry.key: entry.value for entry in tensor.external_data}
        start, length = int(place["offset"]), int(place["length"])
        assert place["location"] == "demo.base"
        assert length >= MIN_LINKED_BYTES
        assert content[start : start + length] == base.read_tensor(tensor.name).tobytes()
    assert not {tensor.name for tensor in linked} & set(TUNED)


@pytest.mark.parametrize("name", ENTRIES)
def test_linked_file_of_every_family_answers_as_the_plain_one(name: str, tmp_path: Path) -> None:
    onnx.save(build(name), str(tmp_path / "base.onnx"))
    base = open_model(tmp_path / "base.onnx")
    largest = max(
        (stored for stored in base.tensors.values() if stored.dtype.kind == "f" and stored.payload),
        key=lambda stored: stored.payload.length if stored.payload else 0,
    )
    weights = {largest.name: base.read_tensor(largest.name).astype(numpy.float32) * 1.25}
    save_model(base, tmp_path / "plain.onnx", weights)
    save_model(base, tmp_path / "linked.onnx", weights, link=_place(base, "x.base"))
    assert open_model(tmp_path / "linked.onnx").is_linked
    feed = create_inputs(name)
    plain = _answer(tmp_path / "plain.onnx", feed)
    assert (_answer(tmp_path / "linked.onnx", feed) == plain).all()


def test_linked_file_becomes_plain_again(base: ModelFile, tmp_path: Path) -> None:
    weights = move_weights(base)
    save_model(base, tmp_path / "linked.onnx", weights, {"a": "1"}, _place(base, "demo.base"))
    save_model(open_model(tmp_path / "linked.onnx"), tmp_path / "again.onnx")
    save_model(base, tmp_path / "plain.onnx", weights, {"a": "1"})
    (tmp_path / "demo.base").unlink()
    again, plain = open_model(tmp_path / "again.onnx"), open_model(tmp_path / "plain.onnx")
    assert not again.is_linked
    assert list(again.tensors) == list(plain.tensors)
    for name in plain.tensors:
        assert again.read_tensor(name).tobytes() == plain.read_tensor(name).tobytes()


def test_weights_are_rounded_to_the_type_of_the_base(tmp_path: Path) -> None:
    model = build_inswapper()
    tensor = next(t for t in model.graph.initializer if t.name == "Conv_612.bias")
    values = numpy_helper.to_array(tensor).astype(numpy.float16)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    (tmp_path / "half.onnx").write_bytes(model.SerializeToString())
    base = open_model(tmp_path / "half.onnx")
    exact = values.astype(numpy.float32) + numpy.float32(1e-5)
    save_model(base, tmp_path / "m.onnx", {"Conv_612.bias": exact})
    given = open_model(tmp_path / "m.onnx").read_tensor("Conv_612.bias")
    assert given.dtype == numpy.float16
    assert (given == exact.astype(numpy.float16)).all()
    with pytest.raises(SwapperError, match="not finite"):
        save_model(base, tmp_path / "m.onnx", {"Conv_612.bias": exact + 1e6})


def test_weights_that_do_not_fit(base: ModelFile, tmp_path: Path) -> None:
    good = move_weights(base)["Conv_612.bias"]
    wrong = good.copy()
    wrong[0] = numpy.inf
    for weights, message in (
        ({"Conv_999.bias": good}, r"\['Conv_999.bias'\].*not in the base"),
        ({"Conv_612.bias": good[:1]}, "does not fit"),
        ({"Conv_612.bias": wrong}, "not finite"),
    ):
        with pytest.raises(SwapperError, match=message):
            save_model(base, tmp_path / "m.onnx", weights)
        assert not (tmp_path / "m.onnx").exists()


def test_linked_base_cannot_be_linked_to(base: ModelFile, tmp_path: Path) -> None:
    save_model(base, tmp_path / "m.onnx", link=_place(base, "demo.base"))
    with pytest.raises(SwapperError, match="are already in another file"):
        save_model(open_model(tmp_path / "m.onnx"), tmp_path / "n.onnx", link="demo.base")
    assert not (tmp_path / "n.onnx").exists()


def test_base_that_becomes_shorter(base: ModelFile, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"before")
    link = _place(base, "demo.base")
    save_model(base, tmp_path / "linked.onnx", link=link)
    tuned = open_model(tmp_path / "linked.onnx")
    os.truncate(tmp_path / link, 5000)
    with pytest.raises(SwapperError, match="truncated"):
        save_model(tuned, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == b"before"


def test_full_disk_leaves_the_former_file(base: ModelFile, tmp_path: Path) -> None:
    class Full:
        """A file on a disk with room for little."""

        def __init__(self) -> None:
            self.left = 100_000

        def write(self, content: bytes) -> None:
            self.left -= len(content)
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_model(base, Full(), move_weights(base))  # type: ignore[arg-type]
