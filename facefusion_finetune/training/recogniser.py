"""The training recogniser in PyTorch, with gradients to its input."""

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from facefusion_finetune.swappers.catalogue import RecogniserOptions
from facefusion_finetune.swappers.convert.convert import convert_graph
from facefusion_finetune.swappers.files.modelfile import open_model
from facefusion_finetune.swappers.graphs.shapes import trace_graph

FEATURE_SCALES = (2, 4)
"""Features are read where the picture is this much smaller than the input: stages 1 and 2."""


class TorchRecogniser(nn.Module):
    """A frozen recogniser that embeds a swapper's crops through a differentiable warp."""

    def __init__(self, options: RecogniserOptions) -> None:
        super().__init__()
        self.options = options
        self.network = convert_graph(trace_graph(open_model(options.path)))
        self._has_stages = self._find_stages()

    def warp(self, crops: Tensor, matrices: Tensor) -> Tensor:
        """Swapper's crops to the recogniser's input.

        Args:
            crops: (n, 3, H, W), RGB, 0 to 1.
            matrices: (n, 2, 3), from crop pixels to recogniser pixels.

        Returns:
            (n, 3, h, w), normalised.
        """
        height, width = crops.shape[-2:]
        out_width, out_height = self.options.size
        inverse = _invert(matrices)
        # grid_sample counts from -1 to 1 between pixel centres when corners are aligned.
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
        """(n, 512) unit vectors of the swapper's crops; arguments as in `warp`."""
        return functional.normalize(self._run(self.warp(crops, matrices))[0], dim=1)

    def compute_features(self, crops: Tensor, matrices: Tensor) -> list[Tensor]:
        """Feature maps of the first stages, finest first; empty where the network has none."""
        return self._run(self.warp(crops, matrices))[1]

    def _run(self, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        made = self.network(inputs)
        output, *stages = made if self._has_stages else (made,)
        return output.reshape(len(inputs), -1), stages

    def _find_stages(self) -> bool:
        """Make the first stages outputs of the network; whether it has any."""
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
        if stages:
            output = next(node for node in network.graph.nodes if node.op == "output")
            output.args = ((output.args[0], *stages),)
            network.recompile()
        return bool(stages)


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
    """(n, 2, 3) affine matrices to their inverses."""
    linear = torch.linalg.inv(matrices[:, :, :2])
    return torch.cat([linear, -linear @ matrices[:, :, 2:]], dim=2)
