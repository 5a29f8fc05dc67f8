"""A queue whose processes can import the tests."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from facefusion_finetune import home
from facefusion_finetune.jobs import queue
from tests.support.job_processes import StartRunner, open_runners


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


@pytest.fixture
def no_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody works off the queue unless the test does."""
    monkeypatch.setattr(queue, "ensure_runner", lambda: None)


@pytest.fixture
def fill_state_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on no state, or request, can be written by this process."""

    def fill() -> None:
        def write_text(path: Path, content: str, mode: int = 0o600) -> None:
            raise OSError(28, "No space left on device", str(path))

        monkeypatch.setattr(home, "write_text", write_text)

    return fill


@pytest.fixture
def start_runner(no_runner: None) -> Iterator[StartRunner]:
    """Starts a runner in a process of its own, whose jobs do what a test asks for."""
    with open_runners() as start:
        yield start
