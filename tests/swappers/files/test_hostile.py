"""Files made to do harm: what lies outside, what is no file, what changes meanwhile."""

import os
from pathlib import Path

import numpy
import pytest
from onnx import TensorProto, numpy_helper

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.files import wire
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.files.writeback import save_model
from facefusion_finetune.swappers.graphs.graph import read_swapper
from tests.support.hostile import (
    bounded,
    link,
    refuse,
    write,
)
from tests.support.tiny import (
    add_nodes,
    add_tensor,
    build_tiny,
    find_tensor,
    make_node,
)


@pytest.mark.parametrize("opset", [11, 13, 17, 21])
def test_unspoilt_swapper_is_taken(opset: int, tmp_path: Path) -> None:
    with bounded():
        graph = read_swapper(write(tmp_path, build_tiny(opset)))
    assert [layer.node for layer in graph.partition.candidates] == ["Conv_made"]


WEIGHT = 3 * 4 * 3 * 3 * 4
"""Bytes of `last.weight`."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for a model, with files around it that it must not or may read."""
    (tmp_path / "secret.bin").write_bytes(bytes(10_000))
    folder = tmp_path / "models"
    (folder / "deep").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(bytes(10_000))
    (folder / "deep" / "weights.bin").write_bytes(bytes(10_000))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "inner.bin").symlink_to(folder / "weights.bin")
    (folder / "out").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    return folder


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("/etc/passwd", "is outside the folder"),
        ("../secret.bin", "is outside the folder"),
        ("deep/../../secret.bin", "is outside the folder"),
        ("deep/..", "is outside the folder"),
        ("C:\\secret.bin", "is outside the folder"),
        ("C:secret.bin", "is outside the folder"),
        ("..\\secret.bin", "is outside the folder"),
        ("\\\\host\\share\\x", "is outside the folder"),
        ("//host/share/x", "is outside the folder"),
        ("weights.bin\0.txt", "is outside the folder"),
        ("weights.bin:stream", "is outside the folder"),
        ("", "is outside the folder"),
        (".", "is outside the folder"),
        ("deep/" * 20 + "weights.bin", "is outside the folder"),
        ("a" * 5000, "too long"),
        ("a" * 300, "not a valid ONNX file"),
        ("link.bin", "is a symbolic link"),
        ("inner.bin", "is a symbolic link"),
        ("out/secret.bin", "is a symbolic link"),
        ("deep", "is missing"),
        ("pipe", "is missing"),
        ("gone.bin", "is missing"),
        ("model.onnx", "names the model itself as its external file"),
        ("again.onnx", "names the model itself as its external file"),
    ],
)
def test_data_outside_the_folder(location: str, message: str, folder: Path) -> None:
    model = build_tiny()
    link(model, location=location)
    path = write(folder, model)
    (folder / "again.onnx").hardlink_to(path)
    refuse(path, message)


@pytest.mark.parametrize("length", [12, WEIGHT])
def test_data_in_the_model_itself(length: int, folder: Path) -> None:
    """A small one would be decoded by onnx, which looks for the file in the working directory."""
    model = build_tiny()
    name = "last.bias" if length == 12 else "last.weight"
    link(model, name, location="model.onnx", offset="0", length=str(length))
    refuse(write(folder, model), "names the model itself as its external file")


def test_data_in_a_device(folder: Path) -> None:
    try:
        os.mknod(folder / "device", 0o20666, os.makedev(1, 5))
    except OSError as error:
        pytest.skip(f"no device can be made here: {error}")
    model = build_tiny()
    link(model, location="device")
    refuse(write(folder, model), "is missing")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ({"offset": "9999"}, "extends beyond its file"),
        ({"offset": "10000"}, "extends beyond its file"),
        ({"offset": str(2**63)}, "extends beyond its file"),
        ({"offset": "9" * 4000}, "has an invalid offset or length"),
        ({"offset": "-4"}, "has an invalid offset or length"),
        ({"offset": "1e2"}, "has an invalid offset or length"),
        ({"offset": "0x10"}, "has an invalid offset or length"),
        ({"offset": " 8"}, "has an invalid offset or length"),
        ({"offset": "1_0"}, "has an invalid offset or length"),
        ({"offset": "٣"}, "has an invalid offset or length"),
        ({"offset": ""}, "has an invalid offset or length"),
        ({"length": "0"}, "its length is wrong"),
        ({"length": str(WEIGHT - 1)}, "its length is wrong"),
        ({"length": str(WEIGHT + 1)}, "its length is wrong"),
        ({"length": "-432"}, "has an invalid offset or length"),
        ({"length": "all"}, "has an invalid offset or length"),
        ({"basepath": "/etc"}, "unknown or duplicate entry"),
    ],
)
def test_data_at_an_impossible_place(place: dict[str, str], message: str, folder: Path) -> None:
    model = build_tiny()
    link(model, location="weights.bin", **place)
    refuse(write(folder, model), message)


def test_data_that_is_fine_is_taken(folder: Path) -> None:
    model = build_tiny()
    link(model, location="deep/weights.bin", offset="64", length=str(WEIGHT), checksum="x")
    link(model, "first.weight", location="weights.bin")
    with bounded():
        graph = read_swapper(write(folder, model))
        assert not graph.file.read_tensor("last.weight").any()


def test_other_lies_about_external_data(folder: Path) -> None:
    model = build_tiny()
    link(model, location="weights.bin", offset="100")
    link(model, "first.weight", location="weights.bin", offset="500")
    refuse(write(folder, model), "overlap")

    model = build_tiny()
    link(model, location="weights.bin").external_data.add(key="location", value="../secret.bin")
    refuse(write(folder, model), "duplicate entry 'location'")

    model = build_tiny()
    link(model, location="weights.bin").data_location = TensorProto.DEFAULT
    refuse(write(folder, model), "neither clearly in the file nor clearly external")

    model = build_tiny()
    link(model)
    refuse(write(folder, model), "neither clearly in the file nor clearly external")

    model = build_tiny()
    link(model, location="weights.bin").raw_data = bytes(WEIGHT)
    refuse(write(folder, model), "neither clearly in the file nor clearly external")

    model = build_tiny()
    value = numpy_helper.from_array(numpy.ones(3, numpy.float32), "value")
    value.ClearField("raw_data")
    value.external_data.add(key="location", value="../secret.bin")
    value.data_location = TensorProto.EXTERNAL
    add_nodes(model, make_node("Constant", [], ["three"], value=value))
    refuse(write(folder, model), "external data, which only initializers may be")


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with (tmp_path / "sparse.onnx").open("wb") as file:
        file.truncate(10 << 30)
    with (tmp_path / "holes.onnx").open("wb") as file:
        file.truncate((1 << 31) - 1)
    refuse(tmp_path / "pipe.onnx", "it is not a regular file")
    refuse(tmp_path / "folder.onnx", "not a valid ONNX file")
    refuse(tmp_path / "gone.onnx", "no such file")
    refuse(tmp_path / "folder.onnx" / "gone.onnx", "no such file")
    refuse(tmp_path / ("a" * 300), "not a valid ONNX file")
    refuse(tmp_path / "sparse.onnx", "its size is 10737418240 bytes")
    refuse(tmp_path / "holes.onnx", "impossible number 0")
    refuse(Path("/dev/zero"), "it is not a regular file")
    refuse(Path("/proc/self/maps"), "its size is 0 bytes")


def test_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, build_tiny())
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read everything

        def deny(*_: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("facefusion_finetune.swappers.files.stored.os.open", deny)
    refuse(path, "Permission denied")


def test_large_sparse_weights_stay_on_disk(tmp_path: Path) -> None:
    """A weight of a gigabyte that nobody reads costs nothing."""
    model = build_tiny()
    add_tensor(model, "last", numpy.zeros(1, numpy.float32))
    link(model, "last", location="huge.bin")
    find_tensor(model, "last").dims[:] = [1 << 28]
    with (tmp_path / "huge.bin").open("wb") as file:
        file.truncate(1 << 30)
    with bounded():
        read_swapper(write(tmp_path, model))


def test_file_that_changes_after_it_was_opened(tmp_path: Path) -> None:
    path = write(tmp_path, build_tiny())
    content = path.read_bytes()
    file = open_model(path)
    for changed in (content[:500], content + b"\x08\x08", content[:-1] + b"\x00", b""):
        path.write_bytes(changed)
        os.utime(path, (1, 1))
        with bounded(), pytest.raises(SwapperError, match="was changed since it was opened"):
            file.read_tensor("last.weight")
        with bounded(), pytest.raises(SwapperError, match="was changed or truncated"):
            save_model(file, tmp_path / "copy.onnx")
    path.unlink()
    with bounded(), pytest.raises(SwapperError, match="cannot be read"):
        file.read_tensor("last.weight")
    os.mkfifo(path)
    with bounded(), pytest.raises(SwapperError, match="it is not a regular file"):
        file.read_tensor("last.weight")
    assert not (tmp_path / "copy.onnx").exists()


def test_base_that_changes_after_the_model_was_opened(folder: Path) -> None:
    model = build_tiny()
    link(model, location="weights.bin")
    file = open_model(write(folder, model))
    (folder / "weights.bin").write_bytes(bytes(9_000))
    with bounded(), pytest.raises(SwapperError, match="was changed since it was opened"):
        file.read_tensor("last.weight")
    with bounded(), pytest.raises(SwapperError, match="was changed or truncated"):
        save_model(file, folder / "copy.onnx")


def test_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    """A memory map would end the process here."""
    path = tmp_path / "shrinking"
    path.write_bytes(bytes(1 << 20))
    with path.open("rb") as file:
        data = wire.FileBytes(file)
        os.truncate(path, 10)
        with pytest.raises(wire.WireError, match="truncated"):
            data[1 << 19 : (1 << 19) + 1]
