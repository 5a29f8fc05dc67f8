"""`inspect` says when a file is not what its name promises."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import ModelProto

from facefusion_finetune.cli import main
from facefusion_finetune.inspection.inspect import inspect_file
from facefusion_finetune.inspection.promise import check_promise
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.graphs.graph import build_graph
from facefusion_finetune.swappers.graphs.inputs import list_inputs, name_inputs
from tests.support.disorder import free_sizes
from tests.support.families import ENTRIES, build, build_packed
from tests.support.inswapper import build_inswapper

VSID = "inputs called 'target' and 'vsid', not 'target' and 'source': FaceFusion cannot feed it"


def save(model: ModelProto, path: Path) -> Path:
    onnx.save(model, str(path))
    return path


def list_differences(path: Path) -> tuple[str, ...] | None:
    file = open_model(path)
    names = tuple(value.name for value in list_inputs(file))
    promise = check_promise(build_graph(name_inputs(file)), names)
    return None if promise is None else promise.differences


def feed_by_vsid(model: ModelProto) -> ModelProto:
    """With the input's name of the model that hififace_unofficial_256 comes from."""
    model.graph.input[1].name = "vsid"
    for node in model.graph.node:
        node.input[:] = ["vsid" if name == "source" else name for name in node.input]
    return model


def drop_last(field: str) -> Callable[[ModelProto], ModelProto]:
    def change(model: ModelProto) -> ModelProto:
        del getattr(model.graph, field)[-1]
        return model

    return change


def keep(model: ModelProto) -> ModelProto:
    return model


@pytest.mark.parametrize("name", ENTRIES)
def test_every_family_is_what_its_name_promises(name: str, tmp_path: Path) -> None:
    assert list_differences(save(build(name), tmp_path / f"{name}.onnx")) == ()


@pytest.mark.parametrize(
    ("family", "change", "name", "differences"),
    [
        ("hififace_unofficial_256", feed_by_vsid, "hififace_unofficial_256", (VSID,)),
        (
            "hififace_unofficial_256",
            drop_last("output"),
            "hififace_unofficial_256_mine",
            ("no second output with the mask",),
        ),
        (
            "inswapper_128",
            drop_last("initializer"),
            "inswapper_128",
            ("no emap, a matrix of 512 x 512, at its end",),
        ),
        ("inswapper_128", keep, "inswapper_128_fp16", ("fp32 weights, not fp16",)),
        ("inswapper_128_fp16", keep, "inswapper_128", ("fp16 weights, not fp32",)),
        (
            "inswapper_128",
            keep,
            "simswap_256",
            ("crops of 128 x 128, not 256 x 256", "an emap at its end, as inswapper has"),
        ),
        (
            "ghost_1_256",
            keep,
            "uniface_256",
            ("a source of a vector of 512, not a 256 x 256 picture",),
        ),
        (
            "blendswap_256",
            keep,
            "uniface_256-2",
            ("a source of a 112 x 112 picture, not a 256 x 256 picture",),
        ),
    ],
)
def test_file_that_differs(
    family: str,
    change: Callable[[ModelProto], ModelProto],
    name: str,
    differences: tuple[str, ...],
    tmp_path: Path,
) -> None:
    path = save(change(build(family)), tmp_path / f"{name}.onnx")
    assert list_differences(path) == differences


@pytest.mark.parametrize("name", ["small", "inswapper_1280", "my_inswapper_128"])
def test_name_that_promises_nothing(name: str, tmp_path: Path) -> None:
    assert list_differences(save(build_inswapper(), tmp_path / f"{name}.onnx")) is None


def test_one_encoder_or_two_are_both_a_uniface(tmp_path: Path) -> None:
    assert list_differences(save(build_packed("Split")[0], tmp_path / "uniface_256.onnx")) == ()


def test_free_size_is_a_note(tmp_path: Path) -> None:
    path = save(free_sizes(build("inswapper_128"), 0, 1, 2, 3), tmp_path / "inswapper_128.onnx")
    inspection = inspect_file(path, {})
    assert inspection.promise is not None
    assert inspection.promise.differences == ()
    assert inspection.notes[0].startswith("It leaves height and width free; 128 x 128 is")


def test_line_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(path: Path, *more: str) -> str:
        monkeypatch.setattr(sys, "argv", ["facefusion-finetune", "inspect", str(path), *more])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code in (0, None)
        return capsys.readouterr().out

    model = feed_by_vsid(build("hififace_unofficial_256"))
    path = save(model, tmp_path / "hififace_unofficial_256.onnx")
    assert f"by its name hififace_unofficial_256, but it differs: {VSID}" in " ".join(
        run(path).split()
    )
    assert json.loads(run(path, "--json"))["promise"] == {
        "swapper": "hififace_unofficial_256",
        "differences": [VSID],
    }
    path = save(build("inswapper_128"), tmp_path / "inswapper_128.onnx")
    assert "by its name inswapper_128, from which it does not differ" in " ".join(run(path).split())
    path = save(build_inswapper(), tmp_path / "small.onnx")
    assert "by its name" not in run(path)
    assert json.loads(run(path, "--json"))["promise"] is None
