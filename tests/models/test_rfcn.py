from __future__ import annotations

import pytest
import torch
from torch import nn

from refilm.layers.backbones import BACKBONES, keep_stride, make_backbone
from refilm.layers.boxes import areas, overlaps
from refilm.layers.se_block import SEBlock
from refilm.models import create_model
from refilm.models.contract import Found
from refilm.models.rfcn import DETECTIONS_OVERLAP, RFCN, Regions, RFCNConfig, Seen

SMALL = {
    "backbone": "mobilenet-v2",
    "last": "17",
    "channels": 16,
    "bins": 3,
    "sizes": (24.0, 48.0),
    "proposals": 20,
    "reduced": 4,
    "width": 8,
    "blocks": 1,
    "aside": 2,
    "embedding": 8,
    "side": 64,
}


def network(**fields):
    torch.manual_seed(0)
    return RFCN(RFCNConfig(**SMALL | fields)).eval()


@pytest.mark.parametrize("name", ["mobilenet-v2", "resnet-50", "resnet-101"])
@torch.no_grad()
def test_a_dilated_backbone_computes_the_same_at_the_places_of_the_coarser_map(name):
    torch.manual_seed(0)
    backbone, frames = make_backbone(name).eval(), torch.rand(1, 3, 96, 160)
    last = "17" if name == "mobilenet-v2" else "res5"
    coarse = backbone.maps(frames, [last])[last]
    keep_stride(backbone, 16)
    fine = backbone.maps(frames, [last])[last]
    assert fine.shape[2:] == (6, 10)
    assert backbone.sizes[last].stride == 16
    torch.testing.assert_close(fine[..., ::2, ::2], coarse, rtol=1e-4, atol=1e-5 * float(coarse.abs().max()))


def test_resnet_101_has_its_published_number_of_parameters():
    # torchvision's, with a classifier of 1000 classes
    parameters = sum(each.numel() for each in make_backbone("resnet-101").parameters())
    assert parameters + 1000 * 2049 == 44_549_160


def test_the_papers_layers():
    """Section 6.1 and Fig. 5: 3x3 to 1024 channels at stride 16, halved; k = 7; OFF on 512-d and 1024-d; SE blocks."""
    model = create_model("rfcn-r101-off-ms", weights=None)
    assert BACKBONES["resnet-101"](3).sizes["res5"].stride == 32
    assert model.backbone.sizes["res5"] == (16, 2048)
    assert (model.features.in_channels, model.features.out_channels, model.features.kernel_size) == (2048, 1024, (3, 3))
    assert model.objectness.in_channels == model.class_maps.in_channels == 512
    assert model.class_maps.out_channels == 49 * 4
    assert model.box_maps.out_channels == 49 * 4
    assert [level.unit.reduce.in_channels for level in model.off.levels] == [512, 1024]
    assert [level.unit.reduce.out_channels for level in model.off.levels] == [128, 128]
    assert [level.enter.stride for level in model.off.levels] == [(2, 2), (1, 1)]
    # six maps of 128 channels, and what the finer level has found
    assert [level.enter.in_channels for level in model.off.levels] == [768, 768 + 256]
    assert all(isinstance(block, SEBlock) for level in model.off.levels for block in level.refine)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.off.modules())
    single = create_model("rfcn-r101-off", weights=None)
    assert [level.unit.reduce.in_channels for level in single.off.levels] == [1024]


@torch.inference_mode()
@pytest.mark.parametrize(
    "fields", [{}, {"temporal": "off"}, {"temporal": "off", "finer": ("6",)}, {"temporal": "fgfa"}]
)
def test_a_detector_finds_boxes_within_the_frame_best_first(fields):
    model = network(**fields)
    for name in ("class_maps", "region", "objectness"):
        nn.init.normal_(getattr(model, name).weight, std=0.5)
    found = model(torch.rand(2, 3, model.window, 50, 70), 0.01)
    assert len(found) == 2
    for each in found:
        assert isinstance(each, Found)
        assert len(each.boxes) == len(each.scores) == len(each.labels) > 0
        assert (each.boxes >= 0).all()
        assert (each.boxes <= torch.tensor([70, 50, 70, 50])).all()
        assert each.scores.diff().le(0).all()
        assert set(each.labels.tolist()) <= {0, 1, 2}
        for label in range(3):
            own = each.boxes[each.labels == label]
            own = own[areas(own) > 0]
            assert overlaps(own, own).fill_diagonal_(0).le(DETECTIONS_OVERLAP).all()


@torch.inference_mode()
def test_off_begins_as_the_detector_of_single_frames():
    model, clip = network(temporal="off", finer=("6",)), torch.rand(1, 3, 3, 64, 96)
    seen = model.see(clip[0].transpose(0, 1))
    torch.testing.assert_close(model.refined(seen, 1), seen.features[1:2])


@torch.inference_mode()
def test_off_sees_the_frames_apart_on_both_sides():
    model = network(temporal="off", apart=3)
    assert (model.window, model.offsets, model.places()) == (7, (-3, 0, 3), [0, 3, 6])
    nn.init.normal_(model.off.leave.weight)
    clip = torch.rand(1, 3, 7, 64, 96)

    def refined(clip):
        return model.refined(model.see(clip[0, :, model.places()].transpose(0, 1)), 1)

    before = refined(clip)
    for place in range(7):
        other = clip.clone()
        other[:, :, place] = torch.rand(1, 3, 64, 96)
        assert torch.equal(refined(other), before) == (place not in (0, 3, 6))


@torch.inference_mode()
def test_frames_may_be_seen_one_by_one():
    model = network(temporal="off", finer=("6",))
    nn.init.normal_(model.off.leave.weight)
    frames = torch.rand(3, 3, 64, 96)
    together = model.see(frames)
    alone = Seen.of_all([model.see(frame[None]) for frame in frames])
    torch.testing.assert_close(model.refined(alone, 1), model.refined(together, 1), rtol=1e-4, atol=1e-5)
    assert together.at(slice(1)).features.shape[0] == 1


@torch.inference_mode()
def test_aggregation_of_equal_frames_is_the_frame():
    model = network(temporal="fgfa")
    assert model.window == 5
    seen = model.see(torch.rand(1, 3, 64, 96))
    same = Seen.of_all([seen] * 5)
    torch.testing.assert_close(model.refined(same, 1, torch.zeros(1, 5, 2, 4, 6)), seen.features, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_aggregation_warps_frames_along_the_flow():
    model = network(temporal="fgfa", aside=1)
    features = torch.rand(1, 16, 4, 6)
    moved = features.roll(1, dims=3)  # what is at x is at x + 1 there
    seen = Seen(torch.cat([moved, features, moved]))
    flows = torch.zeros(1, 3, 2, 4, 6)
    flows[:, 0, 0] = flows[:, 2, 0] = 1
    found = model.refined(seen, 1, flows)
    torch.testing.assert_close(found[..., :-1], features[..., :-1], rtol=1e-4, atol=1e-5)


def test_proposals_are_the_best_anchors_without_duplicates():
    model = network(proposals=3)
    around = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 20, 40, 40], [50, 50, 60, 60], [0, 50, 9, 60]])
    regions = Regions(torch.tensor([[3.0, 2.0, 0.0, 1.0, -1.0]]), torch.zeros(1, 5, 4), around)
    assert model.proposals(regions, 100, 100)[0].tolist() == around[[0, 3, 2]].tolist()


def test_batch_normalisation_keeps_its_statistics_in_training():
    model = network().train()
    before = {name: value.clone() for name, value in model.backbone.named_buffers()}
    model.see(torch.rand(2, 3, 64, 64))
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.named_buffers())
    assert model.training


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temporal": "lstm"}, 'temporal must be "none", "off" or "fgfa", got \'lstm\''),
        ({"finer": ("6",)}, 'finer is about OFF; set temporal to "off"'),
        ({"channels": 15}, "channels must be even"),
        ({"apart": 0}, "must be at least 1"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        RFCNConfig(**SMALL | fields)


def test_a_last_map_of_another_stride_is_refused():
    with pytest.raises(ValueError, match="last must be a map of stride 16, got '6'"):
        network(last="6")
