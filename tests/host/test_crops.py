"""What training sees of a face is what the processor feeds the swapper for it."""

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy
import pytest
from numpy.typing import NDArray

from facefusion_finetune.dataset.crops import load_crops
from facefusion_finetune.dataset.extraction.extract import ExtractSettings, extract_footage
from facefusion_finetune.dataset.footage.sources import list_sources, read_frames
from facefusion_finetune.dataset.manifest import read_manifest
from facefusion_finetune.faces.facefusion import FaceFusionAnalyser
from facefusion_finetune.people.profile import Person, add_person, create_consent
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.sessions import normalise_crops
from tests.support import host as support

pytestmark = pytest.mark.host

CLIPS = {
    "asl_a": "yes.mkv",
    "asl_b": "walk.mkv",
    "asl_c": "eat.mkv",
    "asl_d": "want.mkv",
    "asl_e": "thanks.mkv",
    "headpose_f": "headpose_f.mp4",
    "headpose_m": "headpose_m.mp4",
}
SHAPES = [
    ("arcface_128", (128, 128)),
    ("arcface_128", (256, 256)),
    ("arcface_112_v1", (256, 256)),
    ("arcface_112_v1", (512, 512)),
    ("ffhq_512", (256, 256)),
    ("mtcnn_512", (256, 256)),
]
"""All that FaceFusion's swappers use."""


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three frames of each person, one of them cut so that the face touches the picture's edge."""
    folder = tmp_path_factory.mktemp("frames")
    for person, clip in CLIPS.items():
        (source,) = list_sources([support.find_footage(person, clip)])
        every = list(read_frames(source))
        for place in (0, len(every) // 2, len(every) - 1):
            pixels = every[place].pixels
            if place == 0:
                pixels = _cut_at_face(pixels)
            path = folder / person / f"{place:03d}.png"
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), pixels)
    return folder


def _cut_at_face(pixels: NDArray[numpy.uint8]) -> NDArray[numpy.uint8]:
    """The bench's faces are in the upper middle: what is above and left of them goes."""
    height, width = pixels.shape[:2]
    return pixels[height // 12 :, int(width * 0.36) :]


@pytest.fixture
def person(home_folder: Path, frames: Path, host_analyser: FaceFusionAnalyser) -> Person:
    """Everybody's frames as if they were one person's: likeness is not what this is about."""
    person = add_person("all", create_consent(None, "Frames of the bench."))
    for folder in sorted(frames.iterdir()):
        settings = ExtractSettings((sorted(folder.iterdir())[1],))
        extract_footage(person, [folder], host_analyser, settings)
    return person


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch, host_analyser: FaceFusionAnalyser) -> list[Any]:
    """The crops that the processor gives to the model."""
    crops: list[Any] = []
    swap = importlib.import_module(
        "facefusion_finetune.facefusion.processors.modules.finetuned_swapper.swap"
    )

    def forward(session: Any, source: Any, crop_vision_frame: Any, card: Any) -> Any:
        crops.append(crop_vision_frame.copy())
        return crop_vision_frame.astype(numpy.float64)

    monkeypatch.setattr(swap, "forward", forward)
    return crops


@pytest.mark.parametrize(("template", "size"), SHAPES)
def test_crops_are_what_the_processor_feeds(
    person: Person,
    host_analyser: FaceFusionAnalyser,
    linked_host: Path,
    fed: list[Any],
    template: str,
    size: tuple[int, int],
) -> None:
    options = replace(host_analyser.get_swapper("inswapper_128"), template=template, size=size)
    card = replace(support.create_card(linked_host, "jane", 1), template=template, size=size)
    records = [record for record in read_manifest(person) if record.kept]
    assert len(records) >= 2 * len(CLIPS)
    shares = []
    for crop in load_crops(person, records, host_analyser, options):
        _swap(crop.record.source, crop.record.bounding_box, card)
        difference = numpy.abs(fed.pop().astype(int) - crop.crop)
        assert difference.max() <= 1
        shares.append((difference > 0).mean())
        assert shares[-1] <= 0.01
    # On the whole next to nothing differs: only where the matrix rounds to another sub-pixel.
    assert numpy.mean(shares) <= 0.001


def _swap(source: str, bounding_box: tuple[float, ...], card: Any) -> None:
    """As the processor swaps the face at that place."""
    frame = cv2.imread(source)
    adapter = importlib.import_module("facefusion_finetune.host.adapter")
    swap = importlib.import_module(
        "facefusion_finetune.facefusion.processors.modules.finetuned_swapper.swap"
    )
    (face,) = [
        face
        for face in adapter.detect_faces(frame)
        if numpy.allclose(face.bounding_box, bounding_box)
    ]
    swap.swap_face(numpy.ones((1, 512)), face, None, card, frame)


def test_the_whole_processor_feeds_what_training_feeds(
    person: Person,
    host_analyser: FaceFusionAnalyser,
    processor: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options: SwapperOptions = host_analyser.get_swapper("inswapper_128")
    inputs: list[NDArray[numpy.float32]] = []

    class Session:
        """Notes what the model is fed."""

        def __init__(self, session: Any) -> None:
            self._session = session

        def __getattr__(self, name: str) -> Any:
            return getattr(self._session, name)

        def run(self, names: None, feed: dict[str, Any]) -> Any:
            inputs.append(feed["target"])
            return self._session.run(names, feed)

    records = [record for record in read_manifest(person) if record.kept]
    alone = [
        record
        for record in records
        if len(host_analyser.detect_faces(cv2.imread(record.source))) == 1
    ]
    assert len(alone) > len(CLIPS)
    assert processor.pre_process("preview")
    session = Session(processor.get_session())
    monkeypatch.setattr(processor, "get_session", lambda: session)
    for crop in load_crops(person, alone, host_analyser, options):
        frame = cv2.imread(crop.record.source)
        mask = numpy.full(frame.shape[:2], 255, numpy.uint8)
        processor.process_frame(
            {
                "reference_vision_frame": frame,
                "source_vision_frames": [],
                "target_vision_frames": [frame, frame, frame],
                "target_vision_frame": frame,
                "temp_vision_frame": frame.copy(),
                "temp_vision_mask": mask,
            }
        )
        grey = numpy.abs(inputs.pop() - normalise_crops(crop.crop[None], options)) * 255
        assert not inputs
        assert grey.max() <= 1.001
        assert (grey > 1e-3).mean() <= 0.01
