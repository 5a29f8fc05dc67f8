"""The command `facefusion` starts the linked host as its own process, with the user's paths."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from facefusion_finetune.host.launch import find_linked_feature, make_paths_absolute
from facefusion_finetune.host.link import link
from tests.support.host import create_fake_checkout
from tests.support.waiting import HANGS

FOLDER = Path("/user")
LAUNCH = "from facefusion_finetune.host.launch import main; main()"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("-s a.png b/c.png -t d.mp4", "-s /user/a.png /user/b/c.png -t /user/d.mp4"),
        ("-s /x/a.png -o out/", "-s /x/a.png -o /user/out"),
        ("--target-path=../d.mp4", "--target-path=/d.mp4"),
        ("--source-paths a b --processors c d", "--source-paths /user/a /user/b --processors c d"),
        ("--output-p o.png", "--output-p /user/o.png"),
        ("-od.png -t=e.png", "-o/user/d.png -t/user/e.png"),
        ("--source-pattern p/*.png", "--source-pattern /user/p/*.png"),
        ("--output-pattern o/{index}.png", "--output-pattern /user/o/{index}.png"),
        ("--config-path my.ini --temp-path t", "--config-path /user/my.ini --temp-path /user/t"),
        ("--jobs-path j job", "--jobs-path /user/j /user/job"),
        ("job-create name --jobs-path j", "job-create name --jobs-path /user/j"),
        ("--target-path= --log-level debug", "--target-path= --log-level debug"),
        ("--face-swapper-model m -v", "--face-swapper-model m -v"),
    ],
)
def test_paths_are_the_users(arguments: str, expected: str) -> None:
    assert make_paths_absolute(arguments.split(), FOLDER) == expected.split()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ("run --processors finetuned_swapper", "finetuned_swapper"),
        ("run --finetuned-swapper-model=jane", "finetuned_swapper"),
        ("run --processors face_swapper", None),
        ("run --ui-layouts finetune", "finetune"),
        ("run --ui-layouts default finetune --open-browser", "finetune"),
        ("run --ui-l=finetune", "finetune"),
        ("run --ui-layouts default --ui-workflow job_runner", None),
        ("run --processors finetuned_swapper --ui-layouts finetune", "finetuned_swapper"),
        ("job-create finetune", None),
    ],
)
def test_what_needs_a_link(arguments: str, wanted: str | None) -> None:
    assert find_linked_feature(arguments.split()) == wanted


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A fake FaceFusion that writes down how it was started."""
    checkout = create_fake_checkout(tmp_path / "checkout")
    (checkout / "facefusion.py").write_text(
        "import os, sys, time\n"
        "try:\n"
        "    print(os.getcwd(), sys.executable, *sys.argv[1:], flush=True)\n"
        "    time.sleep(600 if 'wait' in sys.argv else 0)\n"
        "except KeyboardInterrupt:\n"
        "    print('tidied up', flush=True)\n"
        "    sys.exit(3)\n"
        "sys.exit(7)\n"
    )
    (tmp_path / "user").mkdir()
    return {
        **os.environ,
        "FACEFUSION_PATH": str(checkout),
        "FACEFUSION_FINETUNE_HOME": str(tmp_path / "data"),
    }


def launch(environment: dict[str, str], folder: Path, *arguments: str) -> tuple[int, str, str]:
    process = subprocess.run(
        [sys.executable, "-c", LAUNCH, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
    )
    return process.returncode, process.stdout.strip(), process.stderr


def test_arguments_folder_and_code_pass_through(
    environment: dict[str, str], tmp_path: Path
) -> None:
    user = tmp_path / "user"
    code, said, _ = launch(environment, user, "headless-run", "-t", "a.png", "--opt", "x")
    expected = [environment["FACEFUSION_PATH"], sys.executable, "headless-run", "-t"]
    assert said.split() == [*expected, str(user / "a.png"), "--opt", "x"]
    assert code == 7


def test_not_linked_is_said_only_when_it_matters(
    environment: dict[str, str], tmp_path: Path
) -> None:
    user = tmp_path / "user"
    code, said, errors = launch(environment, user, "run", "--processors", "finetuned_swapper")
    assert code == 1
    assert said == ""
    assert "finetuned_swapper: the FaceFusion in" in errors
    assert "is not linked. Run `facefusion-finetune link" in errors
    code, said, errors = launch(environment, user, "run", "--ui-layouts", "default", "finetune")
    assert (code, said) == (1, "")
    assert "finetune: the FaceFusion in" in errors
    assert "is not linked. Run `facefusion-finetune link" in errors
    code, _, errors = launch(environment, user, "run", "--processors", "face_swapper")
    assert (code, errors) == (7, "")
    link(Path(environment["FACEFUSION_PATH"]))
    code, _, errors = launch(environment, user, "run", "--processors", "finetuned_swapper")
    assert (code, errors) == (7, "")
    code, _, errors = launch(environment, user, "run", "--ui-layouts", "finetune")
    assert (code, errors) == (7, "")


def test_no_host_is_one_line(environment: dict[str, str], tmp_path: Path) -> None:
    environment["FACEFUSION_PATH"] = str(tmp_path)
    code, _, errors = launch(environment, tmp_path, "run")
    assert code == 1
    assert errors.startswith("FACEFUSION_PATH=")
    assert errors.count("\n") == 1


@pytest.mark.skipif(os.name == "nt", reason="a terminal's Ctrl-C is sent by process group")
def test_ctrl_c_lets_the_host_tidy_up(environment: dict[str, str], tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, "wait"],
        cwd=tmp_path / "user",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert "wait" in process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    said, errors = process.communicate(timeout=HANGS)
    assert said.strip() == "tidied up"
    assert errors == ""
    assert process.returncode == 3
