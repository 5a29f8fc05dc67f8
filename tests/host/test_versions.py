"""The same answers over every FaceFusion version that is at hand."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from facefusion_finetune.host.link import link, unlink
from facefusion_finetune.host.locate import read_host
from tests.support import host as support
from tests.support.built_pages import build_pages
from tests.support.families import ENTRIES

ANALYSE = """
import json, sys
from pathlib import Path

import cv2

from facefusion_finetune.faces.content import is_video_blocked
from facefusion_finetune.faces.facefusion import FaceFusionAnalyser
from facefusion_finetune.host.locate import read_host
from tests.support.host import BENCH_SETTINGS

folder, image, video = map(Path, sys.argv[1:])
analyser = FaceFusionAnalyser(read_host(folder, str(folder)), BENCH_SETTINGS)
from facefusion.face_store import FACE_STORE

frame = cv2.imread(str(image))
(face,) = analyser.detect_faces(frame)
crop, _ = analyser.warp_face(frame, face.landmark_5, "arcface_128", (128, 128))
masks = analyser.create_masks(crop)
answers = {
    "name": analyser.name,
    "stored": len(FACE_STORE.get("static_faces", FACE_STORE)),
    "box": [int(number) for number in face.bounding_box],
    "masks": [mask.shape == (128, 128) for mask in (masks.face, masks.visible, masks.features)],
    "paste": analyser.create_paste_mask(crop).shape == (128, 128),
    "blocked": [
        analyser.is_frame_blocked(frame),
        is_video_blocked(video, analyser.is_frame_blocked),
    ],
    "swapper": analyser.get_swapper("inswapper_128").template,
    "recogniser": analyser.get_recogniser().name,
    "heavy": sorted({"torch", "gradio"} & set(sys.modules)),
}
print(json.dumps(answers))
"""


@pytest.fixture(scope="module", params=support.list_checkouts(), ids=lambda path: path.name)
def host(
    request: pytest.FixtureRequest, furnished_host: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A furnished and linked copy of one version, with the model `jane`."""
    host = tmp_path_factory.mktemp("version") / "facefusion-copy"
    support.furnish_like(request.param, furnished_host, host)
    link(host)
    support.register_model(host, "jane")
    return host


@pytest.mark.host
def test_the_processor_swaps_as_the_host(
    host: Path, source_image: Path, target_image: Path, tmp_path: Path
) -> None:
    arguments = ("-s", source_image, "-t", target_image)
    ours, theirs = tmp_path / "ours.png", tmp_path / "theirs.png"
    result = support.run_face_swapper(host, *arguments, "-o", theirs)
    assert result.code == 0, result.output
    result = support.run_processor(host, *arguments, "-o", ours)
    assert result.code == 0, result.output
    assert ours.read_bytes() == theirs.read_bytes()

    person = tmp_path / "person.png"
    result = support.run_processor(host, "-t", target_image, "-o", person)
    assert result.code == 0, result.output
    assert person.read_bytes() not in (target_image.read_bytes(), ours.read_bytes())
    change = cv2.absdiff(cv2.imread(str(person)), cv2.imread(str(target_image)))
    assert change.max() > 30


@pytest.mark.host
def test_a_video_is_swapped(host: Path, target_video: Path, tmp_path: Path) -> None:
    output = tmp_path / "output.mkv"
    result = support.run_processor(host, "-t", target_video, "-o", output, "--trim-frame-end", "4")
    assert result.code == 0, result.output
    assert int(cv2.VideoCapture(str(output)).get(cv2.CAP_PROP_FRAME_COUNT)) == 4


@pytest.mark.host
def test_refusals_are_said(host: Path, target_image: Path, tmp_path: Path) -> None:
    arguments = ("--finetuned-swapper-model", "bob", "-t", target_image)
    result = support.run_processor(host, *arguments, "-o", tmp_path / "output.png")
    assert result.code != 0
    assert "model 'bob': no such model is active" in result.output


@pytest.mark.host
def test_without_the_package_commands_work(
    host: Path, source_image: Path, target_image: Path, tmp_path: Path
) -> None:
    variables = support.create_startup_folder(tmp_path / "startup", support.BLOCKER)
    output = tmp_path / "output.png"
    arguments = ("-s", source_image, "-t", target_image, "-o", output)
    result = support.run_face_swapper(host, *arguments, **variables)
    assert result.code == 0, result.output
    output.unlink()
    result = support.run_processor(host, *arguments, **variables)
    assert result.code != 0
    assert "the package facefusion-finetune is not installed in" in result.output


@pytest.mark.host
def test_the_analyser_answers(host: Path, target_image: Path, target_video: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", ANALYSE, host, target_image, target_video],
        cwd=support.REPOSITORY,
        env=support.create_environment(host),
        check=True,
        capture_output=True,
        text=True,
    )
    answers = json.loads(process.stdout.strip().splitlines()[-1])
    assert answers.pop("box") == pytest.approx([272, 67, 340, 164], abs=2)
    assert answers == {
        "name": read_host(host, "").name,
        "stored": 0,
        "masks": [True, True, True],
        "paste": True,
        "blocked": [False, False],
        "swapper": "arcface_128",
        "recogniser": "arcface_w600k_r50",
        "heavy": [],
    }


@pytest.mark.host
def test_every_swapper_is_fed_as_by_the_host(
    host: Path, source_image: Path, target_image: Path
) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "tests.support.swappers", host, target_image, source_image],
        cwd=support.REPOSITORY,
        env=support.create_environment(host),
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    answers = json.loads(process.stdout.strip().splitlines()[-1])
    # as the host's own, not the target itself, and the person in the model is somebody else
    assert answers == {name: [True, True, True] for name in ENTRIES}


@pytest.mark.host
def test_every_layout_is_built(host: Path) -> None:
    is_old = read_host(host, "").version < (3, 5)
    layouts = ["default", "benchmark", "jobs", *([] if is_old else ["webcam"])]
    pages, said = build_pages(
        host,
        *(f"--ui-layouts {layout} --processors finetuned_swapper" for layout in layouts),
        f"--ui-layouts finetune {' '.join(layouts)}",
    )
    for layout, page in zip([*layouts, "all"], pages, strict=True):
        assert page.list_dangling() == [], layout
        assert page.modules == ["gradio"]
        dropdowns = page.find_all("finetuned_swapper_model_dropdown")
        assert len(dropdowns) == {"jobs": 0, "all": len(layouts) - 1}.get(layout, 1)
        for dropdown in dropdowns:
            assert dropdown["choices"] == [["jane (unproven)", "jane"]]
            assert dropdown["visible"] == (layout != "all")
    assert "cannot be shown" not in said
    if is_old:
        assert "it needs FaceFusion 3.5 or newer" in pages[-1].find("finetune_reason")["value"]
    else:
        assert pages[-1].find_all("finetune_reason") == []


@pytest.mark.host
def test_unlinking_restores(host: Path, tmp_path: Path) -> None:
    before = support.list_files(host)
    result = unlink(host)
    assert {path.as_posix() for path in result.removed} == set(before) - set(
        support.list_files(host)
    )
    assert len(result.removed) == 3
