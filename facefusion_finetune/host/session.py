"""FaceFusion inside this process: imported from its folder, its state filled."""

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from facefusion_finetune.errors import FinetuneError, HostError, UsageError
from facefusion_finetune.host.locate import Host

COMMAND = "headless-run"
"""The command whose settings are taken."""

SIDES = ("face_detector_margin", "face_mask_padding")
"""Settings with a number for each side of a face. FaceFusion 3.5 takes them for 0 when they come as
arguments."""


def import_adapter(host: Host) -> ModuleType:
    """Import FaceFusion from the folder of `host`, and the adapter over it.

    Raises:
        HostError: It cannot be imported, or this process already uses another one.
    """
    # only the package itself is looked for on the path; its modules follow from there
    sys.path.insert(0, str(host.path))
    try:
        package = importlib.import_module("facefusion")
    finally:
        sys.path.remove(str(host.path))
    origin = Path(package.__file__ or "").resolve().parents[1]
    if origin != host.path.resolve():
        raise HostError(
            str(host.path),
            f"this process already uses the FaceFusion in {origin}.",
            "Start another process for the other one.",
        )
    try:
        return importlib.import_module("facefusion_finetune.host.adapter")
    except ImportError as error:
        raise HostError(
            str(host.path),
            f"it cannot be imported into {sys.executable} ({error}).",
            "Install facefusion-finetune into the Python environment FaceFusion runs in.",
        ) from error


def initialise_state(host: Host, overrides: Mapping[str, Any]) -> None:
    """Fill FaceFusion's state from its defaults, its facefusion.ini and `overrides`.

    Args:
        host: The FaceFusion that was imported.
        overrides: Settings by their name in the state. They go in as arguments, so that FaceFusion
            checks them and derives from them what depends on them.

    Raises:
        HostError: FaceFusion does not start with its own facefusion.ini.
        UsageError: An override is not known or not accepted.
    """
    messages = io.StringIO()
    try:
        with _entered(host, _create_arguments(overrides)), contextlib.redirect_stderr(messages):
            args = _parse_arguments(host, overrides)
            importlib.import_module("facefusion.args").apply_args(args, _state().init_item)
            for key in SIDES:
                if isinstance(overrides.get(key), list | tuple) and len(overrides[key]) == 4:
                    _state().init_item(key, tuple(map(int, overrides[key])))
    except FinetuneError:
        raise
    except (Exception, SystemExit) as error:
        said = messages.getvalue().strip().splitlines()[-1:] or [repr(error)]
        if overrides:
            raise UsageError(
                f"settings {dict(overrides)}",
                f"{host.name} does not accept them ({said[0]}).",
                "Choose values it lists under `facefusion headless-run --help`.",
            ) from error
        raise _refuses_to_start(host, said[0]) from error
    importlib.import_module("facefusion.logger").init(_state().get_item("log_level"))


def _parse_arguments(host: Host, overrides: Mapping[str, Any]) -> dict[str, Any]:
    program = importlib.import_module("facefusion.program").create_program()
    known = _list_keys(program)
    for key in overrides:
        if key not in known:
            raise UsageError(
                f"setting {key!r}",
                f"{host.name} has no such setting.",
                f"Choose one of: {', '.join(known)}.",
            )
    if not importlib.import_module("facefusion.program_helper").validate_args(program):
        raise _refuses_to_start(host, "a value in its facefusion.ini is not one it knows")
    args: dict[str, Any] = vars(program.parse_args())
    return args


def _list_keys(program: Any) -> list[str]:
    """The settings of the command, by their name in FaceFusion's state."""
    for action in program._actions:
        if isinstance(action.choices, dict) and COMMAND in action.choices:
            options = action.choices[COMMAND]._actions
            return sorted(option.dest for option in options if option.dest != "help")
    return []


def _create_arguments(overrides: Mapping[str, Any]) -> list[str]:
    arguments = [COMMAND]
    for key, value in overrides.items():
        values = value if isinstance(value, list | tuple) else [value]
        arguments += ["--" + key.replace("_", "-"), *map(str, values)]
    return arguments


@contextlib.contextmanager
def _entered(host: Host, arguments: Sequence[str]) -> Iterator[None]:
    """Stand in the host's folder with its arguments: it lists its processors relative to there."""
    folder, argv = os.getcwd(), sys.argv
    os.chdir(host.path)
    sys.argv = ["facefusion.py", *arguments]
    try:
        yield
    finally:
        sys.argv = argv
        os.chdir(folder)


def _refuses_to_start(host: Host, why: str) -> HostError:
    return HostError(
        str(host.path),
        f"FaceFusion refuses to start ({why}).",
        "Correct its facefusion.ini; `facefusion headless-run` in a terminal must work.",
    )


def _state() -> ModuleType:
    return importlib.import_module("facefusion.state_manager")
