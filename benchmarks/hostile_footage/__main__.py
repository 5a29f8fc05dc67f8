"""Whether files made to do harm are answered: in time, in bounded memory, touching nothing else.

    python -m benchmarks.hostile_footage [--only WORDS] [--keep FOLDER]

Makes the files of `MAKERS`, the same in every run, and lets a process of its own read each as
`extract` does: found, its content checked, planned, decoded. A file passes if it is used or refused
with a sentence in `MOST_SECONDS` of processor time, no process takes more than `MOST_MEMORY`, none
is left behind, none is started but decoders, and no file is opened but the given one. What is
opened and started is seen with strace; without it, opened files are not watched.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.hostile_footage import pictures, videos
from benchmarks.hostile_footage.files import SECRET, SECRET_VIDEO, SECRETS, Maker
from facefusion_finetune.dataset.footage.sources import list_sources, plan_source, read_frames
from facefusion_finetune.errors import FinetuneError
from facefusion_finetune.faces.content import is_video_blocked

MOST_SECONDS = 30.0
"""Processor time of all processes that take part; on a machine that does nothing else, no more time
passes than that."""

MOST_WAIT = 200.0
"""Seconds after which reading hangs, on however busy a machine."""

MOST_MEMORY = 1 << 30
"""Bytes of resident memory of one process."""

PROGRAMS = ("ffmpeg", "ffprobe")
"""Programs that may be started, besides Python."""


@dataclass
class Finding:
    """What became of one file."""

    name: str
    answer: str
    seconds: float
    """Of processor time."""
    elapsed: float
    """Seconds until the answer."""
    memory: int
    """Bytes of the largest process."""
    faults: list[str] = field(default_factory=list)


MAKERS: Sequence[Maker] = (
    pictures.make_strangers,
    pictures.make_polyglots,
    pictures.make_bombs,
    pictures.make_broken,
    pictures.make_odd_files,
    videos.make_playlists,
    videos.make_video_bombs,
    videos.make_broken_videos,
    videos.make_odd_videos,
)
"""Each makes one kind of files."""


def read(path: Path) -> str:
    """Read a file as `extract` does; a sentence about what became of it."""
    notes: list[str] = []
    count = 0
    try:
        for source in list_sources([path], notes.append):
            source.digest()
            if source.kind == "video":
                is_video_blocked(source.path, lambda frame: False)
            layout = plan_source(source)
            count += sum(1 for _ in read_frames(source, layout=layout))
            notes += [layout.damage] if layout is not None and layout.damage else []
    except FinetuneError as error:
        return f"refused: {error.why} {error.todo}"
    return f"{count} frames. {' '.join(notes)}"


def examine(path: Path, folder: Path) -> Finding:
    """What becomes of a file, with all faults."""
    is_traced = shutil.which("strace") is not None
    finding = watch(path, folder, is_traced)
    if is_traced and max(finding.seconds, finding.elapsed) > MOST_SECONDS:
        # Tracing doubles the time of what makes many calls.
        untraced = watch(path, folder, is_traced=False)
        finding.seconds, finding.elapsed = untraced.seconds, untraced.elapsed
        finding.faults += untraced.faults
    if finding.seconds > MOST_SECONDS:
        finding.faults.append(f"more than {MOST_SECONDS:.0f} s")
    return finding


def watch(path: Path, folder: Path, is_traced: bool) -> Finding:
    """Let another process read a file, and look at what it does."""
    trace = folder / "trace"
    command = [sys.executable, "-m", "benchmarks.hostile_footage", "--read", str(path)]
    calls = "trace=open,openat,execve,unlink,unlinkat,rename,renameat,connect"
    if is_traced:
        options = ["-f", "--seccomp-bpf", "-qq", "-s", "4096", "-e", calls, "-o", str(trace)]
        command = ["strace", *options, *command]
    start, memory = time.monotonic(), 0
    known: dict[int, psutil.Process] = {}
    spent: dict[int, float] = {}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        while process.poll() is None and time.monotonic() - start < MOST_WAIT:
            try:
                first = psutil.Process(process.pid)
                for child in [*([] if is_traced else [first]), *first.children(recursive=True)]:
                    known[child.pid] = child
                    memory = max(memory, child.memory_info().rss)
                    times = child.cpu_times()
                    spent[child.pid] = times.user + times.system
            except psutil.Error:
                pass
            time.sleep(0.02)
        is_late = process.poll() is None
        elapsed = time.monotonic() - start
        _, left = psutil.wait_procs(known.values(), timeout=0 if is_late else 3)
        for child in left:
            child.kill()
        process.kill()
        process.wait()
        output.seek(0)
        answer = output.read().strip()
    finding = Finding(path.name, answer, sum(spent.values()), elapsed, memory)
    if is_late:
        finding.faults.append("hangs")
    elif left:
        finding.faults.append(f"{len(left)} processes left behind")
    if process.returncode or not re.match(r"refused: \S|\d+ frames", answer) or "\n" in answer:
        finding.faults += [] if is_late else ["no sentence"]
    if memory > MOST_MEMORY:
        finding.faults.append(f"{memory >> 20} MB of memory")
    if trace.exists():
        finding.faults += find_trespasses(trace.read_text("utf-8", "replace"), path)
        trace.unlink()
    return finding


def find_trespasses(trace: str, path: Path) -> list[str]:
    """What strace has seen that no reading of a picture needs.

    Args:
        trace: strace's output.
        path: The file that was given.
    """
    faults = set()
    given = {str(path), os.path.realpath(path)}
    for line in trace.splitlines():
        match = re.search(r'\b(\w+)\([^"]*"([^"]*)"(.*)\) = (\S+)', line)
        if match is None or match[4].startswith("-1") or match[4] == "?":
            if "connect(" in line and "AF_UNIX" not in line:
                faults.add("a connection")
            continue
        call, name, rest = match[1], match[2], match[3]
        if call == "execve":
            if Path(name).name not in PROGRAMS and not Path(name).name.startswith("python"):
                faults.add(f"started {name}")
        elif call.startswith(("unlink", "rename")) or "O_CREAT" in rest:
            is_ours = name.startswith((tempfile.gettempdir(), "/dev/"))
            if not is_ours or Path(name).name in SECRETS:
                faults.add(f"changed {name}")
        elif "O_DIRECTORY" not in rest and name not in given:
            outside = Path(name)
            if outside.is_relative_to(path.parent) or outside.name in SECRETS:
                faults.add(f"opened {name}")
    return sorted(faults)


def main() -> None:
    """Print the table; exit code 1 if a file did not pass."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--read", type=Path, help="read one file, in this process")
    parser.add_argument("--only", default="", help="make only files whose names contain this")
    parser.add_argument("--keep", type=Path, help="make the files here, and keep them")
    arguments = parser.parse_args()
    if arguments.read:
        print(read(arguments.read))
        return
    findings = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary, "footage")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SECRET).write_bytes(pictures.encode("PNG"))
        videos.write_video(folder / SECRET_VIDEO)
        secrets = {folder / name: (folder / name).read_bytes() for name in SECRETS}
        if not shutil.which("strace"):
            print("strace is not installed: opened files are not watched.")
        for maker in MAKERS:
            for name, make in maker(folder):
                if arguments.only not in name:
                    continue
                path = folder / name
                if not os.path.lexists(path):
                    make(path)
                finding = examine(path, Path(temporary))
                for secret, content in secrets.items():
                    if not secret.is_file() or secret.read_bytes() != content:
                        finding.faults.append(f"{secret.name} was changed")
                        secret.write_bytes(content)
                findings.append(finding)
                _print(finding)
    faulty = [finding for finding in findings if finding.faults]
    print(
        f"{len(findings)} files, {len(faulty)} with faults;"
        f" longest {max((f.seconds for f in findings), default=0):.1f} s of computing,"
        f" {max((f.elapsed for f in findings), default=0):.1f} s in all,"
        f" largest {max((f.memory for f in findings), default=0) >> 20} MB"
    )
    sys.exit(1 if faulty else 0)


def _print(finding: Finding) -> None:
    result = "; ".join(finding.faults).upper() or "ok"
    figures = f"{finding.seconds:5.1f} {finding.elapsed:5.1f} s {finding.memory >> 20:5d} MB"
    print(f"{finding.name:28} {figures}  {result:12} {finding.answer[:110]}", flush=True)


if __name__ == "__main__":
    main()
