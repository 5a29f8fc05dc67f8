"""What the processor keeps of thousands of frames: one session, and no frame."""

import gc
import importlib
import weakref
from pathlib import Path
from types import ModuleType

import pytest

from facefusion_finetune.faces.protocol import VisionFrame
from tests.support import host as support
from tests.support.swappers import create_inputs

pytestmark = pytest.mark.host
PEOPLE = ("jane@1", "mia", "jane@2", "nora")


@pytest.fixture
def people(linked_host: Path):
    """Models of two more people."""
    paths = [support.register_model(linked_host, name) for name in ("mia", "nora")]
    yield PEOPLE
    for path in paths:
        for file in path.parent.glob(f"{path.stem}*"):
            file.unlink()


def list_sessions(processor: ModuleType) -> list[str]:
    pools = importlib.import_module("facefusion.inference_manager").INFERENCE_POOL_SET
    return [key for pool in pools.values() for key in pool if processor.__name__ in key]


def test_one_session_however_many_people_are_chosen(
    processor: ModuleType, state: ModuleType, people: tuple[str, ...], frame: VisionFrame
) -> None:
    for person in people * 2:
        state.init_item("finetuned_swapper_model", person)
        assert processor.pre_process("preview")
        processor.process_frame(create_inputs(frame))
        name = processor.get_active_model().name
        assert name.startswith(person.partition("@")[0])
        sessions = list_sessions(processor)
        assert len(sessions) == 1
        assert name in sessions[0]
        assert len(processor.MODEL_CARDS) == 1
    processor.post_process()
    assert list_sessions(processor) == []
    gc.collect()
    assert len(processor.MODEL_CARDS) == 0


def test_no_frame_is_kept(processor: ModuleType, frame: VisionFrame) -> None:
    assert processor.pre_process("preview")
    kept = []
    for number in range(4):
        inputs = create_inputs(frame + number)
        swapped, mask = processor.process_frame(inputs)
        frames = [inputs["target_vision_frame"], inputs["temp_vision_frame"], swapped, mask]
        kept += [weakref.ref(one) for one in frames]
        del inputs, frames, swapped, mask
    gc.collect()
    assert [one for one in kept if one() is not None] == []
