"""The tab `finetune`, from left to right in the order of the workflow."""

from typing import Any

import gradio

from facefusion_finetune.facefusion.uis import following, page
from facefusion_finetune.facefusion.uis.components import (
    finetune_footage,
    finetune_person,
    finetune_recipe,
    finetune_report,
    finetune_training,
    finetune_versions,
)

SECTIONS = (
    finetune_person,
    finetune_footage,
    finetune_recipe,
    finetune_training,
    finetune_report,
    finetune_versions,
)


def pre_check() -> bool:
    """Whether the page can be shown: always."""
    return True


def render() -> Any:
    """Render the sections, two per column."""
    # Columns instead of the host's Blocks, which take a tenth of a second each to create.
    with gradio.Column() as layout:
        page.render_style()
        following.render()
        with gradio.Row():
            for first in range(0, len(SECTIONS), 2):
                with gradio.Column(scale=1, min_width=400):
                    for section in SECTIONS[first : first + 2]:
                        with gradio.Column():
                            section.render()
    return layout


def listen() -> None:
    """Connect the sections' events."""
    for section in SECTIONS:
        section.listen()
    following.listen()


def run(ui: gradio.Blocks) -> None:
    """Serve the page as FaceFusion serves its own."""
    page.launch(ui)
