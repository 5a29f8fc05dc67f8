"""Linked models inside FaceFusion: the same picture, and never a wrong one."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy
import onnx
import pytest

from facefusion_finetune import home
from facefusion_finetune.errors import RegistryError
from facefusion_finetune.home import HOME_VARIABLE
from facefusion_finetune.host.link import link
from facefusion_finetune.host.models import model_path, models_directory
from facefusion_finetune.people.profile import add_person, create_consent, load_person
from facefusion_finetune.registry import store, transfer
from facefusion_finetune.runs.run import find_run
from facefusion_finetune.swappers.catalogue import SwapperOptions
from tests.support import host as support
from tests.support.pictures import FACE, read_picture
from tests.support.runs import create_finished_run

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def host(furnished_host: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FaceFusion with `ada`, whose model is linked, and `eve`, whose equal model is plain."""
    folder = tmp_path_factory.mktemp("linked-models")
    copy = support.furnish_like(furnished_host, furnished_host, folder / "facefusion-copy")
    with home.use_home(folder / "home"):
        link(copy)
        path = copy / ".assets" / "models" / "inswapper_128.onnx"
        options = SwapperOptions(
            name="inswapper_128",
            path=path,
            type="inswapper",
            template="arcface_128",
            size=(128, 128),
            mean=(0.0, 0.0, 0.0),
            standard_deviation=(1.0, 1.0, 1.0),
            vendor="InsightFace",
            licence="Non-Commercial",
        )
        for name, is_linked in (("ada", True), ("eve", False)):
            person = add_person(name, create_consent(None, "A stand-in for tests."))
            run = create_finished_run(person, options, is_linked)
            store.activate(person, run, copy, force=True)
    return copy


@pytest.fixture(autouse=True)
def user(host: Path, home_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests share one home; others get an empty one each."""
    monkeypatch.setenv(HOME_VARIABLE, str(host.parent / "home"))


@pytest.fixture
def base(host: Path) -> Iterator[Path]:
    """The base beside the active models; whole again afterwards."""
    (path,) = models_directory(host).glob("*.base")
    yield path
    person = load_person("ada")
    store.activate(person, find_run(person, None), host, force=True)


def _swap(host: Path, name: str, target: Path, output: Path) -> support.Result:
    return support.run_processor(
        host, "--finetuned-swapper-model", name, "-t", target, "-o", output
    )


def test_picture_is_the_one_of_the_plain_model(
    host: Path, target_image: Path, tmp_path: Path
) -> None:
    pictures = {}
    for name in ("ada", "eve"):
        result = _swap(host, name, target_image, tmp_path / f"{name}.png")
        assert result.code == 0, result.output
        pictures[name] = read_picture(tmp_path / f"{name}.png")
    assert (pictures["ada"] == pictures["eve"]).all()
    change = numpy.abs(pictures["ada"] - read_picture(target_image)).max(axis=2)
    assert change[FACE].max() > 30
    change[FACE] = 0
    assert change.max() == 0


def test_tuned_weights_are_what_is_drawn(host: Path, target_image: Path, tmp_path: Path) -> None:
    card = store.read_card(model_path(models_directory(host), "ada", 1))
    support.register_model(host, "nobody", person_vector=card.person_vector)
    for name in ("ada", "nobody"):
        assert _swap(host, name, target_image, tmp_path / f"{name}.png").code == 0
    pictures = [read_picture(tmp_path / f"{name}.png") for name in ("ada", "nobody")]
    assert numpy.abs(pictures[0] - pictures[1]).max() > 10


def test_file_is_small_and_the_host_reads_its_emap(host: Path) -> None:
    directory = models_directory(host)
    small, plain = (model_path(directory, name, 1) for name in ("ada", "eve"))
    assert small.stat().st_size < plain.stat().st_size / 3
    # As `facefusion.model_helper.get_static_model_initializer` does it.
    emaps = [
        onnx.numpy_helper.to_array(onnx.load(str(path)).graph.initializer[-1])
        for path in (small, plain)
    ]
    assert emaps[0].shape == (512, 512)
    assert (emaps[0] == emaps[1]).all()


def test_stock_face_swapper_draws_with_the_exported_file(
    host: Path, source_image: Path, target_image: Path, tmp_path: Path
) -> None:
    """What is exported standalone takes the place of inswapper_128 in a FaceFusion without us."""
    stock = support.furnish_like(host, host, tmp_path / "stock")
    swapper = stock / ".assets" / "models" / "inswapper_128.onnx"
    arguments = ("-s", source_image, "-t", target_image, "-o")
    assert support.run_face_swapper(stock, *arguments, tmp_path / "plain.png").code == 0
    person = load_person("ada")
    transfer.export_model(person, find_run(person, None), swapper, standalone=True, overwrite=True)
    support.write_hash(swapper)
    result = support.run_face_swapper(stock, *arguments, tmp_path / "tuned.png")
    assert result.code == 0, result.output
    assert not (read_picture(tmp_path / "plain.png") == read_picture(tmp_path / "tuned.png")).all()


def _delete(base: Path) -> None:
    base.unlink()


def _change(base: Path) -> None:
    content = bytearray(base.read_bytes())
    content[len(content) // 2] ^= 1
    base.write_bytes(content)


def _replace(base: Path) -> None:
    """Another swapper of the same layout and size: it would draw, and draw somebody else."""
    model = onnx.load(str(base))
    for tensor in model.graph.initializer:
        if tensor.name.startswith("Conv") and tensor.raw_data:
            values = -onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    size = base.stat().st_size
    base.write_bytes(model.SerializeToString())
    assert base.stat().st_size == size


def _point_elsewhere(base: Path) -> None:
    elsewhere = base.parent.parent / "elsewhere.base"
    shutil.copy(base, elsewhere)
    base.unlink()
    base.symlink_to(elsewhere)


def _name_twice(base: Path) -> None:
    twin = base.parent.parent / "twin.base"
    twin.unlink(missing_ok=True)
    os.link(base, twin)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (_delete, "it was deleted or moved"),
        (_change, "it was changed or replaced"),
        (_replace, "it was changed or replaced"),
        (_point_elsewhere, "it is a symbolic link"),
        (_name_twice, "it has 2 hard links"),
    ],
)
def test_faulty_base_is_said_and_nothing_is_drawn(
    host: Path,
    base: Path,
    target_image: Path,
    tmp_path: Path,
    fault: Callable[[Path], None],
    message: str,
) -> None:
    fault(base)
    with pytest.raises(RegistryError, match=message):
        store.verify(model_path(models_directory(host), "ada", 1))
    result = _swap(host, "ada", target_image, tmp_path / "output.png")
    assert result.code != 0
    assert not (tmp_path / "output.png").exists()
    assert message in result.output
    assert "facefusion-finetune models activate ada@1" in result.output
    assert "Traceback" not in result.output


def test_plain_model_is_drawn_whatever_happened_to_the_base(
    host: Path, base: Path, target_image: Path, tmp_path: Path
) -> None:
    _delete(base)
    assert _swap(host, "eve", target_image, tmp_path / "eve.png").code == 0


def test_activation_repairs_the_model(
    host: Path, base: Path, target_image: Path, tmp_path: Path
) -> None:
    assert _swap(host, "ada", target_image, tmp_path / "before.png").code == 0
    _replace(base)
    person = load_person("ada")
    store.activate(person, find_run(person, None), host, force=True)
    assert _swap(host, "ada", target_image, tmp_path / "after.png").code == 0
    assert (read_picture(tmp_path / "before.png") == read_picture(tmp_path / "after.png")).all()
