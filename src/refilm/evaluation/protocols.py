"""The table of all evaluation protocols, by name.

A protocol defines how the input is made from a clip, what the result is compared with, the metrics and the baselines.
Figures can be compared only within a protocol.
"""

from __future__ import annotations

from refilm.data.degradations import bicubic_down, compress, gaussian_down, gaussian_noise
from refilm.evaluation.interpolation import Interpolation
from refilm.evaluation.metrics import as_shown
from refilm.evaluation.restoration import Restoration
from refilm.evaluation.restorers import DEBLOCKERS, DENOISERS, ENLARGERS

Protocol = Interpolation | Restoration


def _denoising(sigma_8bit: float) -> Restoration:
    return Restoration(
        name=f"denoising-sigma{sigma_8bit:g}",
        task="denoising",
        spoil=lambda frames_u8, seed: gaussian_noise(frames_u8.float() / 255, sigma_8bit, seed),
        spoilt=f"Gaussian noise of sigma {sigma_8bit:g} (of 255) on RGB, neither clamped nor rounded but for FFmpeg's "
        "filters; models are told sigma",
        baselines=DENOISERS,
        beside="nlmeans",
        told={"sigma_8bit": sigma_8bit},
    )


def _deblocking(codec: str, letter: str, quality: int, words: str) -> Restoration:
    return Restoration(
        name=f"deblocking-{codec}-{letter}{quality}",
        task="deblocking",
        spoil=lambda frames_u8, _: compress(frames_u8, codec, quality).float() / 255,
        spoilt=f"{words}, yuv420p",
        baselines=DEBLOCKERS,
        beside="deblock",
    )


def _enlargement(name: str, words: str) -> Restoration:
    shrink = {"bi": bicubic_down, "bd": gaussian_down}[name]
    return Restoration(
        name=f"super-resolution-x4-{name}",
        task="super-resolution",
        spoil=lambda frames_u8, _: as_shown(shrink(frames_u8.float() / 255)),
        spoilt=f"a quarter of the size by {words}, 8 bit",
        baselines=ENLARGERS,
        beside="bicubic",
        scale=4,
        on_luma=True,
        border=8,
    )


_ALL: tuple[Protocol, ...] = (
    Interpolation("interpolation-x2", step=2),
    Interpolation("interpolation-x4", step=4),
    _denoising(15),
    _denoising(25),
    _deblocking("h264", "crf", 37, "x264 at crf 37, preset medium"),
    _deblocking("jpeg2000", "q", 40, "FFmpeg's JPEG 2000 at -q:v 40"),
    _deblocking("jpeg2000", "q", 20, "FFmpeg's JPEG 2000 at -q:v 20"),
    _enlargement("bi", "MATLAB's bicubic (BI)"),
    _enlargement("bd", "a Gaussian blur of sigma 1.6, then the first pixel of every 4 (BD)"),
)
PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _ALL}
