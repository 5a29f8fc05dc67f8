"""The host stays whole: linked, unlinked, without the package, and when it changes."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from facefusion_finetune.host.link import link, unlink
from tests.support import host as support
from tests.support.built_pages import build_pages

pytestmark = pytest.mark.host

OWN_TESTS = (
    "test_config",
    "test_job_manager",
    "test_program_helper",
    "test_state_manager",
    "test_translator",
    "test_cli_job_manager",
)
HAS_INTEGRITY = """
import sys
from facefusion import core, state_manager
state_manager.init_item("download_providers", [])
sys.exit(0 if core.common_pre_check() else 1)
"""
FAILING_TAB = """
import sys
from types import ModuleType

import gradio

def render():
    with gradio.Blocks():
        with gradio.Row():
            gradio.Textbox(elem_id="half")
            if "{step}" == "render":
                raise RuntimeError("half way")

def listen():
    gradio.on(None, lambda: None)
    raise RuntimeError("half way")

layout = ModuleType("finetune")
layout.pre_check = lambda: {step} if "{step}" == "pre_check" else True
layout.render, layout.listen, layout.run = render, listen, lambda ui: ui.launch()
sys.modules["facefusion_finetune.facefusion.uis.layouts.finetune"] = layout
"""
METHODS = re.compile(r"^(PROCESSORS_METHODS[^\[]*\[)", re.MULTILINE)


@pytest.fixture
def copied_host(furnished_host: Path, tmp_path: Path) -> Path:
    """A furnished host one test may change."""
    return Path(shutil.copytree(furnished_host, tmp_path / "facefusion-copy"))


def swap_by_host(host: Path, source: Path, target: Path, output: Path, **variables: str) -> None:
    """An image through the host's own face swapper."""
    arguments = ("-s", source, "-t", target, "-o", output)
    result = support.run_face_swapper(host, *arguments, **variables)
    assert result.code == 0, result.output


def test_the_hosts_own_swap_is_the_same_linked(
    furnished_host: Path, linked_host: Path, source_image: Path, target_image: Path, tmp_path: Path
) -> None:
    swap_by_host(furnished_host, source_image, target_image, tmp_path / "before.png")
    swap_by_host(linked_host, source_image, target_image, tmp_path / "after.png")
    before, after = (tmp_path / "before.png").read_bytes(), (tmp_path / "after.png").read_bytes()
    assert before == after
    assert before != target_image.read_bytes()


def test_the_content_check_is_untouched(linked_host: Path) -> None:
    command = [sys.executable, "-c", HAS_INTEGRITY]
    subprocess.run(command, cwd=linked_host, check=True)


def test_git_stays_clean_and_unlinking_restores_the_tree(copied_host: Path) -> None:
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run([*git, "init", "-q"], cwd=copied_host, check=True)
    subprocess.run([*git, "add", "-A"], cwd=copied_host, check=True)
    subprocess.run([*git, "commit", "-qm", "all"], cwd=copied_host, check=True)
    before = support.list_files(copied_host)
    link(copied_host)
    status = subprocess.run(
        [*git, "status", "--porcelain"], cwd=copied_host, check=True, capture_output=True
    )
    assert status.stdout == b""
    assert len(support.list_files(copied_host)) == len(before) + 3
    unlink(copied_host)
    # `git status` refreshes its index
    ignored = ("__pycache__", "index")
    after = support.list_files(copied_host, ignored)
    assert after == {path: digest for path, digest in before.items() if path != ".git/index"}


def check_commands(
    host: Path, reason: str, arguments: tuple[Path, Path, Path], **variables: str
) -> None:
    """Every kind of command works, and choosing the processor says why it does not."""
    source, target, output = arguments
    jobs = output.parent / "jobs"
    result = support.run_host(host, "headless-run", "--help", **variables)
    assert result.code == 0, result.output
    assert "--finetuned-swapper-model" in result.output
    result = support.run_host(host, "job-create", "one", "--jobs-path", jobs, **variables)
    assert result.code == 0, result.output
    result = support.run_host(host, "job-list", "drafted", "--jobs-path", jobs, **variables)
    assert result.code == 0, result.output
    swap_by_host(host, source, target, output, **variables)

    refused = output.with_name("refused.png")
    result = support.run_processor(
        host, "--finetuned-swapper-model", "jane", "-t", target, "-o", refused, **variables
    )
    assert result.code == 1
    assert "the processor finetuned_swapper is not available" in result.output
    assert reason in result.output
    assert not refused.exists()


def test_without_the_package_every_command_works(
    linked_host: Path, source_image: Path, target_image: Path, tmp_path: Path
) -> None:
    variables = support.create_startup_folder(tmp_path / "startup", support.BLOCKER)
    arguments = (source_image, target_image, tmp_path / "output.png")
    check_commands(linked_host, "is not installed in", arguments, **variables)


def test_without_the_package_the_tab_says_so(linked_host: Path, tmp_path: Path) -> None:
    variables = support.create_startup_folder(tmp_path / "startup", support.BLOCKER)
    pages, said = build_pages(
        linked_host, "--ui-layouts finetune default", "--ui-layouts finetune", **variables
    )
    for page in pages:
        assert "is not installed in" in page.find("finetune_reason")["value"]
        assert page.list_dangling() == []
    assert pages[0].find_label("FACE SWAPPER MODEL")
    assert "the tab finetune is not available" in said


@pytest.mark.parametrize("step", ["pre_check", "render", "listen"])
def test_a_tab_that_fails_half_way_leaves_the_others(
    linked_host: Path, tmp_path: Path, step: str
) -> None:
    code = FAILING_TAB.format(step=step)
    variables = support.create_startup_folder(tmp_path / "startup", code)
    (page,), said = build_pages(linked_host, "--ui-layouts finetune default", **variables)
    reason = page.find("finetune_reason")["value"]
    assert ("name 'pre_check' is not defined" if step == "pre_check" else "half way") in reason
    assert reason in said
    assert page.find_all("half") == []
    assert page.list_dangling() == []
    assert page.find_label("FACE SWAPPER MODEL")
    assert page.find("finetuned_swapper_model_dropdown")


def test_a_host_with_another_method_stays_whole(
    copied_host: Path, source_image: Path, target_image: Path, tmp_path: Path
) -> None:
    link(copied_host)
    support.register_model(copied_host, "jane")
    # a future host asks for a method its own processors have and ours does not know
    path = copied_host / "facefusion" / "processors" / "core.py"
    text, count = METHODS.subn(r"\1'resolve_future',", path.read_text("utf-8"))
    assert count == 1
    path.write_text(text, "utf-8")
    for module in (copied_host / "facefusion" / "processors" / "modules").glob("*/core.py"):
        if module.parent.name != "finetuned_swapper":
            with module.open("a") as file:
                file.write("\n\ndef resolve_future() -> None:\n\tpass\n")
    arguments = (source_image, target_image, tmp_path / "output.png")
    check_commands(copied_host, "it lacks resolve_future", arguments)


def test_a_host_that_renames_a_helper_stays_whole(
    copied_host: Path, source_image: Path, target_image: Path, tmp_path: Path
) -> None:
    link(copied_host)
    folder = copied_host / "facefusion"
    for path in folder.rglob("*.py"):
        text = path.read_text("utf-8")
        if "explode_pixel_boost" in text:
            path.write_text(text.replace("explode_pixel_boost", "merge_pixel_boost"), "utf-8")
    arguments = (source_image, target_image, tmp_path / "output.png")
    check_commands(copied_host, "cannot import name 'explode_pixel_boost'", arguments)


@pytest.mark.slow
def test_the_hosts_own_tests_pass_as_before(tmp_path: Path) -> None:
    """All that there are without the plug-in pass with it, none left out."""
    checkout = support.find_checkout()
    assert checkout is not None
    names = [f"tests/{name}.py" for name in OWN_TESTS if (checkout / f"tests/{name}.py").is_file()]
    assert names
    left_out = shutil.ignore_patterns(".git", ".assets", ".jobs", ".caches")
    before, after = (
        Path(shutil.copytree(checkout, tmp_path / name, ignore=left_out))
        for name in ("before", "after")
    )
    link(after)
    command = ("-m", "pytest", "-q", "-p", "no:cacheprovider", *names)
    listed = support.run_python(before, *command, "--collect-only")
    assert listed.code == 0, listed.output
    count = sum("::" in line for line in listed.output.splitlines())
    assert count > 0
    passed = support.run_python(after, *command)
    assert passed.code == 0, passed.output
    assert f"{count} passed in" in passed.output.splitlines()[-1]
