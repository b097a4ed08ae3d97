import pytest
import torch
from tolerance import TOLERANCE
from torch import nn

from refilm.layers.ls3d import LS3DConv


@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (3, 1, 1), "padding": (1, 0, 0), "bias": False},
        {"kernel_size": 3, "padding": 1, "stride": (1, 2, 2), "groups": 2},
        {"kernel_size": 5, "padding": 0},
        {"kernel_size": (1, 3, 3), "padding": (0, 2, 2), "dilation": (1, 2, 2)},
    ],
)
def test_from_conv3d_starts_as_the_convolution_at_95_percent(arguments: dict) -> None:
    torch.manual_seed(0)
    conv = nn.Conv3d(4, 6, **arguments)
    x = torch.randn(2, 4, 6, 9, 8)
    bias = 0 if conv.bias is None else conv.bias.view(-1, 1, 1, 1)
    expected = (conv(x) - bias) * 0.95 + bias
    torch.testing.assert_close(LS3DConv.from_conv3d(conv)(x), expected, **TOLERANCE[torch.float32])


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    layer = LS3DConv(4, 4, 3, padding=1)
    layer(torch.randn(1, 4, 3, 6, 6)).square().mean().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_even_kernels_are_refused() -> None:
    with pytest.raises(ValueError, match="kernel_size must be odd"):
        LS3DConv(4, 4, (3, 2, 2))


def test_from_conv3d_refuses_other_padding() -> None:
    with pytest.raises(ValueError, match="padded with zeros by numbers"):
        LS3DConv.from_conv3d(nn.Conv3d(4, 4, 3, padding="same"))


@pytest.mark.parametrize("sampling_kernel", [(1, 1, 1), (3, 1, 1), (5, 3, 3)])
def test_the_predictor_may_have_another_size(sampling_kernel: tuple[int, int, int]) -> None:
    conv = nn.Conv3d(3, 4, (3, 1, 1), (1, 2, 2), (1, 0, 0))
    layer, x = LS3DConv.from_conv3d(conv, sampling_kernel=sampling_kernel), torch.rand(1, 3, 4, 7, 6)
    assert layer.sampling.kernel_size == sampling_kernel
    offset, importance = layer.predict(x)
    assert offset.shape[2:] == importance.shape[2:] == conv(x).shape[2:]
    bias = conv.bias.view(1, -1, 1, 1, 1)
    torch.testing.assert_close(layer(x) - bias, 0.95 * (conv(x) - bias))


def test_an_even_predictor_is_refused() -> None:
    with pytest.raises(ValueError, match="sampling_kernel must be odd"):
        LS3DConv(3, 4, 3, sampling_kernel=(2, 1, 1))
