"""Whether a graph written for one sample also works on a batch."""

from onnx import NodeProto

from facefusion_finetune.swappers.graphs.rows import ANY_RANK, keeps_rows
from facefusion_finetune.swappers.graphs.shapes import Trace

BROADCASTING = frozenset({"Add", "Div", "Max", "Min", "Mul", "PRelu", "Pow", "Sub", "Where"})


def is_batchable(trace: Trace) -> bool:
    """Whether every node keeps the batch as its first axis; False if in doubt."""
    return all(_keeps_batch(trace, node) for node in trace.nodes.values())


def _keeps_batch(trace: Trace, node: NodeProto) -> bool:
    names = [name for name in node.input if name and not trace.is_constant(name)]
    constants = [name for name in node.input if name and trace.is_constant(name)]
    shapes = [trace.values[name].shape for name in [*names, *filter(None, node.output)]]
    if any(shape[:1] != (1,) for shape in shapes) or not keeps_rows(trace, node):
        return False
    if node.op_type not in ANY_RANK:
        return True
    # A tensor with fewer axes would be broadcast along axes other than the batch.
    rank = len(shapes[0])
    same = all(len(shape) == rank for shape in shapes[: len(names)])
    return same and all(
        len(trace.values[name].shape) < rank or trace.values[name].shape[:1] == (1,)
        for name in constants
        if node.op_type in BROADCASTING
    )
