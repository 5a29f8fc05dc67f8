"""The training recogniser in PyTorch, with gradients to its input."""

import numpy
import onnx
import torch
from google.protobuf.message import DecodeError
from torch import Tensor, fx, nn
from torch.nn import functional

from facefusion_finetune.errors import SwapperError
from facefusion_finetune.swappers.catalogue import RecogniserOptions
from facefusion_finetune.swappers.convert import convert_model

FEATURE_SCALES = (2, 4)
"""Features are read where the picture is this much smaller than the input: stages 1 and 2."""


class TorchRecogniser(nn.Module):
    """A frozen recogniser that embeds a swapper's crops through a differentiable warp."""

    def __init__(self, options: RecogniserOptions) -> None:
        super().__init__()
        self.options = options
        try:
            model = onnx.load(str(options.path))
        except (OSError, DecodeError) as error:
            raise SwapperError(
                str(options.path), f"the recogniser cannot be read ({error}).", "Get it again."
            ) from error
        self.network = convert_model(model, options.name)
        self._stages: list[fx.Node] = []
        self._batched = False
        self._inspect()

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
        if self._batched:
            return self._run_once(inputs)
        # Many files have batch 1 baked into a Reshape.
        rows = [self._run_once(inputs[index : index + 1]) for index in range(len(inputs))]
        stages = [torch.cat(maps) for maps in zip(*(row[1] for row in rows), strict=True)]
        return torch.cat([row[0] for row in rows]), stages

    def _run_once(self, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        if not self._stages:
            return self.network(inputs).reshape(len(inputs), -1), []
        output, *stages = self.network(inputs)
        return output.reshape(len(inputs), -1), stages

    def _inspect(self) -> None:
        """Record one run: find the stages, make them outputs, try a batch of two."""
        assert isinstance(self.network, fx.GraphModule)
        width, height = self.options.size
        noise = torch.from_numpy(
            numpy.random.default_rng(0).uniform(-1, 1, (2, 3, height, width)).astype(numpy.float32)
        )
        recorder = _ShapeRecorder(self.network)
        with torch.no_grad():
            recorder.run(noise[:1])
            for scale in FEATURE_SCALES:
                at_scale = [
                    node
                    for node, shape in recorder.shapes.items()
                    if len(shape) == 4 and shape[1] > 3 and shape[2] == height // scale
                ]
                self._stages += at_scale[-1:]
            output = next(node for node in self.network.graph.nodes if node.op == "output")
            if self._stages:
                output.args = ((output.args[0], *self._stages),)
                self.network.recompile()
            try:
                together = self._run_once(noise)[0]
                alone = torch.cat([self._run_once(noise[:1])[0], self._run_once(noise[1:])[0]])
            except RuntimeError:
                return
            self._batched = together.shape == alone.shape and torch.allclose(
                together, alone, atol=1e-4 * float(alone.abs().max())
            )


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
