"""Whether a base's licence lets its tuned models be used commercially."""

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.catalogue import SwapperOptions

COMMERCIAL_LICENCES = frozenset(
    name.casefold()
    for name in (
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CC-BY-4.0"),
        *("ISC", "MIT", "Unlicense", "WTFPL", "Zlib"),
    )
)
"""SPDX names of licences that allow commercial use of what is made from the work, without
conditions on the use. What is not among them, or unknown, is taken to forbid it."""


COMMERCIAL_BASES = ("ghost_1_256", "ghost_2_256", "ghost_3_256")
"""Those of FaceFusion 3.8 whose licence, as it states it, is among them."""


def allows_commercial_use(licence: str) -> bool:
    """Whether a licence, by its SPDX name, is known to allow commercial use."""
    return licence.strip().casefold() in COMMERCIAL_LICENCES


def check_licence(options: SwapperOptions) -> None:
    """Make sure that a model tuned from a base may be used commercially: it inherits the licence.

    Args:
        options: The base, with the licence FaceFusion states for it.

    Raises:
        SwapperError: The base's licence forbids it, or is unknown.
    """
    if allows_commercial_use(options.licence):
        return
    is_unknown = options.licence.casefold().startswith("unknown")
    state = "is unknown" if is_unknown else f"({options.licence}) does not allow commercial use"
    raise SwapperError(
        f"base {options.name!r} with --commercial",
        f"its licence {state}, and a model tuned from it inherits that licence.",
        f"Use a base that may be used commercially: {', '.join(COMMERCIAL_BASES)}; or train without"
        " --commercial.",
    )
