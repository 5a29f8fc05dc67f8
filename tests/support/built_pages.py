"""FaceFusion's pages as it builds them, without a browser."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import page_builder
from tests.support.host import BENCH_OPTIONS, run_python

OPTIONS = (*BENCH_OPTIONS, "--face-swapper-model", "inswapper_128")


@dataclass(frozen=True)
class BuiltPage:
    """What is on a page, by Gradio's numbers."""

    components: dict[str, dict[str, Any]]
    """`type` and `props` of each."""
    events: list[dict[str, Any]]
    """Each with its `targets`, `inputs`, `outputs` and `api_name`."""
    layout: list[int]
    """The page itself, then all that is on it."""
    modules: list[str]
    """Heavy ones that were loaded."""

    def find_all(self, elem_id: str) -> list[dict[str, Any]]:
        """Properties of the components of that id; one in each layout that has it."""
        return [
            component["props"]
            for component in self.components.values()
            if component["props"].get("elem_id") == elem_id
        ]

    def find(self, elem_id: str) -> dict[str, Any]:
        """Properties of the only component of that id."""
        (component,) = self.find_all(elem_id)
        return component

    def find_label(self, label: str) -> dict[str, Any]:
        """Properties of the only component of that label."""
        (component,) = (
            component["props"]
            for component in self.components.values()
            if component["props"].get("label") == label
        )
        return component

    def find_number(self, elem_id: str) -> int:
        """Number of the only component of that id."""
        (number,) = (
            number
            for number, component in self.components.items()
            if component["props"].get("elem_id") == elem_id
        )
        return int(number)

    def list_dangling(self) -> list[int]:
        """Numbers that an event or the layout names and that no component has."""
        named = {number for event in self.events for number in event["inputs"] + event["outputs"]}
        named |= {number for event in self.events for number, _ in event["targets"] if number}
        root, *laid_out = self.layout
        return sorted((named | set(laid_out)) - {root, *map(int, self.components)})


def build_pages(host: Path, *pages: str, **variables: str) -> tuple[list[BuiltPage], str]:
    """Build pages one after the other in a process of its own.

    Args:
        host: A furnished FaceFusion.
        pages: The arguments of `run` for each.
        variables: Added to the environment.

    Returns:
        The pages, and all that was said meanwhile.
    """
    commands = [" ".join([*OPTIONS, page]) for page in pages]
    output = run_python(host, page_builder.__file__, *commands, **variables).output
    said, mark, answers = output.partition(page_builder.MARK)
    assert mark, output
    return [BuiltPage(**answer) for answer in json.loads(answers.splitlines()[0])], said
