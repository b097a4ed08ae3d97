"""VI-LS3D-ConvNet: two frames in, the three frames between them out.

Source   LS3D-Conv, "learnable sampling 3D convolution for video enhancement and action recognition"; section 3.1 and
         Fig. 2 describe this network, the operator is `refilm.ops.ls3d_conv`.
Departs  width, kernel sizes and initialisation, on which the paper is silent. Beyond the paper: a skip connection over
         the whole network (`skip`, on by default), features of how well the frames match (`matching`, off by default),
         and frames at other instants than quarters (`between`): docs/choices.md#vi-ls3d.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refilm.layers.conv3d import Conv3d
from refilm.layers.ls3d import SamplingConv
from refilm.layers.residual import BRANCH_AT_START, LS3DResBlock
from refilm.layers.upsample import TemporalUpsample
from refilm.models.contract import Interpolator, Lesson, check_clip, check_times

BLOCKS = (1, 2, 3, 4, 5, 6)  # the paper numbers its residual blocks from one: res1 ... res6
OFFSET_UNIT = 4  # pixels: offsets of the skip connection are in positions of maps a quarter of the size
RADIUS = 4  # largest displacement that `match` tries, in pixels of the half-size frames
MATCHES = (2 * RADIUS + 1) ** 2
GRID = 16  # instants are rounded to multiples of 1/16 of the interval


@dataclass(frozen=True)
class VILS3DConfig:
    """Defaults: the network of the paper's Fig. 2 with a skip connection. skip="none" gives the paper's network.

    channels      width of every hidden layer, which the paper does not give
    ls3d_blocks   which of the six residual blocks use LS3D-Conv; () is the paper's 3D-convolution baseline
    skip          what the decoder's output is added to: "none": nothing, as in the paper; "blend": the linear blend of
                  the two frames; "sampled": the same blend, with each frame sampled at learned offsets and weighted by
                  learned importances (an LS3D-Conv of kernel 2x1x1 with fixed weights on the frames themselves)
    matching      whether the interpolation part also has the matching costs of `match` as input, which are not in the
                  paper. Without them, short trainings on a CPU mostly stayed at the level of frame blending
    own_quarters  how `between` gets the frames at 1/4 and 3/4: from the same call as the one at 1/2; or, if False, each
                  as the middle of the middle and an input frame, three calls in all, for weights that were mainly
                  trained for the middle

    Raises ValueError for values outside these.
    """

    channels: int = 64
    ls3d_blocks: tuple[int, ...] = BLOCKS
    skip: Literal["none", "blend", "sampled"] = "sampled"
    matching: bool = False
    own_quarters: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "ls3d_blocks", tuple(sorted(set(self.ls3d_blocks))))  # JSON and TOML give lists
        if self.channels < 1:
            raise ValueError(f"channels must be at least 1, got {self.channels}")
        if not set(self.ls3d_blocks) <= set(BLOCKS):
            raise ValueError(f"ls3d_blocks must name blocks out of {BLOCKS}, got {self.ls3d_blocks}")
        if self.skip not in ("none", "blend", "sampled"):
            raise ValueError(f'skip must be "none", "blend" or "sampled", got {self.skip!r}')


class VILS3D(nn.Module, Interpolator):
    """The frames at 1/4, 1/2 and 3/4 between two frames (Fig. 2b).

    The network has five output frames; the first and the last approximate the inputs.
    """

    task = "interpolation"
    window = 2  # frames in the input
    size_multiple = 4  # H and W must be multiples of this: two layers of stride 2

    def __init__(self, config: VILS3DConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or VILS3DConfig()
        c = config.channels

        def block(number: int) -> LS3DResBlock:
            return LS3DResBlock(c, ls3d=number in config.ls3d_blocks)

        self.encoder = nn.Sequential(
            Conv3d(3, c, 3, stride=(1, 2, 2), padding=1),
            nn.ReLU(),
            Conv3d(c, c, 3, stride=(1, 2, 2), padding=1),
            nn.ReLU(),
        )
        self.interpolation = nn.Sequential(
            block(1), block(2), TemporalUpsample(c, c), block(3), block(4), TemporalUpsample(c, c), block(5), block(6)
        )
        # three planes of colour; for "sampled" also an offset (dy, dx) and an importance for each of the two frames
        planes = 3 + (6 if config.skip == "sampled" else 0)
        # kernel 4 at stride 2 covers every output pixel with equally many taps: no checkerboard
        self.decoder = nn.Sequential(
            nn.ConvTranspose3d(c, c, (3, 4, 4), stride=(1, 2, 2), padding=1),
            nn.ReLU(),
            nn.ConvTranspose3d(c, planes, (3, 4, 4), stride=(1, 2, 2), padding=1),
        )
        if config.matching:
            self.matching = Conv3d(MATCHES + 2, c, (1, 3, 3), padding=(0, 1, 1))
        self.reset_parameters()

    @property
    def reach(self) -> int:
        """Pixels of context a result depends on, on each side, if learned offsets are zero.

        Encoder 1 + 2, decoder 4 + 2, and at a quarter of the size two convolutions in each of six blocks and one in
        each of two deconvolutions. LS3D-Conv reaches further by its offsets, which are learned and not limited.
        """
        context = 3 + 6 + 4 * (2 * len(BLOCKS) + 2)
        return context + (2 * RADIUS + 8 if self.config.matching else 0)

    def reset_parameters(self) -> None:
        """He initialisation; each residual block starts as a small correction, the network as its skip connection.

        Without a skip connection, the output starts around mid-grey.
        """
        for module in self.modules():
            if isinstance(module, SamplingConv):
                continue  # its offsets start at zero, so that LS3D-Conv samples where a plain convolution does
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                # number of input values that one output value is the sum of, in convolutions and deconvolutions
                taps = module.in_channels * math.prod(module.kernel_size)
                if isinstance(module, nn.ConvTranspose3d):
                    taps //= math.prod(module.stride)
                nn.init.normal_(module.weight, std=(2 / taps) ** 0.5)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, LS3DResBlock):
                with torch.no_grad():
                    module.conv2.weight.mul_(BRANCH_AT_START)
        last = self.decoder[-1]
        assert isinstance(last, nn.ConvTranspose3d)
        assert last.bias is not None
        if self.config.skip == "none":
            nn.init.constant_(last.bias, 0.5)  # mid-grey
        else:
            nn.init.zeros_(last.weight)

    def forward(self, clip: Tensor) -> Tensor:
        """[N, 3, 2, H, W] -> [N, 3, 5, H, W]: t = 0, 1/4, 1/2, 3/4, 1; first and last are the pair itself.

        The others are those of `between`.
        """
        middle = self.between(clip, [Fraction(1, 4), Fraction(1, 2), Fraction(3, 4)])
        return torch.cat([clip[:, :, :1], middle, clip[:, :, 1:]], dim=2)

    def network(self, clip: Tensor) -> Tensor:
        """One pass: [N, 3, 2, H, W], RGB in [0, 1] -> [N, 3, 5, H, W], the frames at 0, 1/4, 1/2, 3/4 and 1.

        Those at 0 and 1 are the network's versions of the two frames. Not clamped; the input is not checked.
        """
        return self.compose(clip, self.decode(clip))

    def decode(self, clip: Tensor) -> Tensor:
        """The decoder's output. [N, 3, 2, H, W] -> [N, 3 or 9, 5, H, W]: colour, and with skip="sampled" the
        `sampling` that `sample` takes.
        """
        x = (clip - 0.5).contiguous(memory_format=torch.channels_last_3d)
        # oneDNN's bfloat16 weight gradient of a strided convolution is not finite at times (seen in torch 2.13)
        with torch.autocast(clip.device.type, enabled=False):
            features = self.encoder(x)
            if self.config.matching:
                features = features + F.relu(self.matching(match(clip).unsqueeze(2)))
        decoded: Tensor = self.decoder(self.interpolation(features))
        return decoded

    def compose(self, clip: Tensor, decoded: Tensor) -> Tensor:
        """The five frames, from the clip [N, 3, 2, H, W] and the output of `decode`. -> [N, 3, 5, H, W]"""
        if self.config.skip == "none":
            return decoded
        if self.config.skip == "blend":
            return decoded + blend(clip)
        return decoded[:, :3] + sample(clip, decoded[:, 3:])

    def between(self, clip: Tensor, times: Sequence[Fraction]) -> Tensor:
        """Frames at any instants between two frames; instants are rounded to multiples of 1/16 of the interval.

        The network gives the frames at quarters. Called again on two neighbouring ones, it gives quarters of a quarter,
        that is, sixteenths. Without `own_quarters`, only the middle frame of each call is used.

        clip    [N, 3, 2, H, W]   RGB, [0, 1]
        times   fractions of the interval, in (0, 1)
        out     [N, 3, len(times), H, W], in the order of `times`; an instant that is rounded to 0 or 1 gives an input

        Raises as `check_clip` and `check_times`.
        """
        check_clip(self, clip)
        check_times(times)
        steps = [round(time * GRID) for time in times]
        # the inputs themselves, not the network's versions of them
        frames = {0: clip[:, :, 0], GRID: clip[:, :, 1]}
        for step in steps:
            self._reach_step(frames, step)
        return torch.stack([frames[step] for step in steps], dim=2)

    def lesson(
        self, clip: Tensor, times: Sequence[Fraction], margin: int = 0, unlearned: Sequence[Tensor] = ()
    ) -> Lesson:
        """See `Interpolator.lesson`; `times` must be multiples of 1/4."""
        decoded = self.decode(clip)
        places = [int(4 * time) for time in times]
        inside = (..., slice(margin, -margin or None), slice(margin, -margin or None))
        frames, plain = self.compose(clip, decoded)[:, :, places].float(), blend(clip)[:, :, places]
        offsets = OFFSET_UNIT * decoded[:, 3:7, places].float() if self.config.skip == "sampled" else None
        return Lesson(frames[inside], plain[inside], None if offsets is None else offsets[inside])

    def _reach_step(self, frames: dict[int, Tensor], step: int) -> None:
        """Add the frame at `step` / 16 to `frames`, and all frames that are made on the way to it."""
        parts = 4 if self.config.own_quarters else 2
        low, high = 0, GRID
        while step not in frames:
            span = (high - low) // parts
            if low + span not in frames:
                five = self.network(torch.stack([frames[low], frames[high]], dim=2))
                frames |= {low + i * span: five[:, :, i * 4 // parts] for i in range(1, parts)}
            low += (step - low) // span * span
            high = low + span


def blend(clip: Tensor) -> Tensor:
    """The linear blend of two frames at 0, 1/4, 1/2, 3/4 and 1. [N, C, 2, H, W] -> [N, C, 5, H, W]"""
    time = torch.linspace(0, 1, 5, dtype=clip.dtype, device=clip.device).view(1, 1, 5, 1, 1)
    return clip[:, :, :1] * (1 - time) + clip[:, :, 1:] * time


def sample(clip: Tensor, sampling: Tensor) -> Tensor:
    """The linear blend with each frame sampled at an offset and weighted by an importance.

    If `sampling` is zero, the result is that of `blend`. Positions outside the frame read its border, since zeros would
    darken the edges of the result.

    clip       [N, C, 2, H, W]
    sampling   [N, 6, 5, H, W]   (dy, dx) in the first frame and (dy, dx) in the second, in units of OFFSET_UNIT pixels;
               then for each frame the logarithm of a factor on its weight in the linear blend, clamped to +-8
    out        [N, C, 5, H, W]
    """
    n, c, _, h, w = clip.shape
    t = sampling.shape[2]
    sampling = sampling.float()  # in bfloat16, positions from 256 on would be rounded to whole pixels or more
    time = torch.linspace(0, 1, t, device=clip.device).view(1, t, 1, 1)
    importance = torch.stack([1 - time, time], dim=1) * sampling[:, 4:].clamp(-8, 8).exp()  # [N, 2, T, H, W]
    importance = importance / importance.sum(dim=1, keepdim=True)
    y = torch.arange(h, device=clip.device, dtype=torch.float32).view(1, 1, h, 1)
    x = torch.arange(w, device=clip.device, dtype=torch.float32).view(1, 1, 1, w)
    out = clip.new_zeros(n, c, t, h, w)
    for i in range(2):
        dy, dx = OFFSET_UNIT * sampling[:, 2 * i], OFFSET_UNIT * sampling[:, 2 * i + 1]  # [N, T, H, W]
        grid = torch.stack([(x + dx + 0.5) * (2 / w) - 1, (y + dy + 0.5) * (2 / h) - 1], dim=-1)
        frames = clip[:, :, i].float().unsqueeze(1).expand(n, t, c, h, w).reshape(n * t, c, h, w)
        sampled = F.grid_sample(frames, grid.reshape(n * t, h, w, 2), padding_mode="border", align_corners=False)
        out = out + sampled.view(n, t, c, h, w).transpose(1, 2) * importance[:, i : i + 1]
    return out


@torch.no_grad()
def match(clip: Tensor) -> Tensor:
    """Matching costs of the two frames about each position of the middle frame, for uniform motion.

    A scene point that is at p in the middle of the interval is at p - d in the first frame and at p + d in the second.
    For each d in a square of +-RADIUS pixels of the half-size frames, the cost is the mean absolute difference of the
    two over about 12x12 pixels of the clip, divided by its mean over all d, minus 1.

    clip  [N, 3, 2, H, W]
    out   [N, MATCHES + 2, H/4, W/4]; the last two planes are the best d (dy, dx), as a soft minimum, divided by RADIUS
    """
    n, _, _, h, w = clip.shape
    luma = F.avg_pool2d(clip.float().mean(dim=1), 2)  # [N, 2, H/2, W/2]
    # subtracting the local mean makes the cost insensitive to changes of brightness
    detail = luma - F.avg_pool2d(luma, 9, 1, 4, count_include_pad=False)
    padded = F.pad(detail, (RADIUS,) * 4, mode="replicate")
    first, second = (F.unfold(padded[:, i : i + 1], 2 * RADIUS + 1) for i in range(2))  # [N, MATCHES, H/2 * W/2]
    # unfold lists the displacements d in raster order, so reversing the list gives -d
    difference = (first.flip(1) - second).abs().view(n, MATCHES, h // 2, w // 2)
    cost = F.avg_pool2d(difference, 6, 2, 2, count_include_pad=False)
    cost = cost / (cost.mean(dim=1, keepdim=True) + 0.004) - 1
    axis = torch.linspace(-1, 1, 2 * RADIUS + 1, device=clip.device)
    d = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).flatten(1)  # [2, MATCHES]
    best = torch.einsum("nmhw,dm->ndhw", (-12 * cost).softmax(dim=1), d)
    return torch.cat([cost, best], dim=1)
