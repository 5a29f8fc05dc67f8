"""The context shared by the steps of a run's training and evaluation."""

from dataclasses import dataclass, field

from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.runs.crops import RunCrops
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.graphs.graph import SwapperGraph


@dataclass(frozen=True)
class RunContext:
    """A run with its base, crops and analyser."""

    run: Run
    analyser: FaceAnalyser
    """Aligns, masks and pastes back, the same way as at inference."""
    options: SwapperOptions
    """The base's options."""
    graph: SwapperGraph
    """The base's graph, as in its file."""
    crops: RunCrops
    observer: Observer = field(default_factory=Observer)
    """Receives the progress."""
