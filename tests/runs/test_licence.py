"""Commercial use and precision: what is refused before anything is done."""

from dataclasses import replace

import pytest
import torch

from facefusion_finetune.errors import SwapperError, UsageError
from facefusion_finetune.faces.facefusion import FaceFusionAnalyser
from facefusion_finetune.runs.base import COMMERCIAL_BASES, allows_commercial_use, check_licence
from facefusion_finetune.training.engine.accelerator import (
    choose_precision,
    create_accelerator,
    name_precision,
)
from tests.support.tiny_training import OPTIONS


@pytest.mark.parametrize("licence", ["Apache-2.0", "MIT", "mit", "BSD-3-Clause", " CC-BY-4.0 "])
def test_licence_that_allows_it(licence: str) -> None:
    check_licence(replace(OPTIONS, licence=licence))


@pytest.mark.parametrize(
    ("licence", "reason"),
    [
        ("Non-Commercial", "(Non-Commercial) does not allow"),
        ("ResearchRAIL", "(ResearchRAIL) does not allow"),
        ("CC-BY-NC-4.0", "(CC-BY-NC-4.0) does not allow"),
        ("Unknown", "is unknown"),
        ("unknown: that of the given file", "is unknown"),
    ],
)
def test_licence_that_forbids_it_or_is_unknown(licence: str, reason: str) -> None:
    given = replace(OPTIONS, name="inswapper_128", licence=licence)
    with pytest.raises(SwapperError) as caught:
        check_licence(given)
    assert "inswapper_128" in caught.value.given
    assert reason in caught.value.why
    assert "ghost_1_256" in caught.value.todo


@pytest.mark.host
def test_bases_that_are_advised_are_those_the_host_says_are_free(
    host_analyser: FaceFusionAnalyser,
) -> None:
    stated = {
        name: entry["__metadata__"]["license"]
        for name, entry in host_analyser._adapter.get_face_swapper_set().items()
    }
    assert stated["inswapper_128"] == "Non-Commercial"
    allowed = {name for name, licence in stated.items() if allows_commercial_use(licence)}
    assert allowed == set(COMMERCIAL_BASES)


def test_precision_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert choose_precision("auto", cpu) == "fp32"
    assert choose_precision("bf16", cpu) == "bf16"
    with pytest.raises(UsageError, match=r"\(cpu\) does not support it"):
        choose_precision("fp16", cpu)
    for has_bf16, chosen in ((True, "bf16"), (False, "fp16")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has_bf16, **_: has)
        assert choose_precision("auto", cuda) == chosen
        assert choose_precision("fp32", cuda) == "fp32"
    with pytest.raises(UsageError, match="does not support it"):
        choose_precision("bf16", cuda)
    with pytest.raises(UsageError, match="Use one of auto, fp32"):
        choose_precision("fp64", cpu)  # type: ignore[arg-type]


def test_one_process_can_train_in_several_precisions() -> None:
    for precision in ("bf16", "fp32"):
        accelerator = create_accelerator(precision)
        assert name_precision(accelerator) == precision
        with accelerator.autocast():
            made = torch.ones(4, 4, device=accelerator.device) @ torch.ones(
                4, 4, device=accelerator.device
            )
        assert made.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
