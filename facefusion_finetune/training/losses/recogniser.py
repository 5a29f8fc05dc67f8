"""The training recogniser in PyTorch, differentiable with respect to its input."""

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from facefusion_finetune.swappers.catalogue import RecogniserOptions
from facefusion_finetune.swappers.convert.convert import BatchedNetwork, convert_graph
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.graphs.shapes import trace_graph

FEATURE_SCALES = (2, 4)
"""Downsampling factors at which features are taken: stages 1 and 2."""


class TorchRecogniser(nn.Module):
    """A frozen recogniser that embeds the swapper's crops through a differentiable warp.

    Under autocast, the network runs in reduced precision; warp and embeddings stay in float32.
    """

    def __init__(self, options: RecogniserOptions) -> None:
        super().__init__()
        self.options = options
        self.network = convert_graph(trace_graph(open_model(options.path)))
        self._early = self._truncate()
        """The same network truncated after the first stages; None if it has none."""

    def warp(self, crops: Tensor, matrices: Tensor) -> Tensor:
        """Warp the swapper's crops to the recogniser's input.

        Args:
            crops: (n, 3, H, W), RGB, 0 to 1.
            matrices: (n, 2, 3), from crop pixels to recogniser pixels.

        Returns:
            (n, 3, h, w), normalised.
        """
        with torch.autocast(crops.device.type, enabled=False):
            return self._warp(crops.float(), matrices)

    def _warp(self, crops: Tensor, matrices: Tensor) -> Tensor:
        height, width = crops.shape[-2:]
        out_width, out_height = self.options.size
        inverse = _invert(matrices)
        # With align_corners, grid_sample's coordinates -1 and 1 are the outer pixels' centres.
        scale_in = crops.new_tensor([(width - 1) / 2, (height - 1) / 2])
        scale_out = crops.new_tensor([(out_width - 1) / 2, (out_height - 1) / 2])
        linear = inverse[:, :, :2] * scale_out[None, None] / scale_in[None, :, None]
        shift = inverse[:, :, :2] @ scale_out + inverse[:, :, 2]
        theta = torch.cat([linear, (shift / scale_in - 1)[:, :, None]], dim=2)
        grid = functional.affine_grid(
            theta, [len(crops), 3, out_height, out_width], align_corners=True
        )
        warped = functional.grid_sample(
            crops, grid, mode="bilinear", padding_mode="border", align_corners=True
        )
        return (warped * 255 - self.options.mean) / self.options.standard_deviation

    def forward(self, crops: Tensor, matrices: Tensor) -> Tensor:
        """(n, 512) normalised embeddings of the swapper's crops; arguments as in `warp`."""
        vectors = self.network(self.warp(crops, matrices)).reshape(len(crops), -1)
        return functional.normalize(vectors.float(), dim=1)

    def compute_features(self, crops: Tensor, matrices: Tensor) -> list[Tensor]:
        """Feature maps of the first stages, finest first; empty if the network has none."""
        if self._early is None:
            return []
        return list(self._early(self.warp(crops, matrices)))

    def _truncate(self) -> BatchedNetwork | None:
        network = self.network.network
        assert isinstance(network, fx.GraphModule)
        width, height = self.options.size
        recorder = _ShapeRecorder(network)
        with torch.no_grad():
            recorder.run(torch.zeros(1, 3, height, width))
        stages: list[fx.Node] = []
        for scale in FEATURE_SCALES:
            at_scale = [
                node
                for node, shape in recorder.shapes.items()
                if len(shape) == 4 and shape[1] > 3 and shape[2] == height // scale
            ]
            stages += at_scale[-1:]
        if not stages:
            return None
        # The modules are shared; the layers after the stages are removed.
        graph = fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        graph.graph_copy(network.graph, copies)
        graph.output(tuple(copies[stage] for stage in stages))
        early = fx.GraphModule(network, graph)
        early.graph.eliminate_dead_code()
        early.delete_all_unused_submodules()
        early.recompile()
        return BatchedNetwork(early.eval(), self.network.batchable)


class _ShapeRecorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if isinstance(result, Tensor) and n.op == "call_module":
            self.shapes[n] = tuple(result.shape)
        return result


def _invert(matrices: Tensor) -> Tensor:
    """(n, 2, 3) affine matrices to their inverses, without a device synchronisation."""
    (a, b, _), (c, d, _) = (row.unbind(dim=1) for row in matrices.unbind(dim=1))
    adjugate = torch.stack([d, -b, -c, a], dim=1).view(-1, 2, 2)
    linear = adjugate / (a * d - b * c).view(-1, 1, 1)
    return torch.cat([linear, -linear @ matrices[:, :, 2:]], dim=2)
