"""What networks see: VGG19's features where its weights are at hand, else the recogniser's."""

from pathlib import Path

import pytest
import safetensors.torch
import torch
from torchvision.models import vgg as published

from facefusion_finetune import home
from facefusion_finetune.demo.analyser import DemoAnalyser
from facefusion_finetune.errors import TrainingError
from facefusion_finetune.training.losses import perceptual
from facefusion_finetune.training.losses.perceptual import (
    VGG_FILE,
    VGG_VARIABLE,
    RecogniserPerceptual,
    VggFeatures,
    VggPerceptual,
    compare_stages,
    compute_gradient_loss,
    find_vgg_weights,
)
from facefusion_finetune.training.losses.recogniser import TorchRecogniser
from facefusion_finetune.training.losses.swap_loss import create_loss
from tests.support.loss_batches import CENTROID, create_batch, create_preset, draw_pictures

WHOLE = torch.eye(3)[:2].expand(2, 2, 3)


@pytest.fixture(scope="module")
def original() -> torch.nn.Sequential:
    """The first convolutions as torchvision builds them, and some of its fifth block."""
    torch.manual_seed(0)
    layers: torch.nn.Sequential = published.make_layers(published.cfgs["E"][:12])
    for parameter in layers.parameters():
        if parameter.ndim > 1:
            torch.nn.init.kaiming_normal_(parameter)
    return layers.eval()


@pytest.fixture(scope="module")
def weights(original: torch.nn.Sequential) -> dict[str, torch.Tensor]:
    """A state dict with torchvision's names, and layers that nobody needs."""
    values = {f"features.{name}": tensor for name, tensor in original.state_dict().items()}
    return values | {"classifier.6.bias": torch.zeros(1000)}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch, and no variable."""
    monkeypatch.delenv(VGG_VARIABLE, raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def weights_file(tmp_path: Path, weights: dict[str, torch.Tensor]) -> Path:
    path = tmp_path / "vgg19.safetensors"
    safetensors.torch.save_file(weights, path)
    return path


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_features_equal_those_of_torchvision(
    suffix: str,
    tmp_path: Path,
    original: torch.nn.Sequential,
    weights: dict[str, torch.Tensor],
) -> None:
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save(weights, path)
    else:
        safetensors.torch.save_file(weights, path)
    pictures = draw_pictures(2, size=(48, 32))
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    normalised = (pictures - mean) / deviation
    features = VggFeatures(path)(pictures)
    assert [feature.shape[1] for feature in features] == [64, 128, 256]
    # The published names say where the second, fourth and eighth convolution are rectified.
    for feature, end in zip(features, (4, 9, 18), strict=True):
        torch.testing.assert_close(feature, original[:end](normalised))


def test_where_weights_are_looked_for(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_vgg_weights() is None
    (cache / VGG_FILE).touch()
    assert find_vgg_weights() == cache / VGG_FILE
    folder = home.home_directory() / "weights"
    folder.mkdir(parents=True)
    (folder / "alexnet.pth").touch()
    assert find_vgg_weights() == cache / VGG_FILE
    (folder / VGG_FILE).touch()
    assert find_vgg_weights() == folder / VGG_FILE
    (folder / "vgg19.safetensors").touch()
    assert find_vgg_weights() == folder / "vgg19.safetensors"
    monkeypatch.setenv(VGG_VARIABLE, str(tmp_path / "mine.pth"))
    assert find_vgg_weights() == tmp_path / "mine.pth"


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("somebody's code was run",)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_that_are_none(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    with pytest.raises(TrainingError, match="file not found"):
        VggFeatures(path)
    for content in (b"", b"a page that says: not found", bytes(4096)):
        path.write_bytes(content)
        with pytest.raises(TrainingError, match="they cannot be read"):
            VggFeatures(path)


def test_no_code_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "w.pth"
    torch.save({"features.0.weight": _Evil()}, path)
    with pytest.raises(TrainingError, match="they cannot be read"):
        VggFeatures(path)
    assert capsys.readouterr().out == ""


def test_weights_of_something_else(tmp_path: Path, weights: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "w.pth"
    lacking = {name: tensor for name, tensor in weights.items() if "16" not in name}
    narrow = weights | {"features.2.weight": torch.zeros(8, 8, 3, 3)}
    broken = weights | {"features.5.bias": torch.full((128,), float("nan"))}
    for wrong, name in ((lacking, "16.weight"), (narrow, "2.weight"), ([1], "0.weight")):
        torch.save(wrong, path)
        with pytest.raises(TrainingError, match=f"not a VGG19's: features.{name}"):
            VggFeatures(path)
    torch.save(broken, path)
    with pytest.raises(TrainingError, match=r"features\.5\.bias has NaN or infinite values"):
        VggFeatures(path)


def test_by_vgg_the_face_weighs_more(weights_file: Path) -> None:
    measure = VggPerceptual(VggFeatures(weights_file))
    truth = draw_pictures(1)
    truth = torch.cat([truth, truth])
    output = truth.clone().requires_grad_(True)
    pixels = torch.full((2, 1, 64, 64), 1.4)
    pixels[1] = 0.4
    assert measure(truth, truth, WHOLE, pixels).tolist() == [0, 0]
    inside, outside = measure(output + 0.1, truth, WHOLE, pixels)
    assert inside.item() / outside.item() == pytest.approx(3.5, rel=1e-4)
    (gradient,) = torch.autograd.grad(inside, output)
    assert float(gradient[0].abs().max()) > 0


def test_vgg_is_taken_before_the_recogniser(
    analyser: DemoAnalyser, weights_file: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = create_batch("cycle", "cross", "prior")
    preset, vector = create_preset(perceptual=1.0), CENTROID.numpy()

    def measure() -> torch.Tensor:
        loss = create_loss(preset, analyser.get_recogniser(), vector, 1.0, "cpu")
        return loss(batch.target, batch)[0]

    fallback = measure()
    monkeypatch.setenv(VGG_VARIABLE, str(weights_file))
    seen = measure()
    expected = VggPerceptual(perceptual.VggFeatures(weights_file))(
        batch.target, batch.truth, batch.matrix, torch.full((3, 1, 64, 64), 1.4)
    )
    torch.testing.assert_close(seen[[0, 2]], expected[[0, 2]])
    assert fallback[1] == seen[1] == 0
    assert not torch.allclose(seen[[0, 2]], fallback[[0, 2]], rtol=0.01)


def test_by_the_recogniser(analyser: DemoAnalyser) -> None:
    recogniser = TorchRecogniser(analyser.get_recogniser())
    measure = RecogniserPerceptual(recogniser)
    truth, output = draw_pictures(2), draw_pictures(2, seed=1)
    pixels = torch.ones(2, 1, 64, 64)
    assert measure(truth, truth, WHOLE, pixels).tolist() == [0, 0]
    seen = compare_stages(
        recogniser.compute_features(output, WHOLE), recogniser.compute_features(truth, WHOLE)
    )
    expected = seen + compute_gradient_loss(output, truth)
    torch.testing.assert_close(measure(output, truth, WHOLE, pixels), expected)
    assert bool((seen > 0).all())


def test_stages_are_compared_relative_to_the_truth() -> None:
    made = [torch.tensor([[[[2.0, 0.0]]], [[[8.0, 8.0]]]]), torch.full((2, 4, 1, 1), 3.0)]
    real = [torch.tensor([[[[4.0, 0.0]]], [[[8.0, 8.0]]]]), torch.full((2, 4, 1, 1), 2.0)]
    assert compare_stages(made, real).tolist() == pytest.approx([0.5 + 0.5, 0.5])
    pixels = torch.tensor([1.0, 1.0, 0.5, 0.5]).expand(2, 1, 2, 4)
    # The first stage differs only where pixels weigh 1, the second is seen by all of them.
    assert compare_stages(made, real, pixels).tolist() == pytest.approx([0.5 + 0.375, 0.375])


def test_gradients_are_compared_at_three_scales() -> None:
    flat = torch.full((2, 3, 32, 32), 0.4)
    assert compute_gradient_loss(flat + 0.2, flat).tolist() == pytest.approx([0, 0], abs=1e-6)
    ramp = torch.linspace(0, 31, 32).expand(2, 3, 32, 32) / 100
    # A step of 0.01 a pixel is one of 0.02 and 0.04 between means of 2 and 4 of them.
    assert compute_gradient_loss(flat + ramp, flat).tolist() == pytest.approx([0.07, 0.07])
    turned = flat + ramp.transpose(2, 3)
    assert compute_gradient_loss(turned, flat).tolist() == pytest.approx([0.07, 0.07])
