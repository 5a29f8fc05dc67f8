"""A stand-in for an insightface model pack, made of the networks of a furnished FaceFusion.

The bench has no real pack. Its detector and landmarker are wrapped so that insightface's own
classes load and feed them: then insightface and FaceFusion look at a frame with the same networks,
each by its own way of preparing it, and what differs is the way alone.
"""

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import numpy
import onnx
from numpy.typing import NDArray

from facefusion_finetune.host.locate import BENCH_MARKER
from tests.support.host import find_bench

STRIDES = (8, 16, 32)
INPUT = 192
"""Side of what insightface shows a landmarker, whose face's box is 1 / 1.5 of it."""
HOST_INPUT = 256
"""Side of what FaceFusion shows its 2dfan4, whose face's box is `HOST_BOX` of it."""
HOST_BOX = 195


def write_pack(models: Path, folder: Path) -> Path:
    """Write the three files of a pack that are needed.

    Args:
        models: `.assets/models` of a furnished FaceFusion.
        folder: To be made.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True)
    (folder / BENCH_MARKER).write_text("Stand-ins, for tests only.\n")
    onnx.save(_wrap_detector(models / "yunet_2023_mar.onnx"), folder / "det_10g.onnx")
    onnx.save(_wrap_landmarker(models / "2dfan4.onnx"), folder / "1k3d68.onnx")
    shutil.copyfile(models / "arcface_w600k_r50.onnx", folder / "w600k_r50.onnx")
    return folder


def _wrap_detector(path: Path) -> onnx.ModelProto:
    """YuNet by SCRFD's contract: two anchors a cell, edges as distances from it, in strides."""
    graph = _load_writer().Graph("yunet_as_scrfd")
    image = graph.input("input.1", 1, 3, 640, 640)
    image = graph.calc("Add", graph.calc("Mul", image, 128.0), 127.5)
    image = graph.add("Gather", image, graph.const([2, 1, 0]), axis=1)
    graph.inline(onnx.load(path), "yunet_", image)
    kinds: dict[str, list[str]] = {"score": [], "bbox": [], "kps": []}
    for stride in STRIDES:
        cells = (640 // stride) ** 2
        found = {kind: f"yunet_{kind}_{stride}" for kind in ("cls", "obj", "bbox", "kps")}
        score = graph.add("Mul", found["cls"], found["obj"])
        middle = graph.cut(found["bbox"], 2, 0, 2)
        half = graph.calc("Mul", graph.add("Exp", graph.cut(found["bbox"], 2, 2, 4)), 0.5)
        edges = [graph.add("Sub", half, middle), graph.add("Add", half, middle)]
        rows = {
            "score": (score, 1),
            "bbox": (graph.add("Concat", *edges, axis=2), 4),
            "kps": (found["kps"], 10),
        }
        for kind, (values, width) in rows.items():
            # the second anchor of each cell never finds anything
            nothing = graph.calc("Mul", values, 0.0)
            both = graph.add("Concat", values, nothing, axis=2)
            kinds[kind].append(graph.reshape(both, 2 * cells, width, out=f"{kind}_{stride}"))
    for kind, width in (("score", 1), ("bbox", 4), ("kps", 10)):
        for name, stride in zip(kinds[kind], STRIDES, strict=True):
            graph.output(name, 2 * (640 // stride) ** 2, width)
    return graph.model()


def _wrap_landmarker(path: Path) -> onnx.ModelProto:
    """The furnished 2dfan4 by 1k3d68's contract: 1103 points in space, the last 68 of which count.

    What insightface shows is resampled to what FaceFusion would show.
    """
    graph = _load_writer().Graph("2dfan4_as_1k3d68")
    image = graph.input("data", 1, 3, INPUT, INPUT)
    image = graph.add("Gather", image, graph.const([2, 1, 0]), axis=1)
    resample = _create_resampler()
    image = graph.add("MatMul", graph.const(resample), image)
    image = graph.calc("MatMul", image, resample.T)
    image = graph.calc("Add", graph.calc("Mul", image, 128 / 255), 0.5)
    image = graph.add("Clip", image, graph.const(0.0), graph.const(1.0))
    points = graph.inline(onnx.load(path), "fan_", image)
    points = graph.cut(points, 2, 0, 2)
    scale = HOST_INPUT / 64 * _boxes_ratio() / (INPUT / 2)
    points = graph.calc("Mul", graph.calc("Add", points, -32.0), scale)
    points = graph.add("Pad", points, graph.const([0, 1103 - 68, 0, 0, 0, 1]))
    graph.reshape(points, 1, 3309, out="fc1")
    graph.output("fc1", 1, 3309)
    return graph.model()


def _boxes_ratio() -> float:
    """Pixels of insightface's view for one of FaceFusion's."""
    return INPUT / 1.5 / HOST_BOX


def _create_resampler() -> NDArray[numpy.float64]:
    """(256, 192): cubic interpolation of a row, Catmull-Rom; edges are repeated."""
    places = INPUT / 2 + _boxes_ratio() * (numpy.arange(HOST_INPUT) - HOST_INPUT / 2)
    weights = numpy.zeros((HOST_INPUT, INPUT))
    for row, place in enumerate(places):
        start = int(numpy.floor(place))
        for column in range(start - 1, start + 3):
            distance = abs(place - column)
            weight = (
                1.5 * distance**3 - 2.5 * distance**2 + 1
                if distance < 1
                else -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
            )
            weights[row, min(max(column, 0), INPUT - 1)] += weight
    return weights


def _load_writer() -> ModuleType:
    """The bench's writer of ONNX graphs."""
    bench = find_bench()
    assert bench is not None
    specification = importlib.util.spec_from_file_location("bench_graph", bench / "graph.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
