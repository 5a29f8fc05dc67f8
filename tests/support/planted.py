"""A drawn person with enough footage to be judged, and models that are built to be right or wrong.

Every model here is made by moving the base's decoder towards answers that are chosen on purpose:
true swaps of the person, of somebody else, of the person whoever is asked for, and so on.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from facefusion_finetune.dataset.crops import load_crops
from facefusion_finetune.dataset.extraction.extract import extract_footage
from facefusion_finetune.dataset.manifest import (
    CropRecord,
    digest_dataset,
    read_manifest,
    stack_embeddings,
)
from facefusion_finetune.dataset.split import split_by_shot
from facefusion_finetune.demo.analyser import SWAPPER, DemoAnalyser
from facefusion_finetune.demo.networks.crops import CropBatch, PeopleBatch, gather_people
from facefusion_finetune.demo.people import FIRST_UNSEEN_SEED
from facefusion_finetune.demo.truths import create_world
from facefusion_finetune.demo.world import write_footage
from facefusion_finetune.evaluation.truths import World
from facefusion_finetune.faces.vectors import create_centroid
from facefusion_finetune.people.profile import Person, add_person, create_consent
from facefusion_finetune.presets.preset import load_preset
from facefusion_finetune.registry.bases import write_run_model
from facefusion_finetune.runs.base import open_base
from facefusion_finetune.runs.run import Run, RunConfig, create_run, next_version
from facefusion_finetune.swappers.card import encode_metadata
from facefusion_finetune.swappers.convert.frontier import split_at_cut
from facefusion_finetune.swappers.convert.network import TorchSwapper
from facefusion_finetune.swappers.files.bases import digest_file
from facefusion_finetune.swappers.files.writeback import Weights
from facefusion_finetune.swappers.graphs.costs import measure_cost
from facefusion_finetune.swappers.graphs.graph import select_layers
from facefusion_finetune.swappers.sessions import create_session, run_session
from facefusion_finetune.swappers.source import SourceMaker
from tests.support.runs import create_card

PERSON = FIRST_UNSEEN_SEED + 4_000
TARGETS = (PERSON + 1, PERSON + 2, PERSON + 3, PERSON + 4)
SHOTS, FRAMES = 16, 6
TARGET_SHOTS, TARGET_FRAMES = 2, 5
CROWD = range(PERSON + 100, PERSON + 400)
"""Seeds of the people whose frames are trained on; none of them is a target."""

OTHERS = 96
"""People of the crowd whose swaps a model is told to leave as they are."""

BATCH = 16
LESSONS = 80
"""Batches; whoever learns for longer learns them again."""
RATE = 2e-3


@dataclass(frozen=True)
class Stage:
    """The person, the analyser and the world, in the home of this test session."""

    person: Person
    analyser: DemoAnalyser
    world: World

    @property
    def records(self) -> list[CropRecord]:
        """The person's kept crops."""
        return [record for record in read_manifest(self.person) if record.kept]


def set_stage(folder: Path) -> Stage:
    """Draw footage of the person and of four others, and extract the person's crops."""
    write_footage(folder / "person", PERSON, SHOTS, FRAMES, seed=5)
    targets = [folder / f"target-{seed}" for seed in TARGETS]
    for seed, target in zip(TARGETS, targets, strict=True):
        write_footage(target, seed, TARGET_SHOTS, TARGET_FRAMES, seed)
    analyser = DemoAnalyser([folder / "person", *targets])
    person = add_person("pia", create_consent(None, "A drawn person agrees to nothing."))
    extract_footage(person, [folder / "person"], analyser)
    return Stage(person, analyser, create_world(targets, analyser, PERSON))


@dataclass(frozen=True)
class Lesson:
    """One batch that a planted model learns from."""

    targets: Tensor
    """(n, 3, 64, 64), RGB, 0 to 1."""
    sources: Tensor
    """(n, 512)."""
    truths: Tensor
    """(n, 3, 64, 64)."""


Teach = Callable[[numpy.random.Generator], Lesson]
Extra = Callable[[Tensor, Lesson], Tensor]


class School:
    """Moves the base's decoder towards chosen answers."""

    def __init__(self, stage: Stage, train: list[CropRecord]) -> None:
        self.stage = stage
        self.options = stage.analyser.get_swapper(SWAPPER)
        self.graph = open_base(self.options, stage.analyser)
        self.maker = SourceMaker(self.options, self.graph.emap)
        self.vector = create_centroid(stack_embeddings(train)).astype(numpy.float32)
        self.source = torch.from_numpy(self.maker.create_vector(self.vector))
        self.crowd = gather_people(list(CROWD))
        self.session = create_session(self.options.path, "base")
        self.others = [
            torch.from_numpy(self.maker.create_vector(vector))
            for vector in self._find_vectors(OTHERS)
        ]

    def tune(
        self, teach: Teach, steps: int, extra: Extra | None = None, rate: float = RATE
    ) -> Weights:
        """The decoder's weights after some steps of Adam on plain L1, and on `extra`."""
        torch.manual_seed(0)
        layers = select_layers(self.graph, "decoder")
        swapper = TorchSwapper(self.graph, layers)
        frontier = split_at_cut(swapper, measure_cost(self.graph.trace, layers).cut)
        optimiser = torch.optim.Adam(list(swapper.trained.values()), lr=rate)
        generator = numpy.random.default_rng(17)
        lessons = [teach(generator) for _ in range(min(steps, LESSONS))]
        kept = [frontier.run_frozen(lesson.targets, lesson.sources) for lesson in lessons]
        again = itertools.cycle(zip(lessons, kept, strict=True))
        for step, (lesson, tensors) in zip(range(steps), again, strict=False):
            for group in optimiser.param_groups:
                group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            made = frontier.run_live(tensors)
            loss = (made - lesson.truths).abs().mean()
            if extra is not None:
                loss = loss + extra(made, lesson)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
        return swapper.export_weights()

    def swap_in(
        self, generator: numpy.random.Generator, seed: int, source: Tensor, count: int = BATCH
    ) -> Lesson:
        """Somebody's true swaps onto the crowd, asked for by `source`."""
        shoot = CropBatch.of(generator, self._draw(generator, count), jitter=0.0)
        face = gather_people([seed])
        truths = shoot.render(
            numpy.repeat(face.coarse, count, axis=0), numpy.repeat(face.detail, count, axis=0)
        )
        return Lesson(shoot.render(), source.expand(count, -1), truths)

    def keep_others(self, generator: numpy.random.Generator, count: int = BATCH) -> Lesson:
        """What the base makes of others on the crowd, asked for by their own vectors."""
        shoot = CropBatch.of(generator, self._draw(generator, count), jitter=0.0)
        rows = generator.integers(0, len(self.others), count)
        targets, sources = shoot.render(), torch.stack([self.others[row] for row in rows])
        return Lesson(targets, sources, self.run_base(targets, sources))

    def run_base(self, targets: Tensor, sources: Tensor) -> Tensor:
        """(n, 3, 64, 64): the untuned base's swaps."""
        return torch.from_numpy(run_session(self.session, targets.numpy(), sources.numpy()))

    def _draw(self, generator: numpy.random.Generator, count: int) -> PeopleBatch:
        rows = generator.integers(0, len(self.crowd.coarse), count)
        return PeopleBatch(self.crowd.coarse[rows], self.crowd.detail[rows], self.crowd.outer[rows])

    def _find_vectors(self, count: int) -> NDArray[numpy.float64]:
        """(count, 512): mean directions of four stills of people of the crowd."""
        generator = numpy.random.default_rng(23)
        vectors = []
        for row in range(count):
            four = PeopleBatch(
                *(
                    numpy.repeat(part[row : row + 1], 4, axis=0)
                    for part in (self.crowd.coarse, self.crowd.detail, self.crowd.outer)
                )
            )
            pictures = CropBatch.of(generator, four, jitter=0.0).render()
            crops = (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()[..., ::-1]
            embeddings = numpy.stack([self.stage.analyser.embed(crop) for crop in crops])
            vectors.append(create_centroid(embeddings))
        return numpy.stack(vectors)


def join(first: Lesson, second: Lesson) -> Lesson:
    """Both lessons as one."""
    return Lesson(
        torch.cat([first.targets, second.targets]),
        torch.cat([first.sources, second.sources]),
        torch.cat([first.truths, second.truths]),
    )


def plant_run(
    school: School, weights: Weights, train: list[CropRecord], held_out: list[CropRecord]
) -> Run:
    """A finished run of the person with these weights, unproven until it is judged."""
    stage, options = school.stage, school.options
    person = stage.person
    card = create_card(
        person.name,
        next_version(person),
        options,
        person_vector=tuple(float(value) for value in school.vector),
    )
    run = create_run(
        person,
        RunConfig(
            person=person.name,
            version=card.version,
            created=datetime.now(UTC),
            package_version="0",
            analyser=stage.analyser.name,
            base_name=options.name,
            base_argument=SWAPPER,
            base_sha256=digest_file(options.path),
            base_vendor=options.vendor,
            base_licence=options.licence,
            consent_digest="0" * 64,
            dataset_digest=digest_dataset(stage.records),
            preset_name="planted",
            seed=0,
            train=[record.id for record in train],
            held_out=[record.id for record in held_out],
            preset=load_preset("fast"),
        ),
    )
    write_run_model(
        school.graph.file,
        run.config.base_sha256,
        options.name,
        run.model_path,
        weights,
        encode_metadata(card),
    )
    return run


def split_honestly(stage: Stage) -> tuple[list[CropRecord], list[CropRecord]]:
    """By shot."""
    split = split_by_shot(stage.records)
    return split.train, split.held_out


def split_at_random(stage: Stage) -> tuple[list[CropRecord], list[CropRecord]]:
    """One crop in four, whatever shot it is from: what is done all too often."""
    records = stage.records
    chosen = set(numpy.random.default_rng(3).choice(len(records), len(records) // 4, False))
    train = [record for row, record in enumerate(records) if row not in chosen]
    return train, [record for row, record in enumerate(records) if row in chosen]


def load_pictures(school: School, records: list[CropRecord]) -> Tensor:
    """(n, 3, 64, 64): the base's crops of these records, RGB, 0 to 1."""
    stage = school.stage
    crops = load_crops(stage.person, records, stage.analyser, school.options)
    pictures = numpy.stack([crop.crop for crop in crops])[..., ::-1].transpose(0, 3, 1, 2)
    return torch.from_numpy(numpy.ascontiguousarray(pictures)).float() / 255
