"""The table of all evaluation protocols, by name.

A protocol defines how the input is made from a clip, what the result is compared with, the metrics and the baselines.
Figures can be compared only within a protocol.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor
from torch.nn import functional as F

from refilm.data.degradations import bicubic_down, compress, gaussian_down, gaussian_noise
from refilm.evaluation.clip_views import VIEWS
from refilm.evaluation.deblurring import Deblurring, blurred_frames, exact_motion
from refilm.evaluation.detection import Detection
from refilm.evaluation.interpolation import Interpolation
from refilm.evaluation.metrics import PERFECT_DB, as_shown
from refilm.evaluation.rate_distortion import RateDistortion
from refilm.evaluation.recognition import Recognition
from refilm.evaluation.restoration import Restoration
from refilm.evaluation.restorers import DEBLOCKERS, DENOISERS, ENLARGERS, as_it_is
from refilm.stages.damage import CodingJudge, NoiseJudge
from refilm.stages.running import Judge

Pictures = Interpolation | Restoration | Deblurring  # protocols of tasks that make pictures
Protocol = Pictures | Recognition | Detection | RateDistortion


def _denoising(sigma_8bit: float) -> tuple[Restoration, ...]:
    """As in papers, where models are told the noise; and as for a user who does not know it."""
    told = Restoration(
        name=f"denoising-sigma{sigma_8bit:g}",
        task="denoising",
        spoil=lambda frames_u8, seed: gaussian_noise(frames_u8.float() / 255, sigma_8bit, seed),
        spoilt=f"Gaussian noise of sigma {sigma_8bit:g} (of 255) on RGB, neither clamped nor rounded but for FFmpeg's "
        "filters; models are told sigma",
        baselines=DENOISERS,
        beside="nlmeans",
        told={"sigma_8bit": sigma_8bit},
    )
    words = told.spoilt.replace("are told sigma", "measure it")
    return told, replace(told, name=f"{told.name}-blind", spoilt=words, told={}, judge=NoiseJudge)


def _deblocking(codec: str, letter: str, quality: int, words: str) -> Restoration:
    return Restoration(
        name=f"deblocking-{codec}-{letter}{quality}",
        task="deblocking",
        spoil=lambda frames_u8, _: compress(frames_u8, codec, quality).float() / 255,
        spoilt=f"{words}, yuv420p; models work as strongly as they find it compressed",
        baselines=DEBLOCKERS,
        beside="deblock",
        judge=CodingJudge,
    )


def _clean(task: str, judge: Callable[[], Judge]) -> Restoration:
    """How much a model takes from film that needs nothing. An exact frame counts as `metrics.PERFECT_DB`."""
    return Restoration(
        name=f"{task}-clean",
        task=task,
        spoil=lambda frames_u8, _: frames_u8.float() / 255,
        spoilt="nothing: the clips as they are; models work as strongly as they find damage, and an exact frame counts "
        f"as {PERFECT_DB:g} dB",
        baselines={"input": as_it_is},
        beside="input",
        judge=judge,
    )


def _enlargement(name: str, shrink: Callable[[Tensor], Tensor], words: str) -> Restoration:
    return Restoration(
        name=f"super-resolution-x4-{name}",
        task="super-resolution",
        spoil=lambda frames_u8, _: shrink(frames_u8.float() / 255),
        spoilt=f"a quarter of the size by {words}, 8 bit",
        baselines=ENLARGERS,
        beside="bicubic",
        scale=4,
        on_luma=True,
        border=8,
    )


def _small_and_compressed(frames: Tensor) -> Tensor:
    small = as_shown(F.avg_pool2d(frames, 4))
    return compress(small.mul(255).round().byte(), "h264", 26).float() / 255


_ALL: tuple[Protocol, ...] = (
    Interpolation("interpolation-x2", step=2),
    Interpolation("interpolation-x4", step=4),
    Deblurring(
        "deblurring-averaged",
        lambda frames_u8, _: blurred_frames(frames_u8),
        "clips reduced by 3, of every four frames three averaged in linear light, so that blurry frames are four "
        "source frames apart and all sharp ones real",
    ),
    Deblurring(
        "deblurring-exact",
        exact_motion,
        "the first frame of each clip under a moving camera, with a disc that moves before it, both on exact paths; "
        "the shutter open for 11 of 16 moments, averaged in linear light",
    ),
    Deblurring(
        "deblurring-sharp",
        lambda frames_u8, _: blurred_frames(frames_u8, exposure=1),
        "clips reduced by 3, of which every fourth frame is shown as it is: how far a model leaves sharp film alone",
    ),
    *_denoising(15),
    *_denoising(25),
    _clean("denoising", NoiseJudge),
    _deblocking("h264", "crf", 37, "x264 at crf 37, preset medium"),
    _deblocking("hevc", "crf", 37, "x265 at crf 37, preset medium"),
    _deblocking("mpeg2", "q", 14, "FFmpeg's MPEG-2 at -q:v 14"),
    _deblocking("jpeg2000", "q", 40, "FFmpeg's JPEG 2000 at -q:v 40"),
    _deblocking("jpeg2000", "q", 20, "FFmpeg's JPEG 2000 at -q:v 20"),
    _clean("deblocking", CodingJudge),
    _enlargement("bi", lambda frames: as_shown(bicubic_down(frames)), "MATLAB's bicubic (BI)"),
    _enlargement("real", _small_and_compressed, "the mean of 4x4 pixels, then x264 at crf 26, preset medium"),
    _enlargement(
        "bd",
        lambda frames: as_shown(gaussian_down(frames)),
        "a Gaussian blur of sigma 1.6, then the first pixel of every 4 (BD)",
    ),
    *(Recognition(f"recognition-{name}", views) for name, views in VIEWS.items()),
    Detection(),
    RateDistortion(),
)
PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _ALL}
