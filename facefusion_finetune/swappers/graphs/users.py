"""Who takes a weight, however many rearrangements lie between."""

from facefusion_finetune.swappers.graphs.shapes import Trace


class Users:
    """Which nodes at work on the pictures an initializer gets to."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._found: dict[str, list[int]] = {}

    def find(self, root: str) -> list[int]:
        """Their numbers, once for each, in order."""
        if root not in self._found:
            self._found[root] = self._walk(root)
        return self._found[root]

    def _walk(self, root: str) -> list[int]:
        nodes = self._trace.file.skeleton.graph.node
        found: set[int] = set()
        seen = {root}
        pending = [root]
        while pending:
            for index in self._trace.users.get(pending.pop(), []):
                if index in self._trace.nodes:
                    found.add(index)
                    continue
                made = [name for name in nodes[index].output if name not in seen]
                seen.update(made)
                pending.extend(made)
        return sorted(found)
