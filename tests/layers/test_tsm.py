from __future__ import annotations

import torch

from refilm.layers.backbones import make_backbone
from refilm.layers.backbones.inverted_residual import InvertedResidual
from refilm.layers.backbones.tsm import TemporalShift


def by_loops(x, length, fold):
    """The definition: channel by channel, frame by frame."""
    out = torch.zeros_like(x)
    channels = x.shape[1] // fold
    for place in range(len(x)):
        t = place % length
        for c in range(x.shape[1]):
            step = 1 if c < channels else -1 if c < 2 * channels else 0
            if 0 <= t + step < length:
                out[place, c] = x[place + step, c]
    return out


def test_an_eighth_of_the_channels_comes_from_each_neighbour():
    x = torch.rand(2 * 4, 18, 3, 2)
    torch.testing.assert_close(TemporalShift()(x, 4), by_loops(x, 4, 8))
    torch.testing.assert_close(TemporalShift(4)(x, 2), by_loops(x, 2, 4))


def test_shifting_back_inverts_but_for_the_ends():
    x = torch.rand(5, 16, 2, 2)
    again = TemporalShift()(TemporalShift()(x, 5).flip(0), 5).flip(0)
    torch.testing.assert_close(again[1:-1], x[1:-1])


def test_of_a_clip_of_one_frame_only_what_stays_is_left():
    x = torch.rand(3, 16, 2, 2)
    shifted = TemporalShift()(x, 1)
    assert not shifted[:, :4].any()
    assert torch.equal(shifted[:, 4:], x[:, 4:])


def test_the_shift_stands_in_the_residual_branch_of_every_bottleneck():
    backbone, plain = make_backbone("resnet-50-tsm").eval(), make_backbone("resnet-50").eval()
    plain.load_state_dict(backbone.state_dict())
    block, own = backbone.layer2[1], plain.layer2[1]
    x = torch.rand(4, 512, 5, 5)
    branch = own(by_loops(x, 4, 8), 4)  # of a block whose input is shifted as a whole, and the ReLU undone below
    with torch.no_grad():
        seen = own.bn3(own.conv3(own.bn2(own.conv2(own.bn1(own.conv1(by_loops(x, 4, 8))).relu())).relu()))
    torch.testing.assert_close(block(x, 4), (x + seen).relu())
    assert not torch.allclose(block(x, 4), branch)
    assert sum(isinstance(module, TemporalShift) for module in backbone.modules()) == 16


def test_in_mobilenet_the_blocks_that_add_their_input_shift():
    backbone = make_backbone("mobilenet-v2-tsm")
    blocks = [module for module in backbone.modules() if isinstance(module, InvertedResidual)]
    assert [isinstance(block.before, TemporalShift) for block in blocks] == [block.residual for block in blocks]
    assert sum(block.residual for block in blocks) == 10


@torch.inference_mode()
def test_a_frame_sees_its_neighbours_and_no_other_clip():
    backbone = make_backbone("mobilenet-v2-tsm").eval()
    frames = torch.rand(6, 3, 32, 32)

    def seen(frames, length):
        return backbone.maps(frames, ["3"], length)["3"]

    maps = seen(frames, 3)
    torch.testing.assert_close(maps[:3], seen(frames[:3], 3))
    assert (maps[1] - seen(frames[1:2], 1)[0]).abs().max() > 0.01 * maps.abs().max()


def test_it_has_the_parameters_of_the_plain_backbone():
    for name in ("resnet-50", "mobilenet-v2"):
        assert set(make_backbone(f"{name}-tsm").state_dict()) == set(make_backbone(name).state_dict())
