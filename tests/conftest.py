"""Fixtures shared by all tests."""

import importlib
import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import hypothesis
import numpy
import pytest
import torch

from facefusion_finetune.faces.facefusion import FaceFusionAnalyser
from facefusion_finetune.home import HOME_VARIABLE
from facefusion_finetune.host.link import link
from facefusion_finetune.host.locate import read_host
from tests.support import host as support
from tests.support.browser import explain_missing_browser
from tests.support.forked import ForkServer
from tests.support.sharing import make_once

SEED = 20250101
"""Of the generators that a test has not seeded itself."""
EXAMPLES = hypothesis.settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
"""The same examples in every run, however slow the machine is."""

hypothesis.settings.register_profile("steady", EXAMPLES)
hypothesis.settings.load_profile("steady")


def pytest_report_header() -> list[str]:
    """What chance is made of, so that a failure can be had again."""
    return [f"seed of every test: {SEED}", f"hypothesis: {EXAMPLES.show_changed()}"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a FaceFusion or a browser where there is none, and say why; order files."""
    no_host = support.explain_missing()
    reasons = {"host": no_host, "browser": no_host or explain_missing_browser()}
    for item in items:
        for marker, reason in reasons.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))
    if "PYTEST_XDIST_WORKER" in os.environ:
        # The last file that a worker begins keeps the others waiting: it should not be a long one.
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="session", autouse=True)
def single_thread() -> Iterator[None]:
    """One thread for torch: bytes must depend neither on the cores nor on the tests before.

    Processes that take more threads must not keep the processors busy while they wait.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_WAIT_POLICY", "PASSIVE")
        yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def single_thread_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread, too, for the processes a test starts; commands run in this one take that back."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What a library draws by itself is the same in every run, whichever tests ran before."""
    random.seed(SEED)
    numpy.random.seed(SEED)
    torch.manual_seed(SEED)


@pytest.fixture(scope="session", autouse=True)
def private_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the tests out of the user's own data folder."""
    before = os.environ.get(HOME_VARIABLE)
    home = tmp_path_factory.mktemp("home")
    os.environ[HOME_VARIABLE] = str(home)
    yield home
    if before is None:
        del os.environ[HOME_VARIABLE]
    else:
        os.environ[HOME_VARIABLE] = before


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Runs programs in processes of their own that have PyTorch loaded."""
    with ForkServer(tmp_path_factory.mktemp("forked")) as server:
        yield server


@pytest.fixture(scope="session")
def furnished_host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout with small stand-in models; tests leave it as it is."""
    checkout = support.find_checkout()
    assert checkout is not None
    return make_once(
        tmp_path_factory, "facefusion-copy", lambda folder: support.furnish(checkout, folder)
    )


@pytest.fixture(scope="session")
def linked_host(furnished_host: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A furnished copy with the plug-in linked and the model `jane` in two versions."""
    host = tmp_path_factory.mktemp("linked") / "facefusion-copy"
    support.furnish_like(furnished_host, furnished_host, host)
    link(host)
    support.register_model(host, "jane", 1)
    support.register_model(host, "jane", 2, turned=True)
    return host


@pytest.fixture(scope="session")
def source_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of one person."""
    video = support.find_footage("headpose_m", "headpose_m.mp4")
    return support.extract_frame(video, 1, tmp_path_factory.mktemp("source") / "source.png")


@pytest.fixture(scope="session")
def target_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of another person, 640 x 480."""
    video = support.find_footage("asl_a", "yes.mkv")
    return support.extract_frame(video, 0.5, tmp_path_factory.mktemp("target") / "target.png")


@pytest.fixture(scope="session")
def target_video() -> Path:
    """A clip of the same person."""
    return support.find_footage("asl_a", "yes.mkv")


@pytest.fixture(scope="session")
def host_analyser(linked_host: Path) -> FaceFusionAnalyser:
    """FaceFusion inside this process; a process can hold only one, so all tests share it."""
    return FaceFusionAnalyser(read_host(linked_host, str(linked_host)), support.BENCH_SETTINGS)


@pytest.fixture
def state(host_analyser: FaceFusionAnalyser) -> Iterator[ModuleType]:
    """FaceFusion's state, as it was afterwards."""
    manager = importlib.import_module("facefusion.state_manager")
    before = {context: dict(items) for context, items in manager.STATE_SET.items()}
    yield manager
    for context, items in before.items():
        manager.STATE_SET[context].clear()
        manager.STATE_SET[context].update(items)


@pytest.fixture
def processor(state: ModuleType, target_image: Path) -> ModuleType:
    """The processor as the host loads it, with a target chosen."""
    state.init_item("target_path", str(target_image))
    state.init_item("source_paths", None)
    state.init_item("finetuned_swapper_model", "jane")
    state.init_item("finetuned_swapper_pixel_boost", None)
    state.init_item("finetuned_swapper_weight", None)
    adapter = importlib.import_module("facefusion_finetune.host.adapter")
    module: ModuleType = adapter.load_processor_module("finetuned_swapper")
    assert module.__name__.startswith("facefusion_finetune.")
    return module
