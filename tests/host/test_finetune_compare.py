"""The callbacks of exports and comparison."""

import importlib
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from facefusion_finetune.errors import RegistryError, UsageError
from facefusion_finetune.people.profile import Person
from facefusion_finetune.runs.run import Run
from tests.support.tab_models import get

pytestmark = [pytest.mark.host, pytest.mark.usefixtures("said")]


def test_exports_are_offered_from_where_they_lie(
    export: ModuleType, runs: list[Run], person: Person
) -> None:
    data_classes = importlib.import_module("gradio.data_classes")
    shown = export.export("ada@1", False, False, 1)
    path = person.directory / "exports" / "ada-1.onnx"
    assert path.is_file()
    assert "inswapper_128 (sha256" in shown[export.EXPORT_HTML]
    assert f"href='gradio_api/file={path}'" in shown[export.EXPORT_LINKS_HTML]
    assert path.parent.resolve() in data_classes._StaticFiles.all_paths
    seen = shown[export.SEEN_TEXTBOX]
    assert export.refresh("ada@1", seen) == {}
    assert export.refresh("ada@2", seen)[export.EXPORT_LINKS_HTML] == ""
    assert export.refresh(None, seen)[export.EXPORT_LINKS_HTML] == ""
    left = export.delete("ada@1")
    assert not path.exists()
    assert not get(left, export.EXPORT_DELETE_BUTTON, "visible")


def test_sides_to_compare(
    compare: ModuleType, models: ModuleType, runs: list[Run], person: Person
) -> None:
    fingerprint = models.fingerprint_versions(compare.adapter.HOST_PATH)
    shown = compare.refresh(fingerprint, None, None, "")
    assert get(shown, compare.COMPARE_LEFT_DROPDOWN) == "ada@2"
    assert get(shown, compare.COMPARE_RIGHT_DROPDOWN) == compare.BASE
    seen = shown[compare.SEEN_TEXTBOX]
    assert compare.refresh(fingerprint, "ada@1", "ada@2", seen) == {}
    runs[1].model_path.unlink()
    fingerprint = models.fingerprint_versions(compare.adapter.HOST_PATH)
    shown = compare.refresh(fingerprint, "ada@1", "ada@2", seen)
    assert "value" not in shown[compare.COMPARE_LEFT_DROPDOWN].constructor_args, "it stays"
    assert get(shown, compare.COMPARE_RIGHT_DROPDOWN) == compare.BASE
    shown = compare.follow_person("ada", "bea@1", "bea@2")
    assert get(shown, compare.COMPARE_LEFT_DROPDOWN) == "ada@1"
    assert get(shown, compare.COMPARE_RIGHT_DROPDOWN) == compare.BASE


def test_frame_is_the_upload_else_the_target(
    compare: ModuleType, state: ModuleType, target_image: Path, target_video: Path, tmp_path: Path
) -> None:
    shown = compare.refresh_frame(None)
    assert target_image.name in shown[compare.COMPARE_FRAME_HTML]
    assert not get(shown, compare.COMPARE_FRAME_SLIDER, "visible")
    seen = shown[compare.COMPARE_FRAME_STATE]
    assert compare.refresh_frame(seen) == {}
    uploads = [tmp_path / number / "clip.mkv" for number in ("1", "2")]
    for upload in uploads:
        upload.parent.mkdir()
        shutil.copy(target_video, upload)
    shown = compare.take_upload(str(uploads[0]), seen)
    assert "uploaded file: clip.mkv" in shown[compare.COMPARE_FRAME_HTML]
    assert get(shown, compare.COMPARE_FRAME_SLIDER, "visible")
    assert get(shown, compare.COMPARE_FRAME_SLIDER, "maximum") > 20
    seen = shown[compare.COMPARE_FRAME_STATE]
    state.init_item("target_path", str(target_video))
    assert compare.refresh_frame(seen) == {}, "the upload wins"
    seen = compare.take_upload(str(uploads[1]), seen)[compare.COMPARE_FRAME_STATE]
    assert not uploads[0].exists()
    assert uploads[1].exists()
    shown = compare.take_upload(None, seen)
    assert not uploads[1].exists()
    assert target_video.name in shown[compare.COMPARE_FRAME_HTML]
    state.init_item("target_path", None)
    shown = compare.refresh_frame(shown[compare.COMPARE_FRAME_STATE])
    assert "Upload a picture or video" in shown[compare.COMPARE_FRAME_HTML]


def test_target_of_facefusion_is_not_deleted(
    compare: ModuleType, state: ModuleType, target_image: Path, tmp_path: Path
) -> None:
    """Gradio keeps a file once that was uploaded twice."""
    upload = tmp_path / "upload.png"
    shutil.copy(target_image, upload)
    state.init_item("target_path", str(upload))
    compare.take_upload(None, {"path": str(upload), "upload": str(upload)})
    assert upload.exists()


def test_both_are_shown(
    compare: ModuleType, state: ModuleType, runs: list[Run], person: Person
) -> None:
    slider = compare.show_both("ada@1", compare.BASE, None, 0)
    pictures = sorted((person.directory / "shown").iterdir())
    assert sorted(map(Path, slider.constructor_args["value"])) == pictures
    assert slider.constructor_args["label"] == (
        "left: ada@1 | right: base of ada@1 (inswapper_128)"
    )
    data_classes = importlib.import_module("gradio.data_classes")
    assert pictures[0].parent.resolve() in data_classes._StaticFiles.all_paths
    state.init_item("target_path", None)
    with pytest.raises(UsageError, match="no frame to swap"):
        compare.show_both("ada@1", "ada@2", None, 0)
    with pytest.raises(RegistryError, match="no such version"):
        compare.show_both("ada@1", None, str(pictures[0]), 0)
