"""Two models on one frame: what is computed, what is refused, what is left behind."""

import importlib
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy
import pytest
from numpy.typing import NDArray

from facefusion_finetune.errors import ConsentError, FootageError, RegistryError
from facefusion_finetune.host.models import find_active, models_directory
from facefusion_finetune.people.profile import Person, add_person, create_consent
from facefusion_finetune.privacy.removal import remove_person
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.files.modelfile import open_model
from tests.support.pictures import FACE
from tests.support.runs import create_finished_run

pytestmark = pytest.mark.host
Frame = NDArray[numpy.uint8]


@pytest.fixture
def compare(processor: ModuleType) -> ModuleType:
    """The module under test, inside FaceFusion."""
    return importlib.import_module(processor.__package__ + ".compare")  # type: ignore[operator]


@pytest.fixture
def runs(person: Person, options: SwapperOptions) -> list[Run]:
    """Two versions, the second one a plain file, that tint the face one way and the other."""
    return [
        create_finished_run(person, options, by > 0, weights=_tint(options, by))
        for by in (0.2, -0.2)
    ]


def _tint(options: SwapperOptions, by: float) -> dict[str, Any]:
    bias = open_model(options.path).read_tensor("Conv_612.bias").astype(numpy.float32)
    return {"Conv_612.bias": bias + by}


def _measure(one: Any, other: Any) -> float:
    return float(numpy.abs(numpy.asarray(one, float) - numpy.asarray(other, float)).max())


def _list_sessions() -> list[str]:
    pools = importlib.import_module("facefusion.inference_manager").INFERENCE_POOL_SET
    return [key for context in pools.values() for key in context if ".compare." in key]


def test_versions_and_base_differ_in_the_face_alone(
    compare: ModuleType, runs: list[Run], frame: Frame
) -> None:
    first, second = (compare.Side(run) for run in runs)
    pictures = compare.compare_models(first, second, frame)
    assert _measure(*pictures) > 30
    base = compare.compare_models(first, compare.Side(runs[0], is_base=True), frame)
    assert _measure(*base) > 10
    assert _measure(base[0], pictures[0]) == 0
    for picture in (*pictures, base[1]):
        changed = numpy.array(picture, float)
        assert changed.shape == frame.shape
        changed[FACE] = frame[FACE]
        assert _measure(changed, frame) == 0
    assert _list_sessions() == []


def test_the_same_twice_is_the_same(compare: ModuleType, runs: list[Run], frame: Frame) -> None:
    sides = [compare.Side(runs[1]), compare.Side(runs[1])]
    assert _measure(*compare.compare_models(*sides, frame)) == 0


def test_base_is_what_the_host_swaps_with_the_tuned_vector(
    compare: ModuleType,
    processor: ModuleType,
    options: SwapperOptions,
    person: Person,
    frame: Frame,
) -> None:
    """An untuned copy, activated, swaps as the base of a tuned one does."""
    run = create_finished_run(person, options, is_linked=False, weights={})
    side = compare.Side(run)
    tuned, base = compare.compare_models(side, compare.Side(run, is_base=True), frame)
    assert _measure(tuned, base) == 0
    assert _measure(base, frame) > 10


def test_pixel_boost_is_taken_where_it_fits(
    compare: ModuleType, state: ModuleType, runs: list[Run], frame: Frame
) -> None:
    side = compare.Side(runs[0])
    plain = compare.compare_models(side, side, frame)[0]
    state.init_item("finetuned_swapper_pixel_boost", "512x512")
    assert _measure(compare.compare_models(side, side, frame)[0], plain) > 0
    state.init_item("finetuned_swapper_pixel_boost", "300x300")
    assert _measure(compare.compare_models(side, side, frame)[0], plain) == 0


def test_content_check_comes_first(
    compare: ModuleType, runs: list[Run], frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(
        compare.content_analyser, "analyse_frame", lambda pixels: seen.append(pixels) or True
    )
    monkeypatch.setattr(compare, "prepare_model", lambda side: pytest.fail("it went on"))
    with pytest.raises(FootageError, match="content check refuses it"):
        compare.compare_models(compare.Side(runs[0]), compare.Side(runs[1]), frame)
    assert (seen[0] == frame).all()


def test_frame_without_a_face(compare: ModuleType, runs: list[Run], frame: Frame) -> None:
    with pytest.raises(FootageError, match="no face was found"):
        compare.compare_models(
            compare.Side(runs[0]), compare.Side(runs[1]), numpy.zeros_like(frame)
        )


def test_consent_of_both_is_needed(
    compare: ModuleType, runs: list[Run], options: SwapperOptions, frame: Frame
) -> None:
    other = add_person("bea", create_consent(None, "Bea agreed."))
    run = create_finished_run(other, options)
    remove_person("bea").require_complete()
    for sides in ([run, runs[0]], [runs[0], run]):
        with pytest.raises(ConsentError, match="'bea'"):
            compare.compare_models(*map(compare.Side, sides), frame)


def test_damage_does_not_reach_the_host(compare: ModuleType, runs: list[Run], frame: Frame) -> None:
    """A file that the host's pool cannot load would end FaceFusion."""
    linked, plain = runs
    whole = compare.Side(plain)
    content = linked.model_path.read_bytes()
    for damaged in (b"", content[: len(content) // 2], content.replace(b"Conv", b"Cnov")):
        linked.model_path.write_bytes(damaged)
        with pytest.raises(RegistryError):
            compare.compare_models(whole, compare.Side(linked), frame)
    linked.model_path.write_bytes(content)
    base = next(linked.directory.glob("*.base"))
    base.unlink()
    with pytest.raises(RegistryError, match="it was deleted or moved"):
        compare.compare_models(whole, compare.Side(linked), frame)
    content = plain.model_path.read_bytes()
    plain.model_path.write_bytes(content.replace(b"Conv", b"Cnov"))
    with pytest.raises(RegistryError, match="not a valid ONNX file"):
        compare.compare_models(whole, whole, frame)
    plain.model_path.unlink()
    with pytest.raises(RegistryError, match="not finished"):
        compare.compare_models(whole, whole, frame)
    assert _list_sessions() == []


def test_base_that_is_nowhere(
    compare: ModuleType, person: Person, options: SwapperOptions, frame: Frame, tmp_path: Path
) -> None:
    copy = tmp_path / "mine.onnx"
    shutil.copy(options.path, copy)
    run = create_finished_run(person, replace(options, name="mine", path=copy), False)
    side = compare.Side(run, is_base=True)
    assert compare.find_base(run, compare.store.read_card(run.model_path)) == copy
    copy.unlink()
    with pytest.raises(RegistryError, match="there is no mine with sha256"):
        compare.compare_models(side, side, frame)


def test_session_is_freed_when_the_swap_fails(
    compare: ModuleType, runs: list[Run], frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        assert len(_list_sessions()) == 1
        raise RuntimeError("out of memory")

    monkeypatch.setattr(compare.swap, "swap_face", fail)
    with pytest.raises(RegistryError, match=r"cannot be run \(out of memory"):
        compare.compare_models(compare.Side(runs[0]), compare.Side(runs[1]), frame)
    assert _list_sessions() == []


def test_nothing_is_activated_and_pictures_replace_older_ones(
    compare: ModuleType, runs: list[Run], frame: Frame, linked_host: Path, person: Person
) -> None:
    before = find_active(models_directory(linked_host))
    sides = [compare.Side(runs[0]), compare.Side(runs[0], is_base=True)]
    compare.draw_comparison(*sides, frame)
    pictures = compare.draw_comparison(*sides, frame)
    assert find_active(models_directory(linked_host)) == before
    assert sorted((person.directory / "shown").iterdir()) == sorted(pictures)
    expected = compare.compare_models(*sides, frame)
    for path, pixels in zip(pictures, expected, strict=True):
        assert _measure(cv2.imread(str(path)), numpy.asarray(pixels, float).round()) == 0


def test_frames_of_pictures_and_videos(
    compare: ModuleType, target_image: Path, target_video: Path, frame: Frame, tmp_path: Path
) -> None:
    assert compare.count_frames(str(target_image)) == 1
    total = compare.count_frames(str(target_video))
    assert total > 20
    assert (compare.read_frame(str(target_image), 7) == frame).all()
    first, later = (compare.read_frame(str(target_video), number) for number in (0, total - 1))
    assert first.shape == later.shape == frame.shape
    assert _measure(first, later) > 10
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    for path in (str(text), str(tmp_path), ""):
        assert compare.count_frames(path) == 0
        with pytest.raises(FootageError, match=r"cannot (be )?read"):
            compare.read_frame(path, 0)
    # the clip says 66 frames and holds 65
    assert (compare.read_frame(str(target_video), total - 2) == later).all()


def test_target_of_facefusion(
    compare: ModuleType, state: ModuleType, target_image: Path, tmp_path: Path
) -> None:
    assert compare.find_target() == str(target_image)
    for path in (None, str(tmp_path), str(tmp_path / "gone.png")):
        state.init_item("target_path", path)
        assert compare.find_target() is None
