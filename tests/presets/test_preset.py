"""Presets are data, and a wrong one is refused in words."""

import pytest

from facefusion_finetune.errors import UsageError
from facefusion_finetune.presets.preset import list_presets, load_preset, parse_preset
from tests.support.demo_world import QUICK_PRESET


@pytest.mark.parametrize("name", list_presets())
def test_presets_that_ship_are_valid(name: str) -> None:
    preset = load_preset(name)
    assert preset.count_steps(100) > 0
    assert preset.description.endswith(".")


def test_reconstruction_is_the_recipe_that_circulates() -> None:
    preset = load_preset("reconstruction")
    losses = {name: weight for name, weight in preset.losses.model_dump().items() if weight}
    assert losses == {"l1": 0.5, "perceptual": 0.3, "identity": 0.2}
    assert {kind: share for kind, share in preset.pairs.model_dump().items() if share} == {
        "self": 1
    }
    assert not preset.lora_rank
    assert preset.vector is None
    assert (preset.layers, preset.learning_rate, preset.minimum_crops) == ("last_3", 1e-5, 50)
    assert 2 <= preset.batch_size <= 4
    assert preset.count_steps(100) == 20 * 25


def test_unknown_preset_lists_the_known() -> None:
    with pytest.raises(UsageError, match="balanced, fast, reconstruction, thorough"):
        load_preset("best")


def test_missing_preset_file() -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_preset("missing.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_size", "batchsize", "unknown key 'batchsize'. Did you mean 'batch_size'"),
        ("high_pass", "highpass", "unknown key 'losses.highpass'. Did you mean 'high_pass'"),
        ("steps = 8", "steps = 0", "steps: Input should be greater than or equal to 1"),
        ("steps = 8", "", "give either steps or epochs"),
        ("steps = 8", "steps = 8\nepochs = 2", "give either steps or epochs"),
        ("cycle = 2\nself = 1\nprior = 1", "", "all pairs are 0"),
        ("l1 = 1.0", "l1 = -1.0", "losses.l1: Input should be greater"),
        ("steps = 8", "steps = [", "it is not valid TOML"),
        ("steps = 8", "steps = " + "[" * 60 + "]" * 60, "it is nested too deeply"),
        ("steps = 8", "steps = " + "[" * 5000 + "]" * 5000, "it is nested too deeply"),
        ("steps = 8", "steps = 8\n" + ".".join("a" * 5000) + " = 1", "it is nested too deeply"),
        ("steps = 8", "steps = " + "9" * 6000, "Exceeds the limit"),
        ("steps = 8", "steps = " + "9" * 4000, "a number in it is too large"),
        ("steps = 8", "steps = 9999999999", "steps: Input should be less than or equal to"),
        ("steps = 8", "steps = inf", "steps: Input should be a finite number"),
        ("l1 = 1.0", "l1 = nan", "losses.l1: Input should be a finite number"),
        ("l1 = 1.0", "l1 = inf", "losses.l1: Input should be a finite number"),
        ("l1 = 1.0", "l1 = 1e308", "losses.l1: Input should be less than or equal to"),
        ("l1 = 1.0", "l1 = {a = 1}", "losses.l1: Input should be a valid number"),
        ("steps = 8", "steps = 8\n" + "x" * 5000 + " = 1", "unknown key 'xxx"),
    ],
)
def test_wrong_preset(old: str, new: str, message: str) -> None:
    assert old in QUICK_PRESET
    with pytest.raises(UsageError) as caught:
        parse_preset(QUICK_PRESET.replace(old, new, 1), "mine.toml")
    assert message in str(caught.value)
    assert "mine.toml" in str(caught.value)
    assert "Value error" not in str(caught.value), "pydantic's own words are not the user's"
    assert len(str(caught.value)) < 1000
