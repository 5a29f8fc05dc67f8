"""A frame, and fixtures of the tab's last sections: the sections on a page, models to show."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import cv2
import numpy
import pytest

from facefusion_finetune.faces.protocol import VisionFrame
from facefusion_finetune.host.models import models_directory
from facefusion_finetune.people.profile import Person
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.known import get_known_swapper
from tests.support.runs import create_finished_run
from tests.support.tab_models import write_report

PACKAGE = "facefusion_finetune.facefusion.uis"


@pytest.fixture
def components(processor: ModuleType) -> dict[str, ModuleType]:
    """The sections, put on a page and wired."""
    gradio = importlib.import_module("gradio")
    following = importlib.import_module(f"{PACKAGE}.following")
    sections = {
        name: importlib.import_module(f"{PACKAGE}.components.finetune_{name}")
        for name in ("person", "report", "versions", "export", "compare")
    }
    with gradio.Blocks():
        following.render()
        for name in ("person", "report", "versions"):
            sections[name].render()
        for name in ("report", "versions"):
            sections[name].listen()
    return sections


@pytest.fixture
def proof(components: dict[str, ModuleType]) -> ModuleType:
    return components["report"]


@pytest.fixture
def models(components: dict[str, ModuleType]) -> ModuleType:
    return components["versions"]


@pytest.fixture
def export(components: dict[str, ModuleType]) -> ModuleType:
    return components["export"]


@pytest.fixture
def compare(components: dict[str, ModuleType]) -> ModuleType:
    return components["compare"]


@pytest.fixture
def said(components: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What pops up on the page."""
    said: list[str] = []
    page = importlib.import_module(f"{PACKAGE}.page")
    monkeypatch.setattr(page, "inform", said.append)
    return said


@pytest.fixture
def frame(target_image: Path) -> VisionFrame:
    """The picture of another person, read."""
    image = cv2.imread(str(target_image))
    assert image is not None
    return numpy.asarray(image, numpy.uint8)


@pytest.fixture
def options(linked_host: Path) -> SwapperOptions:
    return get_known_swapper("inswapper_128", linked_host / ".assets" / "models")


@pytest.fixture
def runs(person: Person, options: SwapperOptions, linked_host: Path) -> Iterator[list[Run]]:
    """One proven version and an unproven one after it, each with its report."""
    runs = [create_finished_run(person, options, proven=proven) for proven in (True, False)]
    for run, verdict in zip(runs, ("better", "worse"), strict=True):
        write_report(run, verdict)
    yield runs
    for path in models_directory(linked_host).glob("ada-*"):
        path.unlink()
