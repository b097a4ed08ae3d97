import pytest
import torch
from torch import nn

from refilm.errors import WeightsError
from refilm.layers.entropy_models import SCALES
from refilm.layers.hyperprior import ACTIVATION_BITS, WEIGHT_BITS, Hyperprior


@pytest.fixture
def hyperprior():
    torch.manual_seed(0)
    return Hyperprior(6, 4).eval()


def by_python(hyperprior, z, height, width):
    """`indices` in Python's whole numbers, which never round: each output is a sum over its inputs and taps."""
    x = (z.long() << ACTIVATION_BITS).tolist()
    layers = [layer for layer in hyperprior.h_s if isinstance(layer, nn.ConvTranspose2d)]
    for number, layer in enumerate(layers):
        weight = [
            [[[round(tap * 2**WEIGHT_BITS) for tap in row] for row in rows] for rows in out]
            for out in layer.weight.double().tolist()
        ]
        bias = [round(value * 2 ** (WEIGHT_BITS + ACTIVATION_BITS)) for value in layer.bias.double().tolist()]
        stride, pad, side = layer.stride[0], layer.padding[0], layer.kernel_size[0]
        rows, columns = stride * len(x[0]), stride * len(x[0][0])
        sums = [[[bias[o]] * columns for _ in range(rows)] for o in range(len(bias))]
        sums = [[list(row) for row in plane] for plane in sums]
        for i, plane in enumerate(x):
            for r, row in enumerate(plane):
                for c, value in enumerate(row):
                    for o in range(len(bias)):
                        for a in range(side):
                            for b in range(side):
                                down, across = stride * r - pad + a, stride * c - pad + b
                                if 0 <= down < rows and 0 <= across < columns:
                                    sums[o][down][across] += value * weight[i][o][a][b]
        last = number == len(layers) - 1
        dropped = WEIGHT_BITS + (ACTIVATION_BITS if last else 0)
        most = SCALES - 1 if last else 1 << 23
        x = [[[min(max((s + (1 << dropped - 1)) >> dropped, 0), most) for s in r] for r in plane] for plane in sums]
    return torch.tensor(x)[:, :height, :width]


def test_indices_are_those_of_arithmetic_in_whole_numbers(hyperprior):
    z = torch.randint(-20, 21, (1, 4, 2, 3))
    found = hyperprior.indices(z.float(), 7, 11)
    assert found.unique().numel() > 5, "or nothing is shown"
    assert torch.equal(found[0], by_python(hyperprior, z[0], 7, 11))


def test_indices_are_close_to_what_is_trained(hyperprior):
    z = torch.randint(-5, 6, (1, 4, 3, 3)).float()
    with torch.no_grad():
        trained = hyperprior.h_s(z).clamp(0, SCALES - 1)
    assert (hyperprior.indices(z, 12, 12) - trained).abs().max() < 0.6


def test_indices_are_the_same_for_any_batch_layout_precision_and_number_of_threads(hyperprior):
    z = torch.randint(-20, 21, (5, 4, 6, 7)).float()
    expected = hyperprior.indices(z, 24, 28)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            for mkldnn in (False, True):
                with torch.backends.mkldnn.flags(enabled=mkldnn):
                    assert torch.equal(hyperprior.indices(z, 24, 28), expected)
                    one = torch.cat([hyperprior.indices(picture[None].double(), 24, 28) for picture in z])
                    assert torch.equal(one, expected)
                    folded = z.contiguous(memory_format=torch.channels_last)
                    assert torch.equal(hyperprior.indices(folded, 24, 28), expected)
    finally:
        torch.set_num_threads(before)


def test_absurd_latents_do_not_leave_the_exact_numbers(hyperprior):
    found = hyperprior.indices(torch.full((1, 4, 2, 2), 1e9), 8, 8)
    assert found.min() >= 0
    assert found.max() < SCALES


def test_weights_that_cannot_be_computed_exactly_are_refused(hyperprior):
    with torch.no_grad():
        hyperprior.h_s[0].weight.fill_(1e6)
    with pytest.raises(WeightsError, match="exactly"):
        hyperprior.indices(torch.zeros(1, 4, 2, 2), 8, 8)


@pytest.mark.parametrize("size", [(1, 1), (4, 8), (5, 7)])
def test_latents_of_any_size_have_a_rate_and_side_information_of_a_quarter_of_their_size(hyperprior, size):
    y = torch.randn(2, 6, *size)
    assert hyperprior.analysed(y).shape[2:] == tuple(-(-side // 4) for side in size)
    for mode in (True, False):
        bits = hyperprior.train(mode)(y)
        assert bits.shape == (2,)
        assert (bits > 0).all()
