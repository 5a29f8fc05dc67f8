"""FaceFusion inside this process: faces, masks, content check, options; preview and stream."""

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy
import pytest

from facefusion_finetune.errors import HostError, SwapperError, UsageError
from facefusion_finetune.faces.facefusion import FaceFusionAnalyser
from facefusion_finetune.faces.frames import pad_narrow
from facefusion_finetune.faces.protocol import FaceAnalyser, VisionFrame
from facefusion_finetune.host.locate import Host, read_host
from facefusion_finetune.host.models import hash_path
from tests.support import host as support

pytestmark = pytest.mark.host


def test_it_is_an_analyser(host_analyser: FaceFusionAnalyser, linked_host: Path) -> None:
    analyser: FaceAnalyser = host_analyser
    assert analyser.name == read_host(linked_host, "").name
    assert analyser.get_judge() is None


def test_starting_leaves_the_process_as_it_was(host_analyser: FaceFusionAnalyser) -> None:
    assert Path.cwd() != Path(importlib.import_module("facefusion").__file__ or "").parents[1]
    assert not any(Path(path, "facefusion.py").is_file() for path in sys.path)
    assert "facefusion.py" not in sys.argv
    app_context = importlib.import_module("facefusion.app_context")
    assert app_context.detect_app_context() == "cli"


def test_one_face_is_detected(host_analyser: FaceFusionAnalyser, frame: VisionFrame) -> None:
    (face,) = host_analyser.detect_faces(frame)
    x1, y1, x2, y2 = face.bounding_box
    assert 230 < x1 < x2 < 380
    assert 40 < y1 < y2 < 200
    assert face.landmark_5.shape == (5, 2)
    assert face.landmark_68.shape == (68, 2)
    assert face.embedding.shape == (512,)
    assert numpy.linalg.norm(face.embedding) == pytest.approx(20, abs=1e-3)
    assert 0.5 < face.detector_score <= 1
    assert 0.5 < face.landmarker_score <= 1


def test_best_face_comes_first_and_nothing_is_kept(
    host_analyser: FaceFusionAnalyser, frame: VisionFrame
) -> None:
    small = cv2.resize(frame, None, fx=0.6, fy=0.6)
    both = numpy.zeros((480, 1100, 3), numpy.uint8)
    both[:288, :384] = small
    both[:, 420:1060] = frame
    scores = [face.detector_score for face in host_analyser.detect_faces(both)]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)
    assert host_analyser.detect_faces(numpy.zeros_like(frame)) == []
    store = importlib.import_module("facefusion.face_store").FACE_STORE
    assert not store.get("static_faces", store)


def test_crops_are_the_hosts_own(host_analyser: FaceFusionAnalyser, frame: VisionFrame) -> None:
    (face,) = host_analyser.detect_faces(frame)
    (host_face,) = importlib.import_module("facefusion_finetune.host.adapter").get_many_faces(
        [frame]
    )
    warp = importlib.import_module("facefusion.face_helper").warp_face_by_face_landmark_5
    for template in host_analyser.warp_templates():
        crop, matrix = host_analyser.warp_face(frame, face.landmark_5, template, (128, 128))
        expected, expected_matrix = warp(
            frame, host_face.landmark_set["5/68"], template, (128, 128)
        )
        assert (crop == expected).all()
        assert (matrix == expected_matrix).all()


def test_templates_are_copies(host_analyser: FaceFusionAnalyser) -> None:
    templates = host_analyser.warp_templates()
    assert {"arcface_128", "arcface_112_v2", "ffhq_512"} <= set(templates)
    assert all(points.shape == (5, 2) for points in templates.values())
    templates["arcface_128"][:] = 0
    assert host_analyser.warp_templates()["arcface_128"].min() > 0.3


def test_masks(host_analyser: FaceFusionAnalyser, frame: VisionFrame, state: ModuleType) -> None:
    (face,) = host_analyser.detect_faces(frame)
    crop, matrix = host_analyser.warp_face(frame, face.landmark_5, "arcface_128", (128, 128))
    masks = host_analyser.create_masks(crop)
    for mask in (masks.face, masks.visible, masks.features):
        assert mask.shape == (128, 128)
        assert mask.min() >= 0
        assert mask.max() <= 1
    assert masks.face[64, 64] == 1
    assert masks.visible[64, 64] == 1
    box = host_analyser.create_paste_mask(crop)
    assert box.shape == (128, 128)
    assert box[64, 64] == pytest.approx(1)
    assert box[0, 0] < 0.2
    state.init_item("face_mask_types", ["box", "occlusion", "region"])
    narrow = host_analyser.create_paste_mask(crop)
    assert (narrow == numpy.minimum.reduce([box, masks.visible, masks.face]).clip(0, 1)).all()
    state.init_item("face_mask_types", ["area"])
    assert (host_analyser.create_paste_mask(crop) == box).all()

    pasted = host_analyser.paste_back(frame, numpy.zeros_like(crop), box, matrix)
    x1, y1, x2, y2 = face.bounding_box.astype(int)
    assert pasted[(y1 + y2) // 2, (x1 + x2) // 2].max() == 0
    assert (pasted[300:] == frame[300:]).all()
    assert frame[(y1 + y2) // 2, (x1 + x2) // 2].max() > 0


def test_content_is_checked_by_the_host(
    host_analyser: FaceFusionAnalyser, frame: VisionFrame
) -> None:
    assert host_analyser.is_frame_blocked(frame) is False
    # the bench's check flags skin-coloured frames
    flagged = numpy.full((240, 320, 3), (90, 120, 200), numpy.uint8)
    assert host_analyser.is_frame_blocked(flagged) is True
    assert host_analyser.is_frame_blocked(numpy.full_like(flagged, 90)) is False


def test_swapper_options(host_analyser: FaceFusionAnalyser, linked_host: Path) -> None:
    options = host_analyser.get_swapper("inswapper_128")
    assert options.path == linked_host / ".assets" / "models" / "inswapper_128.onnx"
    assert options.type == "inswapper"
    assert options.template == "arcface_128"
    assert options.size == (128, 128)
    assert options.mean == (0.0, 0.0, 0.0)
    assert options.standard_deviation == (1.0, 1.0, 1.0)
    assert options.vendor == "InsightFace"
    assert options.licence == "Non-Commercial"
    with pytest.raises(SwapperError, match=r"no such face swapper.*inswapper_128"):
        host_analyser.get_swapper("inswapper")


def test_missing_and_damaged_swappers_are_said(
    host_analyser: FaceFusionAnalyser, linked_host: Path
) -> None:
    with pytest.raises(SwapperError, match="missing and could not be downloaded"):
        host_analyser.get_swapper("hyperswap_1a_256")
    path = linked_host / ".assets" / "models" / "simswap_unofficial_512.onnx"
    converter = path.with_name("crossface_simswap.onnx")
    try:
        for file in (path, converter):
            file.write_bytes(b"half a model")
            hash_path(file).write_text("00000000")
        with pytest.raises(SwapperError, match="is damaged"):
            host_analyser.get_swapper("simswap_unofficial_512")
        assert path.read_bytes() == b"half a model"
    finally:
        for file in (path, converter):
            file.unlink()
            hash_path(file).unlink()


def test_recogniser_is_the_hosts_own(host_analyser: FaceFusionAnalyser, frame: VisionFrame) -> None:
    options = host_analyser.get_recogniser()
    assert options.name == "arcface_w600k_r50"
    (face,) = host_analyser.detect_faces(frame)
    crop, _ = host_analyser.warp_face(frame, face.landmark_5, options.template, options.size)
    inputs = (crop[:, :, ::-1].astype(numpy.float32) - options.mean) / options.standard_deviation
    onnxruntime = importlib.import_module("onnxruntime")
    session = onnxruntime.InferenceSession(options.path, providers=["CPUExecutionProvider"])
    feed = {"input": inputs.transpose(2, 0, 1)[None].astype(numpy.float32)}
    (vector,) = session.run(None, feed)
    assert numpy.abs(vector[0] - face.embedding).max() < 1e-3


def test_other_people_are_seeded_unit_directions(host_analyser: FaceFusionAnalyser) -> None:
    others = host_analyser.sample_other_vectors(50, seed=3)
    assert others.shape == (50, 512)
    assert numpy.linalg.norm(others, axis=1) == pytest.approx(numpy.ones(50))
    assert (others == host_analyser.sample_other_vectors(50, seed=3)).all()
    assert not (others == host_analyser.sample_other_vectors(50, seed=4)).any()
    assert numpy.abs(others @ others.T - numpy.eye(50)).max() < 0.3
    assert host_analyser.sample_other_pictures(1, 0, "ffhq_512", (256, 256)) is None


def test_overrides(host_analyser: FaceFusionAnalyser, state: ModuleType, linked_host: Path) -> None:
    host = read_host(linked_host, "")
    folder = os.getcwd()
    assert state.get_item("face_detector_model") == "yunet"
    overrides = support.BENCH_SETTINGS | {"face_mask_blur": 0.5, "face_detector_score": 0.6}
    FaceFusionAnalyser(host, overrides)
    assert state.get_item("face_mask_blur") == 0.5
    assert state.get_item("face_detector_score") == 0.6
    with pytest.raises(UsageError, match=r"setting 'face_colour': .* has no such setting"):
        FaceFusionAnalyser(host, {"face_colour": "green"})
    with pytest.raises(UsageError, match=r"does not accept them .*invalid choice: 'yunnet'"):
        FaceFusionAnalyser(host, {"face_detector_model": "yunnet"})
    assert os.getcwd() == folder


def test_missing_models_are_said(
    host_analyser: FaceFusionAnalyser, state: ModuleType, linked_host: Path
) -> None:
    host = read_host(linked_host, "")
    with pytest.raises(HostError, match="models that FaceFusion needs to find faces are missing"):
        FaceFusionAnalyser(host, {"face_detector_model": "retinaface"})
    process_manager = importlib.import_module("facefusion.process_manager")
    assert process_manager.is_pending()


def test_another_host_needs_another_process(
    host_analyser: FaceFusionAnalyser, tmp_path: Path
) -> None:
    with pytest.raises(HostError, match="this process already uses the FaceFusion in"):
        FaceFusionAnalyser(Host(support.create_fake_checkout(tmp_path / "other"), (3, 8, 1)))


def create_inputs(frame: VisionFrame, **others: Any) -> dict[str, Any]:
    mask = numpy.full(frame.shape[:2], 255, numpy.uint8)
    return {
        "source_vision_frames": [],
        "target_vision_frames": [frame, frame, frame],
        "target_vision_frame": frame,
        "temp_vision_frame": frame.copy(),
        "temp_vision_mask": mask,
        **others,
    }


def test_preview(processor: ModuleType, state: ModuleType, frame: VisionFrame) -> None:
    assert processor.pre_check()
    assert processor.pre_process("preview")
    inputs = create_inputs(frame, reference_vision_frame=frame)
    swapped, mask = processor.process_frame(inputs)
    assert swapped.dtype == numpy.uint8
    assert not (swapped == frame).all()
    assert mask is inputs["temp_vision_mask"]
    state.init_item("target_path", None)
    assert not processor.pre_process("preview")


def test_stream_has_neither_target_nor_reference(
    processor: ModuleType, state: ModuleType, frame: VisionFrame
) -> None:
    state.init_item("target_path", None)
    state.init_item("face_selector_mode", "one")
    assert processor.pre_process("stream")
    swapped, _ = processor.process_frame(create_inputs(frame, target_vision_frames=[frame]))
    assert not (swapped == frame).all()
    state.init_item("face_selector_mode", "reference")
    swapped, _ = processor.process_frame(create_inputs(frame, target_vision_frames=[frame]))
    assert (swapped == frame).all()


def test_a_smaller_preview_frame_is_swapped_at_its_size(
    processor: ModuleType, frame: VisionFrame
) -> None:
    small = cv2.resize(frame, (320, 240))
    assert processor.pre_process("preview")
    inputs = create_inputs(frame, reference_vision_frame=frame, temp_vision_frame=small)
    swapped, _ = processor.process_frame(inputs)
    change = numpy.abs(swapped.astype(int) - small).max(axis=2)
    assert change[20:100, 115:190].max() > 30
    assert change[120:].max() == 0


def test_a_newly_activated_version_is_a_new_session(
    processor: ModuleType, linked_host: Path, frame: VisionFrame
) -> None:
    inputs = create_inputs(frame, reference_vision_frame=frame)
    assert processor.pre_process("preview")
    session = processor.get_session()
    before, _ = processor.process_frame(inputs)
    path = support.register_model(linked_host, "jane", 3)
    try:
        # a run in progress keeps its model until the next one begins
        assert processor.get_session() is session
        assert processor.pre_process("preview")
        assert processor.get_session() is not session
        after, _ = processor.process_frame(inputs)
        assert not (before == after).all()
        # another content under the same name
        session = processor.get_session()
        support.register_model(linked_host, "jane", 3, turned=True)
        assert processor.pre_process("preview")
        assert processor.get_session() is not session
        again, _ = processor.process_frame(inputs)
        assert (before == again).all()
    finally:
        for file in path.parent.glob("jane-3.*"):
            file.unlink()
        assert processor.pre_process("preview")


def test_memory_strategies(processor: ModuleType, state: ModuleType, frame: VisionFrame) -> None:
    assert processor.pre_process("preview")
    session = processor.get_session()
    state.init_item("video_memory_strategy", "tolerant")
    processor.post_process()
    assert processor.get_session() is session
    state.init_item("video_memory_strategy", "strict")
    processor.post_process()
    assert processor.get_session() is not session


def test_nothing_is_registered_that_the_host_would_misuse(processor: ModuleType) -> None:
    assert not hasattr(processor, "create_static_model_set")
    content_analyser = importlib.import_module("facefusion.content_analyser")
    assert content_analyser in processor.get_common_modules()


def test_a_failed_common_check_ends(
    processor: ModuleType, state: ModuleType, linked_host: Path
) -> None:
    state.init_item("face_detector_model", "retinaface")
    assert not processor.pre_check()
    assert importlib.import_module("facefusion.process_manager").is_pending()


@pytest.mark.parametrize("shape", [(1, 40_000, 3), (40_000, 1, 3), (1, 1, 3)])
def test_narrow_frames(host_analyser: FaceFusionAnalyser, shape: tuple[int, int, int]) -> None:
    frame = pad_narrow(numpy.zeros(shape, numpy.uint8))
    assert host_analyser.is_frame_blocked(frame) is False
    assert host_analyser.detect_faces(frame) == []
