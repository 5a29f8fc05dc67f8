"""A tab of the browser: waits, finds, tells what was wrong."""

import base64
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tests.support import page_scripts as scripts
from tests.support.ui import FaceFusionUi
from tests.support.waiting import HANGS

if TYPE_CHECKING:  # without selenium, tests say that it is missing instead of failing here
    from selenium.webdriver.chrome.webdriver import WebDriver
    from selenium.webdriver.remote.webelement import WebElement

PATIENCE = HANGS
"""Seconds an act waits for its component."""
USUAL_ERRORS = (
    "fonts.googleapis.com",
    "cdnjs.cloudflare.com",
    "/manifest.json",
    "/upload_progress?upload_id=undefined",
    "AbortError: signal is aborted",
    "ResizeObserver loop",
)
"""What Gradio and the host's theme ask for in vain, or break off, on their own account."""

Answer = TypeVar("Answer")


class NotThereError(Exception):
    """What a script is to find is not on the page."""


class Tab:
    """A tab of the browser that shows FaceFusion's UI.

    Args:
        driver: The browser; its current tab becomes this one.
        ui: The FaceFusion it shows.
        folder: Where a picture of the page goes when waiting for something was in vain.
    """

    def __init__(self, driver: "WebDriver", ui: FaceFusionUi, folder: Path) -> None:
        self.driver = driver
        self.ui = ui
        self._folder = folder
        self._handle = driver.current_window_handle
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": scripts.WATCH})

    def load(self) -> None:
        """Load the page, or load it again, and wait until it is drawn."""
        self._focus().get(self.ui.url)
        self.wait_until(lambda: self.run(scripts.IS_DRAWN), PATIENCE, "the page is drawn")

    def close(self) -> None:
        """Close the tab."""
        self._focus().close()
        self.driver.switch_to.window(self.driver.window_handles[0])

    def wait_idle(self, seconds: float = PATIENCE) -> None:
        """Wait until nothing waits for FaceFusion's answer.

        Seen twice: the answer to one request can be what sends the next one.
        """
        for _ in range(2):
            self.wait_until(lambda: self.run(scripts.IS_IDLE), seconds, "no request is open")
            time.sleep(0.1)

    def delay_answers(self, seconds: float) -> None:
        """Let each answer of FaceFusion reach the page that much later from now on."""
        throughput = {"downloadThroughput": -1, "uploadThroughput": -1}
        options = {"offline": False, "latency": 1000 * seconds, **throughput}
        self._focus().execute_cdp_cmd("Network.enable", {})
        self.driver.execute_cdp_cmd("Network.emulateNetworkConditions", options)

    def read_toasts(self) -> list[str]:
        """The messages that have popped up since the page was loaded, also those gone again."""
        toasts: list[str] = self.run("return window.seenToasts;")
        return toasts

    def read_errors(self) -> list[str]:
        """Errors of the page's scripts, and what FaceFusion refused it, since it was loaded."""
        errors = [*self.run("return window.seenErrors;"), *self.run(scripts.REFUSED)]
        return [error for error in errors if not any(usual in error for usual in USUAL_ERRORS)]

    def wait_until(
        self, predicate: Callable[[], Answer], seconds: float = PATIENCE, what: str = "it is so"
    ) -> Answer:
        """Call `predicate` until its answer is true, and return the answer.

        Raises:
            AssertionError: It was never true; with the page's toasts, the end of FaceFusion's log
                and the path of a picture of the page.
        """
        end = time.monotonic() + seconds
        trouble = ""
        while True:
            try:
                answer = predicate()
                if answer:
                    return answer
                trouble = f"last answer: {answer!r}"
            except list_passing_errors() as error:
                trouble = f"last error: {error}"
            if time.monotonic() > end:
                raise AssertionError(self._explain(f"not within {seconds} s: {what}", trouble))
            time.sleep(0.05)

    def screenshot(self, path: Path) -> Path:
        """Write a picture of the whole page, PNG."""
        size = self._focus().execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        options = {"captureBeyondViewport": True, "clip": {**size, "scale": 1}}
        answer = self.driver.execute_cdp_cmd("Page.captureScreenshot", options)
        path.write_bytes(base64.b64decode(answer["data"]))
        return path

    def run(self, script: str, *arguments: object) -> Any:
        """Run a script in the page, `scripts.TOOLS` before it; what it returns."""
        return self._focus().execute_script(scripts.TOOLS + script, *arguments)

    def find(self, script: str, *arguments: object) -> "WebElement":
        """The element a script finds, to type into or click on.

        Raises:
            NotThereError: It finds none; `wait_until` takes it for a matter of time.
        """
        element: WebElement | None = self.run(script, *arguments)
        if element is None:
            raise NotThereError(f"nothing found for {arguments}")
        return element

    def _focus(self) -> "WebDriver":
        if self.driver.current_window_handle != self._handle:
            self.driver.switch_to.window(self._handle)
        return self.driver

    def _explain(self, *lines: str) -> str:
        picture = self._folder / f"failed-{time.time_ns()}.png"
        parts = [*lines, f"picture: {picture}"]
        try:
            self.screenshot(picture)
            parts += ["toasts:", *self.read_toasts(), "errors of the page:", *self.read_errors()]
        except Exception as error:  # the page is gone; the log is what is left to tell
            parts.append(f"the page cannot be read: {error}")
        return "\n".join([*parts, "end of FaceFusion's log:", self.ui.read_log_end()])


@cache
def list_passing_errors() -> tuple[type[Exception], ...]:
    """Errors of a moment, when Gradio is drawing anew."""
    from selenium.common import exceptions

    return (
        NotThereError,
        exceptions.ElementClickInterceptedException,
        exceptions.ElementNotInteractableException,
        exceptions.JavascriptException,
        exceptions.StaleElementReferenceException,
    )
