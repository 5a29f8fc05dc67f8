"""A training that takes a second: a network of two layers, and what can befall it.

Run as a script, `python -m tests.support.tiny_training FOLDER KEY=VALUE...`, it trains in a process
of its own, which can then be killed, starved of memory or one of several.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from facefusion_finetune import home
from facefusion_finetune.presets.preset import Preset, parse_preset
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.runs.run import Run, RunConfig, write_record
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.training.engine.accelerator import create_accelerator
from facefusion_finetune.training.engine.checkpoint import has_checkpoint, identify_run
from facefusion_finetune.training.engine.loop import Trainer

PRESET = """
description = "Of a tiny network."
minimum_crops = 1
layers = "last_1"
variants = 1
face_weight = 1
outside_weight = 1
batch_size = 4
steps = 12
learning_rate = 1e-2
schedule = "cosine"
warm_up = 0.1
ema = 0.8
clip_norm = 1.0
checkpoint_every = 3
preview_every = 5

[pairs]
self = 1

[losses]
l1 = 1.0
stay = 0.1
"""

OPTIONS = SwapperOptions(
    "tiny", Path("tiny.onnx"), "inswapper", "arcface_128", (8, 8), (0,) * 3, (1,) * 3, "us", "MIT"
)


def create_preset(**changes: object) -> Preset:
    """The tiny network's preset, with other values of some keys."""
    values = parse_preset(PRESET, "tiny").model_dump()
    for name, value in changes.items():
        group = values["losses"] if name in values["losses"] else values
        group[name] = value
    return Preset.model_validate(values)


def create_run(folder: Path, preset: Preset, base: str = "0" * 64) -> Run:
    """A run in a folder, made anew or as it was left."""
    config = RunConfig(
        **{"person": "ada", "version": 1, "created": datetime(2025, 1, 1, tzinfo=UTC)},
        **{"package_version": "0", "base_name": "tiny", "base_sha256": base},
        **{"base_vendor": "us", "base_licence": "MIT", "consent_digest": "", "preset_name": "tiny"},
        **{"dataset_digest": "", "analyser": "none", "base_argument": "tiny", "seed": 0},
        **{"train": [], "held_out": [], "preset": preset},
    )
    home.create_private_directory(folder / "checkpoints")
    return write_record(folder, config)


class TinySwapper(nn.Module):
    """Two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.trained = {
            name: nn.Parameter(torch.randn(shape, generator=generator) / 5)
            for name, shape in (
                ("one.weight", (6, 3, 3, 3)),
                ("one.bias", (6,)),
                ("two.weight", (3, 6, 3, 3)),
                ("two.bias", (3,)),
            )
        }

    def count_inputs(self, name: str) -> int:
        return self.trained[name][0].numel()

    def forward(self, target: Tensor) -> Tensor:
        layers = iter(self.trained.values())
        hidden = nn.functional.conv2d(target, next(layers), next(layers), padding=1).relu()
        return nn.functional.conv2d(hidden, next(layers), next(layers), padding=1)


class TinyFeed:
    """Drawn pictures; the truth is what other weights make of them."""

    def __init__(self, swapper: TinySwapper, batch_size: int, size: int = 8) -> None:
        self.swapper = swapper
        self.batch_size = batch_size
        self.size = size
        self.runs: list[tuple[int, list[int]]] = []
        self.spoil: Callable[[int, Tensor], Tensor] = lambda step, output: output

    def draw(self, step: int) -> list[int]:
        generator = torch.Generator().manual_seed(step)
        return torch.randint(0, 50, (self.batch_size,), generator=generator).tolist()

    def make(self, rows: Sequence[int]) -> Tensor:
        pictures = []
        for row in rows:
            generator = torch.Generator().manual_seed(1000 + row)
            pictures.append(torch.rand(3, self.size, self.size, generator=generator))
        return torch.stack(pictures)

    def run(self, rows: Sequence[int], step: int) -> tuple[Tensor, Any]:
        self.runs.append((step, list(rows)))
        target = self.make(rows)
        output = self.spoil(step, self.swapper(target))
        return output, SimpleNamespace(truth=1 - target.flip(1) / 2)

    def close(self) -> None:
        pass


class TinyLoss:
    """L1, and the distance from the weights at the start."""

    def __call__(self, output: Tensor, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        total = (output - batch.truth).abs().flatten(1).mean(1)
        return total, {"l1": total.detach()}

    def measure_stay(self, trained: Any, origin: Any) -> Tensor:
        return torch.stack([(trained[n] - origin[n]).square().mean() for n in trained]).mean()


class TinyWorld:
    """Everything a training needs."""

    def __init__(
        self, folder: Path, size: int = 8, accelerator: Accelerator | None = None, **changes: object
    ) -> None:
        self.preset = create_preset(**changes)
        self.run = create_run(folder, self.preset)
        self.swapper = TinySwapper()
        self.feed = TinyFeed(self.swapper, self.preset.batch_size, size)
        self.notes: list[str] = []
        self.values: list[dict[str, float]] = []
        self.previews: list[int] = []
        self.accelerator = accelerator or create_accelerator("fp32")

    def validate(self) -> float:
        """Loss on pictures no step draws."""
        with torch.no_grad():
            target = self.feed.make(range(100, 104))
            return float((self.swapper(target) - (1 - target.flip(1) / 2)).abs().mean())

    def create_trainer(self, validate: Callable[[], float] | None = None) -> Trainer:
        looks = self.validate if validate is None and self.preset.validate_every else validate
        return Trainer(
            accelerator=self.accelerator,
            swapper=self.swapper,
            feed=self.feed,
            options=OPTIONS,
            loss=TinyLoss(),
            preset=self.preset,
            steps=self.preset.count_steps(1),
            run=self.run,
            identity=identify_run(self.run.config),
            validate=looks,
        )

    def train(
        self,
        resume: bool = False,
        validate: Callable[[], float] | None = None,
        on_step: Callable[[int], object] = lambda step: None,
    ) -> dict[str, Tensor]:
        """Train to the end; the weights that would be written out."""

        def tell(step: int, total: int, values: dict[str, float]) -> None:
            self.values.append(values)
            on_step(step)

        observer = Observer(on_step=tell, on_note=self.notes.append)
        self.create_trainer(validate).train(resume, observer, self.previews.append)
        return {name: tensor.detach().clone() for name, tensor in self.swapper.trained.items()}

    def read_metrics(self) -> list[dict[str, Any]]:
        lines = (self.run.directory / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


def spoil_once(world: TinyWorld, *steps: int) -> None:
    """Let the outputs of those steps be no numbers, each the first time it is done."""
    left = list(steps)

    def spoil(step: int, output: Tensor) -> Tensor:
        if step in left:
            left.remove(step)
            return output * float("nan")
        return output

    world.feed.spoil = spoil


def are_same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    """Whether weights are the same bit for bit."""
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def measure_difference(one: dict[str, Tensor], two: dict[str, Tensor]) -> float:
    """The largest difference of any weight."""
    return max(float((one[name] - two[name]).abs().max()) for name in one)


def _kill_in_write(number: int) -> None:
    """Die in the middle of the checkpoint of that number."""
    real, seen = home.write_whole, 0

    def write_whole(path: Path, write: Callable[[Any], object], mode: int = 0o600) -> None:
        nonlocal seen

        def half(file: Any) -> None:
            file.write(b"half of it")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

        seen += path.name == "last.safetensors"
        real(path, half if seen == number else write, mode)

    home.write_whole = write_whole


def _limit_memory(megabytes: float) -> None:
    """Let this process have no more than that beyond what it has now."""
    import resource

    torch.zeros(8).mul(2).sum().item()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + round(megabytes * 2**20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main(folder: Path, settings: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    kill_at = settings.pop("kill_at", 0)
    kill_in_write = settings.pop("kill_in_write", 0)
    spoiled = settings.pop("spoil", [])
    megabytes = settings.pop("megabytes", 0)
    world = TinyWorld(folder, **settings)
    spoil_once(world, *spoiled)
    if kill_in_write:
        _kill_in_write(kill_in_write)
    if megabytes:
        _limit_memory(megabytes)
    steps = 0

    def on_step(step: int) -> None:
        nonlocal steps
        steps += 1
        if steps == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    weights = world.train(has_checkpoint(world.run.checkpoint_path), on_step=on_step)
    if world.accelerator.is_main_process:
        torch.save(weights, folder / "final.pt")
        (folder / "notes.json").write_text(json.dumps(world.notes))


if __name__ == "__main__":
    given = (argument.partition("=") for argument in sys.argv[2:])
    main(Path(sys.argv[1]), {name: json.loads(value) for name, _, value in given})
