"""The folders that the commands work on: a drawn person, their home, a FaceFusion."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.kills.disk import describe
from benchmarks.kills.processes import Ended, Moment, run_forked
from tests.support.demo_world import QUICK_PRESET

NAME = "ada"
TRAIN = ("train", NAME, "--preset", "{preset}", "--base", "demo", "--seed", "3")

PROBE = """
import os, sys
sys.path.insert(0, os.getcwd())
from facefusion.filesystem import get_file_name, resolve_file_paths
from facefusion.processors.core import load_processor_module
names = [get_file_name(path) for path in resolve_file_paths("facefusion/processors/modules")]
for name in names:
    load_processor_module(name)
module = sys.modules.get("facefusion.processors.modules.finetuned_swapper.core")
linked = "finetuned_swapper" in names
assert linked == (module is not None), names
assert not linked or module.__name__.startswith("facefusion_finetune."), module
"""
"""FaceFusion's own way to its processors; ours must be the package's, not the inert stub."""

STAND_IN = {
    "facefusion.py": "",
    "facefusion/__init__.py": "",
    "facefusion/metadata.py": "METADATA = {'name': 'FaceFusion', 'version': '3.8.1'}\n",
    "facefusion/processors/__init__.py": "",
    "facefusion/processors/modules/__init__.py": "",
    "facefusion/processors/modules/other/__init__.py": "",
    "facefusion/processors/modules/other/core.py": "",
    "facefusion/uis/layouts/default.py": "",
}
STAND_IN_PROBE = """
import importlib, os, sys
sys.path.insert(0, os.getcwd())
for name in sorted(os.listdir("facefusion/processors/modules")):
    if not name.startswith((".", "__")):
        importlib.import_module("facefusion.processors.modules." + name + ".core")
"""


class World:
    """The folders of the benchmark, and their saved states."""

    def __init__(self, folder: Path, facefusion: Path | None) -> None:
        self.folder = folder
        self.disk = folder / "disk"
        self.facefusion = facefusion
        self.probe = PROBE if facefusion else STAND_IN_PROBE
        self._checked: dict[str, str] = {}

    @property
    def host(self) -> Path:
        """The FaceFusion folder."""
        return self.disk / "facefusion"

    def fill(self, arguments: tuple[str, ...]) -> list[str]:
        """Arguments with the folders filled in."""
        places = {
            "host": self.host,
            "out": self.disk / "out",
            "footage": self.folder / "footage",
            "preset": self.folder / "quick.toml",
        }
        return [argument.format(**places) for argument in arguments]

    def save(self, state: str) -> None:
        """Save the disk as a state."""
        subprocess.run(["cp", "-a", self.disk, self.folder / f"state-{state}"], check=True)

    def restore(self, state: str) -> None:
        """Make the disk as it was saved."""
        shutil.rmtree(self.disk, ignore_errors=True)
        subprocess.run(["cp", "-a", self.folder / f"state-{state}", self.disk], check=True)

    def run(self, arguments: tuple[str, ...], moment: Moment | None = None) -> Ended:
        """Run a command of ours in a process of its own; kill it at a moment."""
        return run_forked(lambda: self._become(self.fill(arguments)), self.folder, moment)

    def must_run(self, *arguments: str) -> Ended:
        """Run a command that must succeed."""
        ended = self.run(arguments)
        if ended.code:
            sys.exit(f"{' '.join(arguments)}: ended with {ended.code}\n{ended.output}")
        return ended

    def _become(self, arguments: list[str]) -> None:
        import torch

        from facefusion_finetune import analysers, cli
        from facefusion_finetune.demo.analyser import DemoAnalyser

        torch.set_num_threads(1)
        os.environ["FACEFUSION_FINETUNE_HOME"] = str(self.disk / "home")
        os.environ["FACEFUSION_PATH"] = str(self.host)
        folders = list((self.folder / "footage").iterdir())
        analysers.open_analyser = lambda *_args, **_kwargs: DemoAnalyser(folders)
        sys.argv = ["facefusion-finetune", *arguments]
        cli.main()

    def find_faults(self) -> list[str]:
        """What keeps FaceFusion from starting, and what is wrong with the active models."""
        from facefusion_finetune.errors import FinetuneError
        from facefusion_finetune.host.models import models_directory
        from facefusion_finetune.registry import store

        faults = []
        for path in sorted(models_directory(self.host).glob("*.onnx")):
            try:
                store.verify(path)
            except (FinetuneError, OSError) as error:
                faults.append(f"{path.name}: {error}")
        code = {
            path: content
            for path, content in describe(self.host).items()
            if path.startswith("facefusion/") and not is_temporary(path)
        }
        key = json.dumps(code)
        if key not in self._checked:
            done = subprocess.run(
                [sys.executable, "-B", "-c", self.probe],
                cwd=self.host,
                capture_output=True,
                text=True,
                check=False,
            )
            last = (done.stdout + done.stderr).strip().splitlines()[-1:]
            self._checked[key] = f"FaceFusion does not start: {last}" if done.returncode else ""
        return [*faults, *filter(None, [self._checked[key]])]


def is_temporary(path: str) -> bool:
    """Whether a file is one that FaceFusion ignores."""
    return any(part.startswith(".") for part in Path(path).parts)


def build(world: World) -> None:
    """Draw the footage, and save the states that the commands begin with."""
    (world.folder / "quick.toml").write_text(
        QUICK_PRESET.replace("minimum_crops = 12", "minimum_crops = 6")
    )

    def draw() -> None:
        from facefusion_finetune.demo.people import FIRST_UNSEEN_SEED
        from facefusion_finetune.demo.world import write_footage

        footage = world.folder / "footage"
        write_footage(footage / NAME, FIRST_UNSEEN_SEED + 7, 5, 3, seed=3)
        write_footage(footage / "targets", FIRST_UNSEEN_SEED + 8, 1, 3, seed=4)
        write_footage(footage / "others", FIRST_UNSEEN_SEED + 9, 1, 3, seed=5)

    drawn = run_forked(draw, world.folder)
    assert drawn.code == 0, drawn.output
    world.disk.mkdir()
    (world.disk / "out").mkdir()
    if world.facefusion:
        hidden = shutil.ignore_patterns(".*", "__pycache__", "finetuned_swapper", "finetune.py")
        shutil.copytree(world.facefusion, world.host, ignore=hidden)
    else:
        for name, content in STAND_IN.items():
            path = world.host / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
    world.must_run("person", "add", NAME, "--consent-note", "A drawn person agrees to nothing.")
    world.save("added")
    world.must_run("extract", NAME, "{footage}/ada")
    world.save("extracted")
    world.must_run(*TRAIN, "--targets", "{footage}/targets")
    world.must_run("models", "export", "ada@1", "--output", "{out}/ada.onnx")
    world.save("trained")
    world.must_run("link", "{host}")
    world.must_run("models", "import", "{out}/ada.onnx")
    world.must_run("models", "activate", "ada@1", "--force", "--host", "{host}")
    world.save("active")
