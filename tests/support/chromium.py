"""Chromium without a screen, steered by selenium."""

from pathlib import Path
from typing import Self

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from tests.support.browser import find_browser, find_driver
from tests.support.page import Page
from tests.support.ui import FaceFusionUi

WIDTH, HEIGHT = 1600, 1400
OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    f"--window-size={WIDTH},{HEIGHT}",
    # the host's theme asks for a font of the internet, and waits for the answer
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    # pages behind another one go on as if they were in front
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
)


class Browser:
    """One Chromium; each page is a window of it, since one behind another draws and sends nothing.

    Args:
        folder: Where pictures of pages on which a test failed go.
    """

    def __init__(self, folder: Path) -> None:
        options = Options()
        options.binary_location = find_browser() or ""
        for option in OPTIONS:
            options.add_argument(option)
        # with the path given, selenium does not look for a driver to download
        service = Service(find_driver())
        self.driver = webdriver.Chrome(options, service)
        self.folder = folder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()

    def open(self, ui: FaceFusionUi) -> Page:
        """Open the UI in a new window and wait until it is drawn."""
        self.driver.switch_to.new_window("window")
        self.driver.set_window_size(WIDTH, HEIGHT)
        page = Page(self.driver, ui, self.folder)
        page.load()
        return page

    def close(self) -> None:
        """End Chromium."""
        self.driver.quit()
