"""A base, a FaceFusion folder to activate models in, and another machine."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from facefusion_finetune import home
from facefusion_finetune.people.profile import Person, add_person, create_consent
from facefusion_finetune.registry import transfer
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.catalogue import SwapperOptions
from tests.support.inswapper import write_inswapper


@pytest.fixture
def options(tmp_path: Path) -> SwapperOptions:
    """A small base."""
    return write_inswapper(tmp_path / "demo.onnx")


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """Where a FaceFusion lies; nothing does yet."""
    return tmp_path / "facefusion"


@pytest.fixture
def elsewhere(
    run: Run, person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Export the test's `run`; from then on this is another machine, where `ada` is on record."""

    def export(**choices: Any) -> Path:
        output = tmp_path / "sent.onnx"
        transfer.export_model(person, run, output, **choices)
        monkeypatch.setenv(home.HOME_VARIABLE, str(tmp_path / "other-home"))
        add_person("ada", create_consent(None, "Ada agrees here, too."))
        return output

    return export
