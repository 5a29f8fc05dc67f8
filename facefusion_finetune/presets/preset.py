"""Presets: training settings as data."""

import difflib
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from facefusion_finetune.damage import DamageError, describe_fault, explain, parse_toml, read_file
from facefusion_finetune.errors import UsageError

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1e6)]
Rate = Annotated[float, Field(gt=0, le=1e30)]
Count = Annotated[int, Field(ge=1, le=10**9)]


class PairMix(BaseModel):
    """Relative number of pairs of each kind in a batch."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    cycle: Weight = 0
    """Input: the base's swap of someone else onto the person's frame; truth: the frame."""
    self: Weight = 0
    """Input and truth: the person's frame; source: the vector of another frame."""
    cross: Weight = 0
    """Input: someone else's frame; source: the person. There is no truth: the output stays close to
    the base's swap and should look like the person."""
    prior: Weight = 0
    """Input: a frame; source: someone else's vector; truth: the base's output."""


class LossWeights(BaseModel):
    """Weight of each loss term; 0 omits it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    l1: Weight = 0
    high_pass: Weight = 0
    """L1 of the high frequencies that a blur removes: skin texture, brows, lashes."""
    ssim: Weight = 0
    """1 - structural similarity (SSIM) to the truth; cycle and self pairs."""
    perceptual: Weight = 0
    """VGG features if their weights are available; otherwise early features of the recogniser, and
    image gradients at three scales."""
    features: Weight = 0
    """L1 over eyes and mouth only; cycle and self pairs."""
    identity: Weight = 0
    """How much less similar to the person's vector than the person's own photographs, according to
    the training recogniser; all but prior pairs."""
    anchor: Weight = 0
    """L1 to the base's swap, both average-pooled over 8 x 8 pixels; cross pairs."""
    stay: Weight = 0
    """Mean squared distance of the weights from the base's (L2-SP)."""


class VectorStage(BaseModel):
    """Tuning of the person's vector, before any weight is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    steps: Count
    learning_rate: Rate
    """Learning rate of Adam, for a vector of unit norm."""


class Preset(BaseModel):
    """The settings of a training recipe. Every key is explained in docs/presets.md."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    description: str
    minimum_crops: Count
    """Training is refused with fewer training crops."""
    layers: str
    """The layers to train; see `swappers.graphs.graph.select_layers`."""
    lora_rank: Annotated[int, Field(ge=0, le=4096)] = 0
    """Train low-rank changes of this rank instead of the weights; 0 trains the weights."""
    gated: bool = False
    """Scale the changes by an identity gate, i.e. by how similar the source is to the person, so
    that other people's swaps do not change; needs a rank and a base driven by a vector."""
    vector: VectorStage | None = None
    """Tune the person's vector first; if None, it is the mean of the frames' vectors."""
    pairs: PairMix
    variants: Annotated[int, Field(ge=1, le=64)]
    """Number of cycle and prior pairs per crop, each with a different person's vector."""
    degraded: Share = 0
    """Share of the inputs, swapped and real, that are blurred, made noisy or compressed; the truth
    stays clean."""
    losses: LossWeights
    face_weight: Weight
    """Weight of a pixel inside the face."""
    outside_weight: Weight
    """Weight of a pixel outside the face."""
    batch_size: Annotated[int, Field(ge=1, le=4096)]
    steps: Count | None = None
    epochs: Count | None = None
    """Epochs over the training crops; give either steps or epochs."""
    learning_rate: Rate
    rate: Literal["absolute", "relative"] = "absolute"
    """`absolute`: Adam's learning rate for every weight. `relative`: the largest share by which one
    step can change a layer's output, independent of the layer's width and weights."""
    schedule: Literal["constant", "cosine"]
    warm_up: Share
    """Share of the steps over which the learning rate rises from 0."""
    ema: Share
    """Decay of the exponential moving average of the weights that is exported; 0 exports the
    last weights."""
    clip_norm: Annotated[float, Field(gt=0, allow_inf_nan=True)]
    validate_every: Annotated[int, Field(ge=0, le=10**9)] = 0
    """Steps between two evaluations on the validation set, a training shot that is set aside if
    there are enough shots; the best averaged weights are exported. 0 turns validation off."""
    patience: Count = 3
    """Early stopping: evaluations without improvement before training stops."""
    checkpoint_every: Count
    preview_every: Count

    @model_validator(mode="after")
    def _check_whole(self) -> "Preset":
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")
        if not any(self.pairs.model_dump().values()):
            raise ValueError("all pairs are 0, so there is nothing to train on")
        if self.lora_rank and not self.gated and self.rate == "relative":
            raise ValueError(
                "a relative rate is not defined for a low-rank change that is not gated: use"
                " rate = 'absolute' with a learning_rate such as 3e-3"
            )
        if self.gated and not self.lora_rank:
            raise ValueError("gated needs lora_rank, the rank of the gated change")
        if not any(self.losses.model_dump().values()):
            raise ValueError("all losses are 0, so there is nothing to minimise")
        return self

    def count_steps(self, crops: int) -> int:
        """Number of optimiser steps for this many training crops."""
        if self.steps is not None:
            return self.steps
        return max(1, -(-crops // self.batch_size)) * (self.epochs or 1)


def list_presets() -> list[str]:
    """Names of the presets included in the package."""
    return sorted(
        file.name.removesuffix(".toml")
        for file in resources.files(__package__).iterdir()
        if file.name.endswith(".toml")
    )


def load_preset(name: str) -> Preset:
    """A preset by name, or by the path of a `.toml` file.

    Raises:
        UsageError: There is no such preset, or it has an unknown key or an invalid value.
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
            "no such preset.",
            f"Use one of {', '.join(list_presets())}, or the path of a .toml file.",
        )
    return parse_preset(text, name)


def parse_preset(text: str, name: str) -> Preset:
    """Read a preset from TOML text; errors as in `load_preset`."""
    try:
        return Preset.model_validate(parse_toml(text.encode("utf-8")))
    except DamageError as error:
        raise UsageError(
            f"preset {name}", f"it is not valid TOML ({error}).", "Correct it."
        ) from error
    except ValidationError as error:
        # A misspelt key is also reported as missing; the misspelling is the helpful one.
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
            advice = f"Did you mean {near[0]!r}?" if near else "Remove it."
            raise UsageError(f"preset {name}", f"unknown key {key!r}.", advice) from error
        _, reason = describe_fault(error)
        why = f"{key}: {reason}." if key else f"{reason}."
        raise UsageError(f"preset {name}", why, "Correct it.") from error
