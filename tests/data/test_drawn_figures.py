"""Figures that an arm draws in the air: the fingertip does what the label says, and is seen to do it."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from refilm.data.drawn_figures import LABELS, DrawnFigures, fingertip

SHARE = torch.linspace(0, 1, 60)
STRAIGHT = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def ways(label, count=40):
    """Where the fingertip is in some clips of a label, [60, 2] each."""
    return [fingertip(seeded(seed), label, SHARE) for seed in range(count)]


@pytest.mark.parametrize("label", STRAIGHT)
def test_a_stroke_goes_where_it_is_said_to_go(label):
    for way in ways(label):
        gone = way[-1] - way[0]
        along = float(gone @ torch.tensor(STRAIGHT[label], dtype=torch.float32))
        assert along > 0.9 * float(gone.norm())


def test_a_caret_rises_and_falls_and_a_tick_falls_and_rises_higher():
    for way in ways("caret"):
        top = int(way[:, 1].argmin())
        assert 0 < top < 59
        assert way[0, 1] - way[top, 1] > 1 < way[-1, 1] - way[top, 1]
    for way in ways("tick"):
        lowest = int(way[:, 1].argmax())
        assert 0 < lowest < 59
        assert way[-1, 1] < way[0, 1]


def test_a_circle_goes_round_once_and_either_way():
    turns = []
    for way in ways("circle"):
        angle = torch.atan2(way[:, 1], way[:, 0]).diff()
        angle = (angle + torch.pi).remainder(2 * torch.pi) - torch.pi
        turns.append(float(angle.sum()) / (2 * torch.pi))
    assert all(0.8 < abs(turn) < 1.3 for turn in turns)
    assert min(turns) < 0 < max(turns)


@pytest.mark.parametrize("label", ["square", "star"])
def test_a_closed_figure_ends_where_it_began(label):
    for way in ways(label):
        size = float((way.amax(0) - way.amin(0)).norm())
        assert float((way[-1] - way[0]).norm()) < 0.35 * size


@pytest.mark.parametrize("label", LABELS)
def test_the_tip_is_seen_against_a_plain_wall(label):
    wall = torch.full((3, 120, 160), 255, dtype=torch.uint8)
    times = torch.arange(12) / 4
    clips = [DrawnFigures([wall]).draw(seeded(seed), times, 96, 128, label) for seed in range(6)]
    for clip in clips:
        assert clip.label == label
        assert clip.frames.shape == (3, 12, 96, 128)
        assert 0 <= float(clip.frames.min()) <= float(clip.frames.max()) <= 1
        # somewhere the arm covers what is otherwise alike everywhere
        assert (clip.frames.amax((2, 3)) - clip.frames.amin((2, 3))).amax(0).min() > 0.02


def test_the_same_seed_draws_the_same_and_each_label_comes():
    stills = [torch.randint(0, 256, (3, 60, 90), dtype=torch.uint8, generator=seeded(n)) for n in range(2)]
    figures, times = DrawnFigures(stills), torch.arange(4) / 2
    first, again = (figures.draw(seeded(5), times, 48, 64) for _ in range(2))
    assert first.label == again.label
    assert torch.equal(first.frames, again.frames)
    assert {figures.draw(seeded(seed), times, 24, 32).label for seed in range(120)} == set(LABELS)


def test_drawing_takes_a_second_and_a_half_to_six_and_a_half():
    lengths = [DrawnFigures([]).seconds(seeded(seed), Fraction(2)) for seed in range(50)]
    assert 1.6 <= min(lengths) < 2.5
    assert 5 < max(lengths) <= 6.5
