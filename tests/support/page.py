"""One page of FaceFusion's UI in a browser: act as a user does, read what a user sees.

A component is named by its elem_id or, where the host gives it none, by its label. Gradio draws
when it likes: every act waits for its component first, and none sleeps for a fixed time. An answer
can move what is being clicked: a script finds it, sees that nothing lies over it and clicks, all in
one moment.
"""

import base64
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy
from numpy.typing import NDArray
from PIL import Image

from tests.support import page_scripts as scripts
from tests.support.tab import PATIENCE, Tab
from tests.support.ui import FaceFusionUi

PROCESSORS = "PROCESSORS"


class Page(Tab):
    """A page of the UI: what a user does and sees there."""

    def click(self, name: str) -> None:
        """Click a button once it can be clicked."""
        self._wait_enabled(name)
        self.wait_until(lambda: self.run(scripts.CLICK, name), PATIENCE, f"'{name}' can be clicked")

    def select_tab(self, name: str) -> None:
        """Open a tab by the words on it."""
        self.wait_until(
            lambda: self.run(scripts.CLICK_TAB, name), PATIENCE, f"there is a tab '{name}'"
        )

    def type_text(self, name: str, text: str, enter: bool = False) -> None:
        """Put `text` in place of what a text or number field holds, then leave the field.

        Args:
            name: The field.
            text: What to type.
            enter: Press the enter key at the end.
        """
        from selenium.webdriver.common.keys import Keys

        self._wait_enabled(name)

        def type_in() -> bool:
            field = self.find(scripts.FIELD, name)
            field.send_keys(Keys.CONTROL + "a" + Keys.NULL, Keys.DELETE, text)
            return field.get_property("value") == text

        self.wait_until(type_in, PATIENCE, f"'{name}' holds '{text}'")
        if enter:
            self.find(scripts.FIELD, name).send_keys(Keys.ENTER)
        self.run(scripts.LEAVE)

    def set_slider(self, name: str, value: float) -> None:
        """Set a slider by its number field and let it go."""
        self.type_text(name, f"{value:g}")

    def choose(self, name: str, label: str) -> None:
        """Choose from a dropdown, also one of many; wait until it is chosen.

        An answer that comes meanwhile draws the dropdown anew, which closes it, or leaves only the
        options that contain its value: what does not offer the label is opened anew.
        """

        def take() -> bool:
            self._open_dropdown(name)
            if self.run(scripts.CHOOSE, name, label):
                return True
            self.run(scripts.LEAVE)
            return False

        self.wait_until(take, PATIENCE, f"'{name}' offers '{label}'")
        self.run(scripts.LEAVE)
        self.wait_until(
            lambda: label in self.run(scripts.CHOSEN, name), PATIENCE, f"'{name}' is '{label}'"
        )

    def read_options(self, name: str) -> list[str]:
        """The labels a dropdown offers now; it is opened anew, as one open may show some only."""
        self.run(scripts.LEAVE)

        def read() -> list[list[str]]:
            self._open_dropdown(name)
            labels: list[str] | None = self.run(scripts.READ_OPTIONS, name)
            return [] if labels is None else [labels]

        (labels,) = self.wait_until(read, PATIENCE, f"'{name}' shows its options")
        self.run(scripts.LEAVE)
        return labels

    def read_chosen(self, name: str) -> str:
        """The label of a dropdown's choice; of many, the first one."""
        chosen = [label for label in self.run(scripts.CHOSEN, name) if label]
        return chosen[0] if chosen else ""

    def tick(self, label: str, name: str = PROCESSORS, on: bool = True) -> None:
        """Tick (or un-tick) one of a group of checkboxes or radio buttons.

        Waits for the answer to what was done before: FaceFusion's box of processors answers each
        tick with the whole list, and swings between two lists where the next tick comes first.
        """
        self._wait_enabled(name)
        self.wait_idle()
        self.wait_until(
            lambda: self.run(scripts.TICK_IN_GROUP, name, label, on),
            PATIENCE,
            f"'{label}' of '{name}' is {'on' if on else 'off'}",
        )

    def set_checkbox(self, name: str, on: bool = True) -> None:
        """Tick or un-tick a single checkbox."""
        self._wait_enabled(name)
        self.wait_until(
            lambda: self.run(scripts.TICK, name, None, on),
            PATIENCE,
            f"'{name}' is {'on' if on else 'off'}",
        )

    def upload(self, name: str, paths: Path | Sequence[Path], seconds: float = PATIENCE) -> None:
        """Choose files (or one folder, where it takes folders) and wait until they are uploaded."""
        chosen = [paths] if isinstance(paths, Path) else list(paths)
        before = self.run(scripts.UPLOADS)

        def hand_over() -> bool:
            entry = self.find(scripts.PART, name, "input[type=file]")
            entry.send_keys("\n".join(map(str, chosen)))
            return True

        self.wait_until(hand_over, PATIENCE, f"'{name}' takes files")
        self.wait_until(
            lambda: self.run(scripts.UPLOADS) > before, seconds, f"'{name}' has uploaded its files"
        )

    def is_shown(self, name: str) -> bool:
        """Whether the component can be seen (by scrolling, if need be)."""
        return bool(self.run(scripts.IS_SHOWN, name))

    def is_enabled(self, name: str) -> bool:
        """Whether the component is shown and can be used."""
        return bool(self.run(scripts.IS_ENABLED, name))

    def read_text(self, name: str) -> str:
        """The words to be seen in the component; empty if it is not shown."""
        return str(self.run(scripts.READ_TEXT, name))

    def read_value(self, name: str) -> str:
        """What its text or number field holds; empty if there is none."""
        return str(self.run(scripts.READ_FIELD, name))

    def read_picture(self, name: str) -> NDArray[numpy.uint8] | None:
        """The first picture shown in the component, height x width x 3 RGB; None without one."""
        content = self.run(scripts.PICTURE, name)
        if content is None:
            return None
        picture = Image.open(io.BytesIO(base64.b64decode(content)))
        return numpy.asarray(picture.convert("RGB"))

    def wait_for_text(self, name: str, text: str, seconds: float = PATIENCE) -> str:
        """Wait until the component shows `text` among its words; returns all of them."""
        return self.wait_until(
            lambda: words if text in (words := self.read_text(name)) else "",
            seconds,
            f"'{name}' says '{text}'",
        )

    def wait_for_picture(
        self, name: str, unlike: NDArray[numpy.uint8] | None = None, seconds: float = PATIENCE
    ) -> NDArray[numpy.uint8]:
        """Wait until the component shows a picture, and another one than `unlike`; returns it."""

        def read() -> list[NDArray[numpy.uint8]]:
            picture = self.read_picture(name)
            is_new = picture is not None and not (
                unlike is not None and numpy.array_equal(picture, unlike)
            )
            return [picture] if picture is not None and is_new else []

        return self.wait_until(read, seconds, f"'{name}' shows a new picture")[0]

    def _wait_enabled(self, name: str) -> None:
        self.wait_until(lambda: self.is_enabled(name), PATIENCE, f"'{name}' is shown and enabled")

    def _open_dropdown(self, name: str) -> None:
        def open_it() -> bool:
            if not self.run(scripts.IS_OPEN, name):
                # what an answer closed has the focus still, and would not open by a click
                self.run(scripts.LEAVE)
                self.find(scripts.PART, name, "input[role=listbox]").click()
            return bool(self.run(scripts.IS_OPEN, name))

        self._wait_enabled(name)
        self.wait_until(open_it, PATIENCE, f"'{name}' shows its options")


OpenPage = Callable[[FaceFusionUi], Page]
"""Opens a page of a FaceFusion that is closed after the test."""
