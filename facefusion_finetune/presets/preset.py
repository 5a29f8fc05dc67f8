"""Presets: a recipe's settings as data."""

import difflib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from facefusion_finetune.damage import DamageError, explain, parse_toml, read_file
from facefusion_finetune.errors import UsageError

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]


class PairMix(BaseModel):
    """How many samples of each kind a batch holds, relative to each other."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cycle: Weight = 0
    """Input: the base's swap of somebody else onto the person's frame; truth: the frame."""
    self: Weight = 0
    """Input and truth: the person's frame; source: another frame's vector."""
    cross: Weight = 0
    """Input: somebody else's frame; source: the person; no truth, but the base's swap to stay
    near, and the person to look like."""
    prior: Weight = 0
    """Input: a frame; source: somebody else's vector; truth: what the base makes of it."""


class LossWeights(BaseModel):
    """Weight of each term; 0 leaves it out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    l1: Weight = 0
    high_pass: Weight = 0
    """L1 of what a blur takes away: skin texture, brows, lashes."""
    ssim: Weight = 0
    """1 - structural similarity to the truth; cycle and self pairs."""
    perceptual: Weight = 0
    """VGG features where their weights are at hand; else early features of the recogniser, and
    picture gradients at three scales."""
    features: Weight = 0
    """L1 over eyes and mouth alone; cycle and self pairs."""
    identity: Weight = 0
    """How much less like the person's vector than the person's own photographs are, in the
    training recogniser; all but prior pairs."""
    anchor: Weight = 0
    """L1 to the base's swap, both pooled by 8 x 8 pixels; cross pairs."""
    stay: Weight = 0
    """Mean squared distance of the weights from the base's (L2-SP)."""


class VectorStage(BaseModel):
    """Tuning of the person's vector, before any weight."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    """Of Adam, for a vector of length 1."""


class Preset(BaseModel):
    """A recipe's settings. Every key is explained in docs/presets.md."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str
    minimum_crops: Annotated[int, Field(ge=1)]
    """Fewer crops that train are refused."""
    layers: str
    """Which ones are trained; see `swappers.graph.select_layers`."""
    lora_rank: Annotated[int, Field(ge=0)] = 0
    """Train changes of the weights of this rank instead of the weights; 0 trains the weights."""
    gated: bool = False
    """Let the changes act by how much the source is like the person, so that nobody else's swap
    changes; needs a rank and a base that is driven by a vector."""
    vector: VectorStage | None = None
    """Tune the person's vector first; without it, it is the mean of the frames' vectors."""
    pairs: PairMix
    variants: Annotated[int, Field(ge=1, le=64)]
    """How many cycle and prior pairs are made of each crop, each with another person's vector."""
    degraded: Share = 0
    """Share of the inputs that are blurred, made noisy or compressed, swapped ones and real ones
    alike; the truth stays clean."""
    losses: LossWeights
    face_weight: Weight
    """Weight of a pixel inside the face."""
    outside_weight: Weight
    """Weight of a pixel outside the face."""
    batch_size: Annotated[int, Field(ge=1)]
    steps: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[int, Field(ge=1)] | None = None
    """Either steps or epochs over the crops that train."""
    learning_rate: Annotated[float, Field(gt=0)]
    rate: Literal["absolute", "relative"] = "absolute"
    """`absolute`: Adam's rate for every weight. `relative`: by how large a share one step can
    change a layer's output at most, whatever the layer's width and weights."""
    schedule: Literal["constant", "cosine"]
    warm_up: Share
    """Share of the steps over which the rate rises from 0."""
    ema: Share
    """Decay of the moving average of the weights that is written out; 0 writes the last ones."""
    clip_norm: Annotated[float, Field(gt=0)]
    validate_every: Annotated[int, Field(ge=0)] = 0
    """Steps between two looks at a training shot that is kept back for it, where there are shots
    enough; the best averaged weights seen are written out. 0 never looks."""
    patience: Annotated[int, Field(ge=1)] = 3
    """After how many looks without a better one training stops."""
    checkpoint_every: Annotated[int, Field(ge=1)]
    preview_every: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _check_whole(self) -> "Preset":
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")
        if not any(self.pairs.model_dump().values()):
            raise ValueError("all pairs are 0, so there is nothing to train on")
        if self.lora_rank and not self.gated and self.rate == "relative":
            raise ValueError(
                "a low-rank change that is not gated has no size a relative rate could go by: use"
                " rate = 'absolute' with a learning_rate such as 3e-3"
            )
        if self.gated and not self.lora_rank:
            raise ValueError("gated needs lora_rank, the rank of the change that is gated")
        if not any(self.losses.model_dump().values()):
            raise ValueError("all losses are 0, so there is nothing to minimise")
        return self

    def count_steps(self, crops: int) -> int:
        """Number of optimiser steps for that many training crops."""
        if self.steps is not None:
            return self.steps
        return max(1, -(-crops // self.batch_size)) * (self.epochs or 1)


def list_presets() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(
        file.name.removesuffix(".toml")
        for file in resources.files(__package__).iterdir()
        if file.name.endswith(".toml")
    )


def load_preset(name: str) -> Preset:
    """A preset by name, or by the path of a `.toml` file.

    Raises:
        UsageError: There is none of that name, or it holds an unknown key or a wrong value.
    """
    if name.endswith(".toml"):
        try:
            text = read_file(Path(name), lambda content: content.decode("utf-8"))
        except (FileNotFoundError, DamageError) as error:
            raise UsageError(
                f"preset {name}", f"it cannot be read ({explain(error)}).", "Check the path."
            ) from error
    elif name in list_presets():
        text = resources.files(__package__).joinpath(f"{name}.toml").read_text("utf-8")
    else:
        raise UsageError(
            f"preset {name!r}",
            "there is none of that name.",
            f"Use one of {', '.join(list_presets())}, or the path of a .toml file.",
        )
    return parse_preset(text, name)


def parse_preset(text: str, name: str) -> Preset:
    """Read a preset from TOML text; errors as in `load_preset`."""
    try:
        return Preset.model_validate(parse_toml(text.encode("utf-8")))
    except DamageError as error:
        raise UsageError(f"preset {name}", f"it is no TOML ({error}).", "Correct it.") from error
    except ValidationError as error:
        # A misspelt key is also a missing one; the misspelling is what helps.
        faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        fault = faults[0]
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            tables: dict[str, type[BaseModel]] = {
                "pairs": PairMix,
                "losses": LossWeights,
                "vector": VectorStage,
            }
            table = tables.get(str(fault["loc"][0]), Preset)
            near = difflib.get_close_matches(str(fault["loc"][-1]), table.model_fields, 1, 0.0)
            advice = f"Did you mean {near[0]!r}?" if near else "Leave it out."
            raise UsageError(f"preset {name}", f"the key {key!r} is unknown.", advice) from error
        raise UsageError(
            f"preset {name}", f"{key or 'it'}: {fault['msg']}.", "Correct the value."
        ) from error
