import pytest
import torch
from torch.autograd import gradcheck

from refilm.layers.gdn import GDN


def plainly(x, gdn):
    """The definition, place by place and channel by channel (ICLR 2017, equation 3)."""
    out = torch.empty_like(x)
    count, channels, height, width = x.shape
    for n in range(count):
        for row in range(height):
            for column in range(width):
                there = x[n, :, row, column]
                for i in range(channels):
                    root = gdn.beta[i]
                    for j in range(channels):
                        root = root + gdn.gamma[i, j] * there[j] ** 2
                    out[n, i, row, column] = there[i] * root**0.5 if gdn.inverse else there[i] / root**0.5
    return out


def drawn(inverse):
    torch.manual_seed(0)
    gdn = GDN(3, inverse).double()
    torch.nn.init.uniform_(gdn.root_beta, 0.5, 1.5)
    torch.nn.init.uniform_(gdn.root_gamma, -0.5, 0.5)
    return gdn


@pytest.mark.parametrize("inverse", [False, True])
@torch.no_grad()
def test_it_is_what_the_paper_defines(inverse):
    gdn, x = drawn(inverse), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    torch.testing.assert_close(gdn(x), plainly(x, gdn))


@pytest.mark.parametrize("inverse", [False, True])
def test_gradients_are_those_of_the_definition(inverse):
    gdn = drawn(inverse)
    assert gradcheck(gdn, torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True))


@torch.no_grad()
def test_igdn_undoes_gdn_where_little_is_normalised():
    """At first, so that a codec begins close to a linear transform."""
    x = 0.5 * torch.randn(1, 8, 6, 6)
    torch.testing.assert_close(GDN(8, inverse=True)(GDN(8)(x)), x, atol=0.01, rtol=0.02)
