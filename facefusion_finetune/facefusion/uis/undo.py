"""Removes partly built components from a page, so that the rest of the page works."""

from collections.abc import Set
from dataclasses import dataclass
from typing import Any

from gradio.blocks import BlocksConfig
from gradio.context import Context, get_blocks_context, get_render_context


@dataclass(frozen=True)
class Snapshot:
    """The state of a page being built."""

    root: Any
    parent: Any
    """The block to which components are added."""
    components: frozenset[int]
    events: frozenset[int]

    def list_added(self) -> Set[int]:
        """Ids of the components added since."""
        return get_config().blocks.keys() - self.components

    def restore(self) -> None:
        """Remove the components and events added since."""
        # after an exception in a `with` block, Gradio has no current page
        Context.root_block, Context.block = self.root, self.parent
        config = get_config()
        for event in config.fns.keys() - self.events:
            del config.fns[event]
        remove_components(self.list_added())


def take_snapshot() -> Snapshot:
    """Take a snapshot of the page being built."""
    config = get_config()
    components, events = frozenset(config.blocks), frozenset(config.fns)
    return Snapshot(Context.root_block, get_render_context(), components, events)


def remove_components(numbers: Set[int]) -> None:
    """Remove components from the page being built."""
    config = get_config()
    for number in numbers:
        config.blocks.pop(number, None)
    # a block is attached to the page only once it is complete
    for block in (Context.root_block, get_render_context()):
        _prune(block, numbers)


def get_config() -> BlocksConfig:
    """Gradio's record of the components and events of the page being built."""
    config = get_blocks_context()
    assert config is not None
    return config


def _prune(block: Any, numbers: Set[int]) -> None:
    block.children = [child for child in block.children if child._id not in numbers]
    for child in block.children:
        if hasattr(child, "children"):
            _prune(child, numbers)
