import pytest
import torch

from refilm.layers.codec_transforms import analysis, synthesis


@pytest.mark.parametrize(("layers", "side", "planes"), [(4, 5, 3), (3, 3, 2), (4, 3, 2)])
@torch.no_grad()
def test_they_begin_as_a_transform_that_keeps_what_is_smooth(layers, side, planes):
    torch.manual_seed(0)
    size = 2**layers
    waves = torch.linspace(0, 3, 4 * size).cos()
    smooth = 0.2 * torch.outer(waves, waves.flip(0)).expand(2, planes, -1, -1)
    latent = analysis(planes, 48, 48, layers, side)(smooth)
    assert latent.shape == (2, 48, 4, 4)
    back = synthesis(48, 48, planes, layers, side)(latent)
    assert back.shape == smooth.shape
    inside = slice(size, -size)
    error = (back - smooth)[..., inside, inside]
    assert error.square().mean() < 0.02 * smooth[..., inside, inside].square().mean()


def test_their_layers_are_those_of_the_paper():
    """5x5, stride 2, GDN between; counts of DVC's residual coder in the authors' code."""
    assert sum(p.numel() for p in analysis(3, 64, 96).parameters()) == 375_968
    assert sum(p.numel() for p in synthesis(96, 64, 3).parameters()) == 375_875
