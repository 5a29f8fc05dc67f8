"""A program that has FaceFusion build its pages, but not serve them, and says what is on them.

To be run in FaceFusion's folder, with the arguments of each page to build in one string. Imports
nothing of this package, which may be missing.
"""

import json
import os
import sys
from collections.abc import Sequence
from typing import Any

MARK = "PAGES "
"""Before what it found, which is one line of JSON."""


def build(arguments: Sequence[str]) -> dict[str, Any]:
    """Build one page by FaceFusion's own command `run`."""
    import gradio
    from facefusion import benchmarker, core
    from facefusion.uis.core import UI_COMPONENTS

    # those of the page built before
    UI_COMPONENTS.clear()
    pages: list[dict[str, Any]] = []
    gradio.Blocks.launch = lambda ui, **_: pages.append(ui.get_config_file())
    # what would serve the page, made anew thrice for each: most of the time that building takes
    gradio.routes.App.create_app = lambda *_, **__: None
    # it would download its example videos
    benchmarker.pre_check = lambda: True
    sys.argv = ["facefusion.py", "run", *arguments]
    core.cli()
    config = pages[0]
    keys = ("targets", "inputs", "outputs", "api_name")
    return {
        "components": {
            component["id"]: {"type": component["type"], "props": component["props"]}
            for component in config["components"]
        },
        "events": [{key: event[key] for key in keys} for event in config["dependencies"]],
        "layout": list_layout(config["layout"]),
        "modules": [name for name in ("torch", "gradio") if name in sys.modules],
    }


def list_layout(node: dict[str, Any]) -> list[int]:
    """The numbers of a block and of all within it."""
    children = node.get("children", [])
    return [node["id"], *(number for child in children for number in list_layout(child))]


if __name__ == "__main__":
    sys.path.append(os.getcwd())
    answers = [build(arguments.split()) for arguments in sys.argv[1:]]
    print(MARK + json.dumps(answers, default=str))
