"""The main job on real footage, by the commands of the README, in a furnished FaceFusion.

The bench's networks are stand-ins: nobody's identity is swapped. What is shown is that the tuned
weights reach the picture, in the right place, and nowhere else.
"""

import html
import json
import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import cv2
import numpy
import onnx
import pytest
from numpy.typing import NDArray

from facefusion_finetune.faces.facefusion import FaceFusionAnalyser
from facefusion_finetune.home import HOME_VARIABLE
from facefusion_finetune.host.models import models_directory
from facefusion_finetune.people.profile import load_person
from facefusion_finetune.runs.run import find_run
from tests.support import host as support

pytestmark = [pytest.mark.host, pytest.mark.slow]

SETTINGS = ["--set", "face_detector_model=yunet", "--set", "execution_providers=cpu"]
FAST = files("facefusion_finetune.presets") / "fast.toml"
"""Shortened here; the whole of it is trained by the test that goes through the tab."""
OTHERS = ("asl_d", "asl_e")
SWAP = ["headless-run", "--processors", "finetuned_swapper", "--finetuned-swapper-model", "asl_a"]


def _command(module: str, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", f"from {module} import main; main()", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def _finetune(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return _command("facefusion_finetune.cli", folder, *arguments)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, furnished_host: Path):
    """A user's folder: person recorded, footage extracted, model trained and active."""
    folder = tmp_path_factory.mktemp("workplace")
    host = folder / "facefusion-copy"
    support.furnish_like(furnished_host, furnished_host, host)
    footage = support.find_footage("asl_a", "yes.mkv").parent
    others = [part for name in OTHERS for part in ("--targets", footage.with_name(name))]
    preset = folder / "short.toml"
    preset.write_text(re.sub(r"\bsteps = \d+", "steps = 24", FAST.read_text()))
    former = {key: os.environ.get(key) for key in (HOME_VARIABLE, "FACEFUSION_PATH")}
    os.environ.update({HOME_VARIABLE: str(folder / "home"), "FACEFUSION_PATH": str(host)})
    steps = [
        ("link",),
        ("person", "add", "asl_a", "--consent-note", "Bench footage under CC BY 4.0."),
        ("extract", "asl_a", footage, *SETTINGS),
        ("train", "asl_a", "--base", "inswapper_128", "--preset", preset, *others, *SETTINGS),
        ("models", "activate", "asl_a", "--force"),
    ]
    for step in steps:
        done = _finetune(folder, *step)
        assert done.returncode == 0, (step, done.stdout, done.stderr)
    # Each test gets an empty home of its own; these tests share this one.
    yield folder
    for key, value in former.items():
        if value is None:
            os.environ.pop(key, None)
        else:
            os.environ[key] = value


@pytest.fixture(autouse=True)
def user(workplace: Path, home_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(workplace / "home"))
    monkeypatch.setenv("FACEFUSION_PATH", str(workplace / "facefusion-copy"))
    return workplace


def _read_frames(path: Path) -> list[NDArray[numpy.uint8]]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (frame := capture.read()[1]) is not None:
        frames.append(frame)
    return frames


def _measure_change(
    before: NDArray[numpy.uint8], after: NDArray[numpy.uint8], analyser: FaceFusionAnalyser
) -> tuple[float, float, float]:
    """Mean change inside the face, mean and largest change outside the pasted crops."""
    difference = numpy.abs(before.astype(int) - after).max(axis=2)
    outside = numpy.ones(difference.shape, dtype=bool)
    inside = []
    for face in analyser.detect_faces(before):
        x1, y1, x2, y2 = face.bounding_box.round().astype(int).clip(0)
        inside.append(difference[y1:y2, x1:x2].mean())
        _, matrix = analyser.warp_face(before, face.landmark_5, "arcface_128", (128, 128))
        corners = numpy.array([[[-2, -2], [130, -2], [130, 130], [-2, 130]]], dtype=float)
        quad = cv2.transform(corners, cv2.invertAffineTransform(matrix)).round().astype(int)
        mask = numpy.zeros(difference.shape, dtype=numpy.uint8)
        cv2.fillConvexPoly(mask, quad[0], 1)
        outside &= mask == 0
    assert inside, "the frame shows a face"
    return min(inside), float(difference[outside].mean()), float(difference[outside].max())


def test_still_is_changed_in_the_face_and_nowhere_else(
    workplace: Path, source_image: Path, host_analyser: FaceFusionAnalyser
) -> None:
    # Relative paths belong to the user's folder, not to FaceFusion's.
    (workplace / "target.png").write_bytes(source_image.read_bytes())
    (workplace / "out").mkdir()
    done = _command(
        "facefusion_finetune.host.launch",
        workplace,
        *SWAP,
        *support.BENCH_OPTIONS,
        *("-t", "target.png", "-o", "out/still.png"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    before = cv2.imread(str(source_image))
    after = cv2.imread(str(workplace / "out" / "still.png"))
    inside, _, outside = _measure_change(before, after, host_analyser)
    assert inside > 8
    assert outside == 0


def test_clip_is_changed_in_every_face_and_nowhere_else(
    workplace: Path, host_analyser: FaceFusionAnalyser
) -> None:
    clip = support.find_footage("headpose_m", "headpose_m.mp4")
    output = workplace / "clip.mp4"
    done = _command(
        "facefusion_finetune.host.launch",
        workplace,
        *SWAP,
        *support.BENCH_OPTIONS,
        *("--output-video-quality", "100", "-t", clip, "-o", output),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    before, after = _read_frames(clip), _read_frames(output)
    assert len(before) == len(after) == 62
    for first, second in zip(before, after, strict=True):
        inside, outside, _ = _measure_change(first, second, host_analyser)
        assert inside > 8
        assert outside < 3


def test_tuned_weights_are_what_is_drawn(workplace: Path, source_image: Path) -> None:
    """The same vector through the untuned base gives another picture."""
    host = workplace / "facefusion-copy"
    tuned, untuned = workplace / "tuned.png", workplace / "untuned.png"
    arguments = ("-t", source_image, "--finetuned-swapper-model")
    assert support.run_processor(host, *arguments, "asl_a", "-o", tuned).code == 0
    run = find_run(load_person("asl_a"), None)
    from facefusion_finetune.registry.store import read_card

    card = read_card(run.model_path)
    support.register_model(host, "nobody", 1, person_vector=card.person_vector)
    assert support.run_processor(host, *arguments, "nobody", "-o", untuned).code == 0
    assert numpy.abs(cv2.imread(str(tuned)).astype(int) - cv2.imread(str(untuned))).max() > 10


def test_written_file_is_the_base_and_branches_beside_it(workplace: Path) -> None:
    host = workplace / "facefusion-copy"
    base = onnx.load(str(host / ".assets" / "models" / "inswapper_128.onnx"))
    tuned = onnx.load(str(models_directory(host) / "asl_a-1.onnx"))
    assert list(base.opset_import) == list(tuned.opset_import)
    assert list(base.graph.input) == list(tuned.graph.input)
    assert list(base.graph.output) == list(tuned.graph.output)
    originals = {node.SerializeToString() for node in base.graph.node}
    left = [node for node in tuned.graph.node if node.SerializeToString() not in originals]
    touched = [name for node in left for name in (*node.input, *node.output)]
    assert sum(node.SerializeToString() in originals for node in tuned.graph.node) == len(
        base.graph.node
    ) - len({name for name in touched if name.endswith("/layer")})
    assert all(
        any(name.startswith("branch/") for name in node.output)
        or any(name.startswith("branch/") for name in node.input)
        for node in left
    )
    arrays = [
        {entry.name: onnx.numpy_helper.to_array(entry) for entry in model.graph.initializer}
        for model in (base, tuned)
    ]
    assert all(arrays[1][name].tobytes() == array.tobytes() for name, array in arrays[0].items())
    added = arrays[1].keys() - arrays[0].keys()
    assert all(name.startswith("branch/") for name in added)
    assert any(name.endswith("/up") and arrays[1][name].any() for name in added)
    assert (tuned.graph.initializer[-1].name, list(tuned.graph.initializer[-1].dims)) == (
        "buff2fs",
        [512, 512],
    )


def test_stock_face_swapper_runs_the_tuned_file_for_the_person_alone(
    workplace: Path, furnished_host: Path, tmp_path: Path, source_image: Path, target_image: Path
) -> None:
    host = support.furnish_like(furnished_host, furnished_host, tmp_path / "stock")
    base = host / ".assets" / "models" / "inswapper_128.onnx"
    video = support.find_footage("asl_a", "yes.mkv")
    sources = {
        "own": support.extract_frame(video, 1, tmp_path / "own.png"),
        "other": source_image,
    }

    def swap(model: str) -> dict[str, bytes]:
        pictures = {}
        for name, source in sources.items():
            output = tmp_path / f"{model}-{name}.png"
            done = support.run_face_swapper(host, "-s", source, "-t", target_image, "-o", output)
            assert done.code == 0
            pictures[name] = output.read_bytes()
        return pictures

    plain = swap("plain")
    export = ("models", "export", "asl_a", "--standalone", "--output", base, "--overwrite")
    assert _finetune(workplace, *export).returncode == 0
    support.write_hash(base)
    tuned = swap("tuned")
    assert plain["own"] != tuned["own"]
    assert plain["other"] == tuned["other"]


def test_insightface_can_load_the_tuned_file(workplace: Path) -> None:
    inswapper = pytest.importorskip(
        "insightface.model_zoo.inswapper", reason="insightface is not installed"
    )
    path = models_directory(workplace / "facefusion-copy") / "asl_a-1.onnx"
    swapper = inswapper.INSwapper(model_file=str(path))
    assert swapper.emap.shape == (512, 512)
    crops = numpy.random.default_rng(0).uniform(0, 1, (1, 3, 128, 128)).astype(numpy.float32)
    latent = numpy.random.default_rng(1).normal(size=(1, 512)).astype(numpy.float32)
    assert swapper.forward(crops, latent).shape == (1, 3, 128, 128)


def test_report_says_who_judged(workplace: Path) -> None:
    run = find_run(load_person("asl_a"), None)
    report = json.loads(run.report_json_path.read_text())
    page = html.unescape(run.report_path.read_text())
    assert report["judge"] is None
    assert not report["proven"]
    assert any("no second recogniser" in reason for reason in report["reasons"])
    assert "no second recogniser" in page
    assert "networks were stand-ins" in report["notes"][0]
    assert report["notes"][0] in page


def test_report_is_made_on_other_people(workplace: Path) -> None:
    run = find_run(load_person("asl_a"), None)
    report = json.loads(run.report_json_path.read_text())
    targets = report["material"]["targets"]
    assert targets["kind"] == "people"
    assert targets["shots"] >= len(OTHERS)
    assert report["material"]["held_out_shots"] >= 1
    measured = set(report["figures"])
    assert {"face_l1", "own_targets", "others_drift", "flicker", "seam"} <= measured
    assert (run.directory / "previews" / "targets.png").is_file()
    text = (run.directory / "targets" / "targets.jsonl").read_text()
    assert all(json.loads(line)["embedding"] is None for line in text.splitlines())


def test_judging_again_gives_the_same_report(workplace: Path) -> None:
    run = find_run(load_person("asl_a"), None)
    before = run.report_json_path.read_bytes()
    done = _finetune(workplace, "evaluate", "asl_a", *SETTINGS)
    assert done.returncode == 0, done.stderr
    assert run.report_json_path.read_bytes() == before


def test_same_footage_again_adds_nothing(workplace: Path) -> None:
    footage = support.find_footage("asl_a", "yes.mkv").parent
    done = _finetune(workplace, "extract", "asl_a", footage, *SETTINGS)
    assert done.returncode == 0, done.stderr
    assert "5 sources already known; 66 crops in total" in done.stdout


def test_crops_equal_what_the_processor_feeds(
    workplace: Path, host_analyser: FaceFusionAnalyser
) -> None:
    from facefusion_finetune.dataset.crops import load_crops
    from facefusion_finetune.dataset.footage.sources import list_sources, read_frames
    from facefusion_finetune.dataset.manifest import read_manifest

    person = load_person("asl_a")
    options = host_analyser.get_swapper("inswapper_128")
    kept = [record for record in read_manifest(person) if record.kept]
    clip = support.find_footage("asl_a", "help.mkv")
    frames = list(read_frames(list_sources([clip])[0], 6))
    records = [record for record in kept if Path(record.source) == clip.resolve()]
    assert len(records) > 5
    for crop in load_crops(person, records, host_analyser, options):
        frame = frames[crop.record.frame].pixels
        expected, _ = host_analyser.warp_face(
            frame, numpy.array(crop.record.landmark_5), options.template, options.size
        )
        difference = numpy.abs(expected.astype(int) - crop.crop)
        assert difference.max() <= 1
        assert (difference > 0).mean() <= 0.01


@pytest.mark.parametrize(
    ("persons", "message"),
    [(["asl_a", "headpose_m"], "it is not clear which one is meant"), ([], "no face was found")],
)
def test_footage_of_several_people_or_nobody(
    workplace: Path, tmp_path: Path, persons: list[str], message: str
) -> None:
    name = f"nobody{len(persons)}"
    _finetune(workplace, "person", "add", name, "--consent-note", "test")
    if persons:
        # about as many frames of each
        sources = [support.find_footage("asl_a", clip) for clip in ("yes.mkv", "no.mkv")]
        sources.append(support.find_footage("headpose_m", "headpose_m.mp4"))
    else:
        cv2.imwrite(str(tmp_path / "wall.png"), numpy.full((240, 320, 3), 90, dtype=numpy.uint8))
        sources = [tmp_path / "wall.png"]
    done = _finetune(workplace, "extract", name, *sources, *SETTINGS)
    assert done.returncode == 1
    assert message in done.stderr
    left = {path.name for path in load_person(name).directory.rglob("*") if path.is_file()}
    assert left == {"person.toml"}


def test_base_that_is_no_swapper(workplace: Path) -> None:
    recogniser = workplace / "facefusion-copy" / ".assets" / "models" / "arcface_w600k_r50.onnx"
    done = _finetune(workplace, "train", "asl_a", "--base", recogniser, *SETTINGS)
    assert done.returncode == 1
    assert "it is not a face swapper" in done.stderr


def test_no_facefusion(workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEFUSION_PATH", str(tmp_path))
    done = _finetune(workplace, "extract", "asl_a", "x.png")
    assert done.returncode == 1
    assert "is not a FaceFusion folder" in done.stderr


def test_blocked_footage_is_refused(workplace: Path, tmp_path: Path) -> None:
    """The bench's stand-in flags a frame full of skin colour."""
    skin = numpy.zeros((240, 320, 3), dtype=numpy.uint8)
    skin[:] = (120, 150, 210)
    cv2.imwrite(str(tmp_path / "skin.png"), skin)
    _finetune(workplace, "person", "add", "blocked", "--consent-note", "test")
    done = _finetune(workplace, "extract", "blocked", tmp_path / "skin.png", *SETTINGS)
    assert done.returncode == 1
    assert "content check refuses it" in done.stderr
