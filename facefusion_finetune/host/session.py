"""FaceFusion inside this process: imported from its folder, its state initialised."""

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
"""The command whose settings are used."""

PER_SIDE_KEYS = ("face_detector_margin", "face_mask_padding")
"""Settings with one value per side of a face. FaceFusion 3.5 reads them as 0 when given as
arguments."""


def import_adapter(host: Host) -> ModuleType:
    """Import FaceFusion from the folder of `host`, and the adapter over it.

    Raises:
        HostError: It cannot be imported, or this process already uses another FaceFusion.
    """
    # only the package itself is found via the path; its modules follow from there
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
            "Start another process for this one.",
        )
    try:
        return importlib.import_module("facefusion_finetune.host.adapter")
    except ImportError as error:
        raise HostError(
            str(host.path),
            f"it cannot be imported into {sys.executable} ({error}).",
            "Install facefusion-finetune in the Python environment that FaceFusion runs in.",
        ) from error


def initialise_state(host: Host, overrides: Mapping[str, Any]) -> None:
    """Initialise FaceFusion's state from its defaults, its facefusion.ini and `overrides`.

    Args:
        host: The FaceFusion that was imported.
        overrides: Settings by their name in the state. They are passed as arguments, so that
            FaceFusion validates them and derives the settings that depend on them.

    Raises:
        HostError: FaceFusion does not start with its own facefusion.ini.
        UsageError: An override is unknown or not accepted.
    """
    messages = io.StringIO()
    try:
        with (
            _in_host_folder(host, _create_arguments(overrides)),
            contextlib.redirect_stderr(messages),
        ):
            args = _parse_arguments(host, overrides)
            importlib.import_module("facefusion.args").apply_args(args, _state().init_item)
            for key in PER_SIDE_KEYS:
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
                "Use values listed by `facefusion headless-run --help`.",
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
        raise _refuses_to_start(host, "a value in its facefusion.ini is invalid")
    args: dict[str, Any] = vars(program.parse_args())
    return args


def _list_keys(program: Any) -> list[str]:
    """The command's settings, by their name in FaceFusion's state."""
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
def _in_host_folder(host: Host, arguments: Sequence[str]) -> Iterator[None]:
    """Work in the host's folder with its arguments: it lists its processors relative to it."""
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
