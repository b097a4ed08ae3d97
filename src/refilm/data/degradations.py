"""Degradations of frames: noise, reduction, compression, motion blur. What is random is drawn from a given generator.

| name | function |
|---|---|
| Gaussian noise, sigma of 255 | `gaussian_noise` |
| noise as in 4:2:0 films, sigma of 255 | `film_noise` |
| BI, bicubic as MATLAB's imresize | `bicubic_down`; `bicubic_up` enlarges |
| BD, Gaussian blur of sigma 1.6, then every 4th pixel | `gaussian_down` |
| H.264 and HEVC at a crf; MPEG-2, MPEG-4 ASP and JPEG 2000 at a q | `compress` |
| small films as they are met in life: reduced somehow, then noise, sharpening, compression | `real_small` |
| motion blur | `motion_blur`; `exposed` makes a whole blurry clip and its truth |

Sources  BI: MATLAB's imresize, Keys' cubic with a = -1/2, widened when the picture shrinks; BD: Jo et al., "Deep Video
         Super-Resolution Using Dynamic Upsampling Filters" (DUF), CVPR 2018: 13x13 kernel, reflected borders, the
         first pixel of every four; JPEG 2000: Xue et al., "Video Enhancement with Task-Oriented Flow", IJCV 2019, which
         takes FFmpeg's encoder at -q:v 20 and 40; motion blur: Nah et al., CVPR 2017, gamma 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache, wraps
from typing import Any, TypeVar, cast

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from refilm.data.draws import below, between, chance
from refilm.data.pack import rgb_u8
from refilm.video.colour import Colour
from refilm.video.encoder_limits import X265_SMALLEST
from refilm.video.frame import Frame
from refilm.video.pixel_format import YUV420P
from refilm.video.recompress import recompressed
from refilm.video.rgb import from_rgb

# Codecs that small films are met in, with the best and the worst quality of `real_small`; H.264 is the most frequent.
_CODECS = (("h264", 18, 32), ("h264", 22, 30), ("h264", 22, 30), ("hevc", 20, 34), ("mpeg2", 2, 8), ("mpeg4", 2, 8))

Shrink = TypeVar("Shrink", bound=Callable[..., Tensor])
GAMMA = 2.2


def _exactly(shrink: Shrink) -> Shrink:
    """Decorator: computes in the frames' own precision, even within a training in mixed precision.

    Autocast would round pictures to bfloat16 in matrix products and convolutions.
    """

    @wraps(shrink)
    def exact(frames: Tensor, *arguments: Any, **options: Any) -> Tensor:
        with torch.autocast(frames.device.type, enabled=False):
            return shrink(frames, *arguments, **options)

    return cast(Shrink, exact)


def gaussian_noise(clip: Tensor, sigma_8bit: float | Tensor, generator: torch.Generator) -> Tensor:
    """The clip with white noise added; neither clamped nor rounded.

    clip        [..., H, W], float in [0, 1]
    sigma_8bit  standard deviation in 8-bit levels; a tensor must broadcast to the clip
    generator   draws the noise, on its own device, which may differ from the clip's
    """
    return clip + _normal(clip.shape, clip, generator) * (sigma_8bit / 255)


def film_noise(clip: Tensor, sigma_8bit: float | Tensor, generator: torch.Generator) -> Tensor:
    """The clip with noise as in 4:2:0 films: white noise on luma, and white noise on chroma of half the size.

    The standard deviation of the chroma noise, before it is enlarged to full size, is a random share of sigma for each
    clip. The result is clamped and rounded to 8 bit, as in a file.

    clip        [..., 3, T, H, W], RGB in [0, 1], H and W even
    sigma_8bit  of the luma noise, in 8-bit levels; a tensor must broadcast to the clip
    generator   as in `gaussian_noise`
    """
    *leading, _, t, h, w = clip.shape
    luma = _normal((*leading, t, h, w), clip, generator)
    share = torch.rand(math.prod(leading), 1, 1, 1, generator=generator, device=generator.device).to(clip.device)
    small = _normal((math.prod(leading), 2 * t, h // 2, w // 2), clip, generator) * share
    chroma = F.interpolate(small, scale_factor=2, mode="bilinear").view(*leading, 2, t, h, w)
    blue, red = chroma.unbind(-4)
    # BT.709, full range
    noise = torch.stack((luma + 1.5748 * red, luma - 0.1873 * blue - 0.4681 * red, luma + 1.8556 * blue), dim=-4)
    return (clip + noise * (sigma_8bit / 255)).clamp(0, 1).mul(255).round().div(255)


def bicubic_down(frames: Tensor, scale: int = 4) -> Tensor:
    """BI, the bicubic reduction of MATLAB's imresize: [..., H, W] -> [..., H/scale, W/scale], not clamped.

    Raises ValueError if `scale` does not divide H and W.
    """
    height, width = _divided(frames, scale)
    return _resize(frames, height, width)


def bicubic_up(frames: Tensor, scale: int = 4) -> Tensor:
    """The bicubic enlargement of MATLAB's imresize: [..., H, W] -> [..., scale*H, scale*W], not clamped."""
    return _resize(frames, frames.shape[-2] * scale, frames.shape[-1] * scale)


def small_and_enlarged(frames_u8: Tensor, height: int, width: int) -> Tensor:
    """Frames after a bicubic reduction to this size (BI) and a bicubic enlargement to their own, in 8 bit each time.

    [..., H, W], uint8 -> same. Where `height` or `width` is not below their own, nothing is lost in that direction.
    """
    own = frames_u8.shape[-2:]
    size = (min(height, own[0]), min(width, own[1]))
    small = _resize(frames_u8.float(), *size).round().clamp(0, 255)
    return _resize(small, *own).round().clamp(0, 255).byte()


@_exactly
def gaussian_down(frames: Tensor, scale: int = 4, sigma: float = 1.6) -> Tensor:
    """BD, Gaussian blur and subsampling: [..., H, W] -> [..., H/scale, W/scale], for H and W above 6.

    As in the literature, the first pixel of every `scale` is kept. The result is therefore shifted by (scale - 1) / 2
    input pixels up and left relative to BI. Raises ValueError if `scale` does not divide H and W.
    """
    height, width = _divided(frames, scale)
    places = torch.arange(-6, 7, device=frames.device, dtype=frames.dtype)
    taps = torch.exp(-0.5 * (places / sigma) ** 2)
    taps /= taps.sum()
    planes = F.pad(frames.reshape(-1, 1, *frames.shape[-2:]), (6, 6, 6, 6), mode="reflect")
    planes = F.conv2d(planes, taps.view(1, 1, 13, 1), stride=(scale, 1))
    planes = F.conv2d(planes, taps.view(1, 1, 1, 13), stride=(1, scale))
    return planes.view(*frames.shape[:-2], height, width)


def real_small(frames_u8: Tensor, scale: int, random: torch.Generator) -> Tensor:
    """A film as small ones are met in life: reduced in a random way, with or without noise, sharpening and compression.

    The reduction is by squares, bilinear, BI, Lanczos with three lobes, or BD, sometimes after the blur of a lens. The
    noise is that of films (`film_noise`), and sharpening is an unsharp mask, which leaves halos. Most are compressed by
    H.264, HEVC, MPEG-2 or MPEG-4 ASP, some of them twice.

    frames_u8  [T, 3, H, W], RGB, uint8, one scene
    out        [T, 3, H / scale, W / scale], uint8

    Raises ValueError if `scale` does not divide H and W.
    """
    size = _divided(frames_u8, scale)
    frames = frames_u8.float() / 255
    way = below(5, random)
    if way < 4 and chance(random, 0.3):
        frames = _gaussian_blur(frames, between(random, 0.3, 0.25 * scale))
    if way == 0:
        frames = F.avg_pool2d(frames, scale)
    elif way == 1:
        frames = F.interpolate(frames, size, mode="bilinear", antialias=True)
    elif way == 4:
        frames = gaussian_down(frames, scale)
    else:
        frames = _resize(frames, *size, "cubic" if way == 2 else "lanczos")
    if chance(random, 0.2):
        frames = frames + between(random, 0.2, 1.0) * (frames - _gaussian_blur(frames, between(random, 0.6, 1.2)))
    if chance(random, 0.3) and not (size[0] % 2 or size[1] % 2):
        frames = film_noise(frames.transpose(0, 1), between(random, 1, 6), random).transpose(0, 1)
    small = frames.mul(255).round().clamp(0, 255).byte()
    for share in (0.85, 0.2):
        if not chance(random, share):
            break
        codec, best, worst = _CODECS[below(len(_CODECS), random)]
        small = compress(small, codec, best + below(worst - best + 1, random))
    return small


def motion_blur(clip: Tensor, exposure: int) -> Tensor:
    """The blur of a camera whose shutter is open for `exposure` frames: their mean in linear light (gamma 2.2).

    [..., T, H, W] in [0, 1] -> [..., T - exposure + 1, H, W]; frame t of the result is centred on frame
    t + exposure // 2 of the clip. Raises ValueError if `exposure` is even or longer than the clip.
    """
    if exposure % 2 == 0 or not 1 <= exposure <= clip.shape[-3]:
        raise ValueError(f"exposure must be odd and at most the clip's {clip.shape[-3]} frames, got {exposure}")
    return clip.clamp(0, 1).pow(GAMMA).unfold(-3, exposure, 1).mean(-1).pow(1 / GAMMA)


def exposed(clip: Tensor, step: int, exposure: int) -> tuple[Tensor, Tensor]:
    """A blurry clip, and what it shows, from a scene of which `step` moments are known in each interval.

    clip       [..., n * step + 1, H, W], in [0, 1]
    step       an even number
    exposure   moments for which the shutter is open, see `motion_blur`; an odd number of at most step + 1
    out        (blurry [..., n, H, W], the first of which is centred on moment step / 2, and each other `step` further;
               sharp [..., 2 * n - 1, H, W], the moments in the middle of the exposures and those half-way between)

    Raises ValueError for other numbers.
    """
    moments = clip.shape[-3]
    if step % 2 or step < 2 or moments < step + 1 or moments % step != 1:
        raise ValueError(f"step must be an even number, and the clip have n * step + 1 moments, got {step}, {moments}")
    if exposure % 2 == 0 or not 1 <= exposure <= step + 1:
        raise ValueError(f"exposure must be odd and at most {step + 1}, got {exposure}")
    half = step // 2
    opens = [half - exposure // 2 + step * number for number in range(moments // step)]
    blurry = [motion_blur(clip[..., first : first + exposure, :, :], exposure) for first in opens]
    return torch.cat(blurry, dim=-3), clip[..., half : moments - half : half, :, :]


def compress(frames_u8: Tensor, codec: str, quality: float) -> Tensor:
    """Frames after encoding and decoding.

    frames_u8  [T, 3, H, W], RGB, uint8, one scene
    codec      "h264" or "hevc": x264 or x265 at preset medium; "h264-intra": x264 in a hurry, each frame alone;
               "mpeg2" or "mpeg4": FFmpeg's own encoders; "jpeg2000": the same, by the command `ffmpeg`, which must be
               installed, since PyAV cannot set its quality
    quality    crf of h264 and hevc, -q:v of the others; higher is worse
    out        [T, 3, H, W], uint8, on the CPU

    Frames are encoded in yuv420p, BT.709, limited range. The conversion is this package's own, which does not shift
    mean colours. For the encoder, an odd side is extended by one pixel, and a side below 64 pixels to 64, by repeating
    the last row or column; this is cut off again. Raises ValueError for another codec, RefilmError if the encoder is
    missing.
    """
    height, width = frames_u8.shape[-2:]
    beside, below = (max(size + size % 2, X265_SMALLEST) - size for size in (width, height))
    padded = F.pad(frames_u8.cpu().float() / 255, (0, beside, 0, below), mode="replicate")
    pictures = [from_rgb(frame, YUV420P, Colour()) for frame in padded]
    decoded = (
        Frame(planes, YUV420P, Colour(), Fraction(0), Fraction(1)) for planes in recompressed(pictures, codec, quality)
    )
    return torch.stack([rgb_u8(frame)[:, :height, :width] for frame in decoded])


def _normal(shape: Sequence[int], like: Tensor, generator: torch.Generator) -> Tensor:
    """White noise of standard deviation 1, drawn on the generator's device. -> `shape`, dtype and device of `like`"""
    return torch.randn(shape, generator=generator, device=generator.device, dtype=like.dtype).to(like.device)


def _divided(frames: Tensor, scale: int) -> tuple[int, int]:
    height, width = frames.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"height and width must be multiples of {scale}, got {height}x{width}; crop the frames first")
    return height // scale, width // scale


def _gaussian_blur(frames: Tensor, sigma: float) -> Tensor:
    """[T, 3, H, W] -> same shape; by OpenCV, since PyTorch takes many times as long for single channels on a CPU."""
    blurred = [cv2.GaussianBlur(frame.permute(1, 2, 0).numpy(), (0, 0), sigma) for frame in frames]
    return torch.from_numpy(np.stack(blurred)).permute(0, 3, 1, 2)


@_exactly
def _resize(frames: Tensor, height: int, width: int, kernel: str = "cubic") -> Tensor:
    down = _weights(frames.shape[-2], height, kernel).to(frames)
    across = _weights(frames.shape[-1], width, kernel).to(frames)
    return down @ (frames @ across.mT)


@lru_cache(maxsize=32)
def _weights(size: int, wanted: int, kernel: str) -> Tensor:
    """The matrix [wanted, size] that resizes a row of `size` samples to `wanted` samples.

    kernel   "cubic", Keys' with a = -1/2, or "lanczos", with three lobes; widened for reduction

    Beyond the border, samples are mirrored.
    """
    shrink = max(size / wanted, 1.0)
    centres = (torch.arange(wanted, dtype=torch.float64) + 0.5) * size / wanted - 0.5
    lobes = 2 if kernel == "cubic" else 3
    reach = math.ceil(lobes * shrink) + 1
    places = centres.floor()[:, None] + torch.arange(-reach, reach + 1)  # [wanted, taps]
    x = ((places - centres[:, None]) / shrink).abs()
    if kernel == "cubic":
        near = 1.5 * x**3 - 2.5 * x**2 + 1
        far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
        taps = torch.where(x <= 1, near, torch.where(x < 2, far, 0.0))
    else:
        taps = torch.where(x < lobes, torch.sinc(x) * torch.sinc(x / lobes), 0.0)
    mirrored = places.long() % (2 * size)
    mirrored = torch.where(mirrored < size, mirrored, 2 * size - 1 - mirrored)
    weights = torch.zeros(wanted, size, dtype=torch.float64).scatter_add_(1, mirrored, taps)
    return weights / weights.sum(1, keepdim=True)
