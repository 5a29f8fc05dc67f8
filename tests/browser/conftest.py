"""Fixtures of the tests in a browser: one Chromium for all, FaceFusions for all or one module."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from facefusion_finetune import home
from facefusion_finetune.host.link import link
from facefusion_finetune.people.profile import list_names
from facefusion_finetune.privacy.removal import remove_person
from tests.support import host as support
from tests.support.trouble import TROUBLE, Trouble
from tests.support.ui import CreateUi, FaceFusionUi

if TYPE_CHECKING:
    from tests.support.chromium import Browser
    from tests.support.page import Page

PICTURES_VARIABLE = "FACEFUSION_FINETUNE_PICTURES"
"""A folder that keeps the pictures of pages on which a test failed."""


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Browser"]:
    """One Chromium for all tests."""
    from tests.support.chromium import Browser

    configured = os.environ.get(PICTURES_VARIABLE)
    folder = Path(configured) if configured else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    with Browser(folder) as browser:
        yield browser


@pytest.fixture
def open_page(browser: "Browser") -> Iterator[Callable[[FaceFusionUi], "Page"]]:
    """Opens pages of a FaceFusion; they are closed after the test."""
    pages: list[Page] = []

    def open_page(ui: FaceFusionUi) -> "Page":
        pages.append(browser.open(ui))
        return pages[-1]

    yield open_page
    for page in pages:
        page.close()


@pytest.fixture(scope="module")
def ui_host(furnished_host: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A furnished and linked FaceFusion without models of persons, for one module to change."""
    folder = tmp_path_factory.mktemp("ui") / "facefusion-copy"
    host = support.furnish_like(furnished_host, furnished_host, folder)
    link(host)
    return host


@pytest.fixture(scope="module")
def create_ui(ui_host: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CreateUi]:
    """Makes FaceFusions of `ui_host`, not yet started; all are ended after the module."""
    made: list[FaceFusionUi] = []

    def create_ui(*arguments: object, **variables: str) -> FaceFusionUi:
        folder = tmp_path_factory.mktemp("instance")
        made.append(FaceFusionUi(ui_host, folder, *arguments, **variables))
        return made[-1]

    yield create_ui
    for ui in made:
        ui.close()


@pytest.fixture(scope="session")
def trouble(tmp_path_factory: pytest.TempPathFactory) -> Trouble:
    """What goes wrong in the FaceFusion with the tab, as long as a test wants that."""
    return Trouble(tmp_path_factory.mktemp("switches"))


@pytest.fixture(scope="session")
def started_tab(
    furnished_host: Path, trouble: Trouble, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaceFusionUi]:
    """FaceFusion with the tab, started once for the modules whose persons come and go."""
    folder = tmp_path_factory.mktemp("tab")
    host = support.furnish_like(furnished_host, furnished_host, folder / "facefusion-copy")
    link(host)
    variables = support.create_startup_folder(folder / "startup", TROUBLE)
    layouts = ("--ui-layouts", "finetune", "default")
    ui = FaceFusionUi(host, folder / "instance", *layouts, **variables, **trouble.variables)
    with ui:
        yield ui


@pytest.fixture(scope="module")
def tab_ui(started_tab: FaceFusionUi) -> Iterator[FaceFusionUi]:
    """FaceFusion with the tab and nobody on record; whoever a module adds is removed with it."""
    yield started_tab
    with home.use_home(started_tab.home):
        for name in list_names():
            remove_person(name, started_tab.host).require_complete()
