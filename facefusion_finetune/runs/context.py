"""What travels together through a run, while it trains and while it is judged."""

from dataclasses import dataclass, field

from facefusion_finetune.faces.protocol import FaceAnalyser
from facefusion_finetune.runs.crops import RunCrops
from facefusion_finetune.runs.observer import Observer
from facefusion_finetune.runs.run import Run
from facefusion_finetune.swappers.catalogue import SwapperOptions
from facefusion_finetune.swappers.graphs.graph import SwapperGraph


@dataclass(frozen=True)
class RunContext:
    """A run with what it works on."""

    run: Run
    analyser: FaceAnalyser
    """Aligns, masks and pastes, as whoever will swap does."""
    options: SwapperOptions
    """Of the base."""
    graph: SwapperGraph
    """Of the base, as it is in its file."""
    crops: RunCrops
    observer: Observer = field(default_factory=Observer)
    """Told about the progress."""
