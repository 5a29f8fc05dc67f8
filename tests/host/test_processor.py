"""The processor on the command line: pictures, options, what it refuses, jobs."""

import json
import shutil
from pathlib import Path

import cv2
import numpy
import pytest
from numpy.typing import NDArray

from facefusion_finetune.host.models import card_path
from tests.support import host as support
from tests.support.pictures import FACE, read_picture

pytestmark = pytest.mark.host


def swap(host: Path, target: Path, output: Path, *arguments: object) -> NDArray[numpy.int16]:
    result = support.run_processor(host, "-t", target, "-o", output, *arguments)
    assert result.code == 0, result.output
    return read_picture(output)


def swap_by_host(
    host: Path, source: Path, target: Path, output: Path, *arguments: object
) -> NDArray[numpy.int16]:
    """The same swap by the host's own face swapper with the untuned base."""
    result = support.run_face_swapper(host, "-s", source, "-t", target, "-o", output, *arguments)
    assert result.code == 0, result.output
    return read_picture(output)


def refuse(host: Path, target: Path, output: Path, *arguments: object) -> str:
    result = support.run_processor(host, "-t", target, "-o", output, *arguments)
    assert result.code != 0
    assert not output.exists()
    return result.output


def test_only_the_face_changes_and_no_source_is_needed(
    linked_host: Path, target_image: Path, tmp_path: Path
) -> None:
    before = read_picture(target_image)
    after = swap(linked_host, target_image, tmp_path / "output.png")
    change = numpy.abs(after - before).max(axis=2)
    assert change[FACE].max() > 30
    change[FACE] = 0
    assert change.max() == 0


def test_the_chosen_version_is_used(linked_host: Path, target_image: Path, tmp_path: Path) -> None:
    model = "--finetuned-swapper-model"
    newest = swap(linked_host, target_image, tmp_path / "0.png", model, "jane")
    second = swap(linked_host, target_image, tmp_path / "2.png", model, "jane@2")
    first = swap(linked_host, target_image, tmp_path / "1.png", model, "jane@1")
    assert (newest == second).all()
    assert numpy.abs(first - second).max() > 30


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([], []),
        (
            ["--finetuned-swapper-weight", "0.2", "--finetuned-swapper-pixel-boost", "256x256"],
            ["--face-swapper-weight", "0.2", "--face-swapper-pixel-boost", "256x256"],
        ),
        (
            ["--face-mask-types", "box", "occlusion", "area", "region"],
            ["--face-mask-types", "box", "occlusion", "area", "region"],
        ),
    ],
    ids=["default", "weight and boost", "masks"],
)
def test_a_given_source_wins_and_is_swapped_as_by_the_host(
    linked_host: Path,
    source_image: Path,
    target_image: Path,
    tmp_path: Path,
    ours: list[str],
    theirs: list[str],
) -> None:
    expected = swap_by_host(
        linked_host, source_image, target_image, tmp_path / "theirs.png", *theirs
    )
    swapped = swap(linked_host, target_image, tmp_path / "ours.png", "-s", source_image, *ours)
    assert (swapped == expected).all()
    assert not (swapped == read_picture(target_image)).all()


def test_weight_and_pixel_boost_change_the_picture(
    linked_host: Path, target_image: Path, tmp_path: Path
) -> None:
    usual = swap(linked_host, target_image, tmp_path / "usual.png")
    heavy = swap(
        linked_host, target_image, tmp_path / "heavy.png", "--finetuned-swapper-weight", "1.0"
    )
    sharp = swap(
        linked_host,
        target_image,
        tmp_path / "sharp.png",
        "--finetuned-swapper-pixel-boost",
        "256x256",
    )
    assert not (usual == heavy).all()
    assert not (usual == sharp).all()


def test_video_changes_inside_the_face(
    linked_host: Path, target_video: Path, tmp_path: Path
) -> None:
    target = Path(shutil.copy(target_video, tmp_path / "target.mkv"))
    output = tmp_path / "output.mkv"
    result = support.run_processor(
        linked_host,
        *("-t", target, "-o", output, "--trim-frame-end", "6"),
        *("--output-video-quality", "100", "--output-video-encoder", "libx264"),
    )
    assert result.code == 0, result.output
    originals, swapped = cv2.VideoCapture(str(target)), cv2.VideoCapture(str(output))
    count = 0
    while True:
        (has_before, before), (has_after, after) = originals.read(), swapped.read()
        if not has_before or not has_after:
            break
        change = numpy.abs(after.astype(int) - before).max(axis=2)
        assert change[FACE].mean() > 10
        change[FACE] = 0
        # the encoder changes every pixel a little, by sharp edges a little more
        assert change.mean() < 4
        count += 1
    assert count == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--finetuned-swapper-model", "bob"], "model 'bob': no such model is active"),
        (["--finetuned-swapper-model", "jane@9"], "Active: jane@1, jane@2."),
        (["--finetuned-swapper-model", "jane@x"], "the part after '@' is not a version number"),
        (["--finetuned-swapper-model", "../jane"], "person name '../jane'"),
        (["--finetuned-swapper-pixel-boost", "200x200"], "not a multiple of the size of model"),
        (["--finetuned-swapper-weight", "1.5"], "--finetuned-swapper-weight '1.5'"),
        (["-s", "nowhere.png"], "not a readable image or audio file"),
    ],
)
def test_wrong_options_are_said(
    linked_host: Path, target_image: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    output = refuse(linked_host, target_image, tmp_path / "output.png", *arguments)
    assert message in output
    assert "Traceback" not in output


def test_a_source_without_a_face_is_said(
    linked_host: Path, target_image: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.png"
    cv2.imwrite(str(empty), numpy.full((240, 320, 3), 90, numpy.uint8))
    output = refuse(linked_host, target_image, tmp_path / "output.png", "-s", empty)
    assert "no face was detected in it" in output


def damage_content(path: Path) -> str:
    """One byte is another one."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    return "the file is damaged: its crc32"


def damage_hash(path: Path) -> str:
    """The hash is another one."""
    path.with_suffix(".hash").write_text("00000000")
    return "but was 00000000 when it was activated"


def damage_format(path: Path) -> str:
    """The hash fits, but the file is no model."""
    path.write_bytes(b"no model at all")
    support.write_hash(path)
    return "a file of the model cannot be read (DecodeError"


def damage_card(path: Path) -> str:
    """The card is no card."""
    card_path(path).write_text("{")
    return "is not a model card"


@pytest.mark.parametrize("damage", [damage_content, damage_hash, damage_format, damage_card])
def test_a_damaged_model_is_said_and_kept(
    linked_host: Path, target_image: Path, tmp_path: Path, damage: object
) -> None:
    path = support.register_model(linked_host, "damaged")
    assert callable(damage)
    message = damage(path)
    content = path.read_bytes()
    try:
        output = refuse(
            linked_host,
            target_image,
            tmp_path / "output.png",
            *("--finetuned-swapper-model", "damaged"),
        )
        assert message in output
        assert path.read_bytes() == content
    finally:
        for file in path.parent.glob("damaged-*"):
            file.unlink()


def test_a_model_of_another_type_is_said(
    linked_host: Path, target_image: Path, tmp_path: Path
) -> None:
    path = support.register_model(linked_host, "other", type="facedancer")
    try:
        output = refuse(
            linked_host,
            target_image,
            tmp_path / "output.png",
            *("--finetuned-swapper-model", "other"),
        )
        assert "a swapper of type 'facedancer'" in output
        assert "inswapper, simswap, ghost, blendswap, uniface, hififace, hyperswap" in output
    finally:
        for file in path.parent.glob("other-*"):
            file.unlink()


def test_an_old_ini_with_a_deleted_person_harms_no_other_command(
    linked_host: Path, target_image: Path, tmp_path: Path
) -> None:
    config = tmp_path / "facefusion.ini"
    config.write_text(
        "[processors]\nprocessors = finetuned_swapper\nfinetuned_swapper_model = deleted\n"
        "finetuned_swapper_pixel_boost = 7x7\n"
    )
    arguments = ("--config-path", config)
    result = support.run_host(linked_host, "headless-run", "--help", *arguments)
    assert result.code == 0, result.output
    jobs = tmp_path / "jobs"
    result = support.run_host(linked_host, "job-create", "one", "--jobs-path", jobs)
    assert result.code == 0, result.output
    output = refuse(linked_host, target_image, tmp_path / "output.png", *arguments)
    assert "model 'deleted': no such model is active" in output


def test_jobs_and_those_stored_before_the_plugin(
    linked_host: Path, target_image: Path, tmp_path: Path
) -> None:
    jobs, output = ("--jobs-path", tmp_path / "jobs"), tmp_path / "output.png"
    step = ("--processors", "finetuned_swapper", *support.BENCH_OPTIONS[:2])
    for command in (
        ("job-create", "one", *jobs),
        ("job-add-step", "one", *jobs, *step, "-t", target_image, "-o", output),
        ("job-submit", "one", *jobs),
    ):
        result = support.run_host(linked_host, *command)
        assert result.code == 0, result.output
    stored = tmp_path / "jobs" / "queued" / "one.json"
    job = json.loads(stored.read_text())
    arguments = job["steps"][0]["args"]
    assert arguments["finetuned_swapper_model"] == "jane"
    arguments["finetuned_swapper_pixel_boost"] = None
    del arguments["finetuned_swapper_weight"]
    stored.write_text(json.dumps(job))
    result = support.run_host(linked_host, "job-run", "one", *jobs, *support.BENCH_OPTIONS[2:])
    assert result.code == 0, result.output
    assert (read_picture(output) == swap(linked_host, target_image, tmp_path / "direct.png")).all()


def test_batch_run(linked_host: Path, target_image: Path, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        shutil.copy(target_image, tmp_path / name)
    result = support.run_host(
        linked_host,
        "batch-run",
        *("--processors", "finetuned_swapper", *support.BENCH_OPTIONS),
        *("-t", tmp_path / "*.png", "-o", tmp_path / "out-{index}{target_extension}"),
        *("--jobs-path", tmp_path / "jobs"),
    )
    assert result.code == 0, result.output
    assert (read_picture(tmp_path / "out-0.png") == read_picture(tmp_path / "out-1.png")).all()
    assert not (read_picture(tmp_path / "out-0.png") == read_picture(target_image)).all()


def test_headless_runs_import_neither_torch_nor_gradio(
    linked_host: Path, target_image: Path, tmp_path: Path
) -> None:
    variables = support.create_startup_folder(tmp_path / "startup", support.PROBE)
    probe = tmp_path / "probe.txt"
    output = tmp_path / "output.png"
    result = support.run_processor(
        linked_host, "-t", target_image, "-o", output, **variables, PROBE_FILE=str(probe)
    )
    assert result.code == 0, result.output
    assert probe.read_text() == "cv2"
