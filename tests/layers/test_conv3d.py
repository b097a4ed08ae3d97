import pytest
import torch
import torch.nn.functional as F

from refilm.layers.conv3d import Conv3d, conv3d, takes_slow_path

LAST = torch.channels_last_3d


@pytest.mark.parametrize(
    ("size", "kernel", "padding", "dilation"),
    [
        ((4, 9, 12), (3, 3, 3), (1, 1, 1), (1, 1, 1)),
        ((4, 8, 12), (3, 1, 1), (1, 0, 0), (1, 1, 1)),
        ((2, 7, 6), (1, 3, 3), (0, 2, 0), (1, 2, 1)),
        ((3, 1, 5), (3, 1, 3), (1, 0, 1), (1, 1, 1)),
        ((2, 6, 6), (1, 3, 3), (0, 3, 3), (1, 1, 1)),
    ],
)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, LAST])
@pytest.mark.parametrize("stride", [(1, 1, 1), (1, 2, 2)])
def test_same_numbers_and_gradients_as_torch(size, kernel, padding, dilation, memory_format, stride) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 5, *size).contiguous(memory_format=memory_format)
    weight, bias = torch.randn(7, 5, *kernel), torch.randn(7)
    inputs = [t.requires_grad_() for t in (x, weight, bias)]
    assert takes_slow_path(x, weight, 1)
    out = conv3d(*inputs, stride, padding, dilation)
    expected = F.conv3d(*inputs, stride, padding, dilation)
    assert out.is_contiguous(memory_format=memory_format)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
    grad = torch.randn_like(out)
    for name, found, wanted in zip(
        ("x", "weight", "bias"),
        torch.autograd.grad(out, inputs, grad),
        torch.autograd.grad(expected, inputs, grad),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("channels", [32, 128, 400])
def test_the_gradient_of_a_kernel_of_one_frame_is_finite_and_right_in_bfloat16(channels: int) -> None:
    torch.manual_seed(0)
    layer = Conv3d(32, channels, (1, 3, 3), padding=(0, 1, 1))
    clip = torch.randn(4, 32, 2, 32, 32)
    (wanted,) = torch.autograd.grad(layer(clip).square().mean(), layer.weight)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(clip)
    assert out.dtype == torch.bfloat16
    (found,) = torch.autograd.grad(out.float().square().mean(), layer.weight)
    torch.testing.assert_close(found, wanted, rtol=0.02, atol=0.02 * float(wanted.abs().max()))


def test_the_slow_path_is_where_we_think_it_is() -> None:
    def torch_takes(n: int, c: int, t: int, h: int) -> bool:
        x, weight = torch.zeros(n, c, t, h, 8), torch.zeros(4, c, 3, 3, 3)
        three = (1, 1, 1)
        backend = torch._C._select_conv_backend(x, weight, None, three, three, three, False, (0, 0, 0), 1)
        assert takes_slow_path(x, weight, 1) == (backend == torch._C._ConvBackend.Slow3d), (n, c, t, h)
        return takes_slow_path(x, weight, 1)

    assert torch_takes(1, 64, 4, 64)
    assert torch_takes(1, 64, 4, 80)
    assert not torch_takes(1, 64, 4, 81)
    assert not torch_takes(2, 64, 4, 64)


def test_a_layer_compiles_whole() -> None:
    layer = Conv3d(4, 6, 3, padding=1)
    x = torch.randn(1, 4, 2, 6, 6)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True)(x), layer(x))
