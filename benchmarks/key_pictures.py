"""What codes the key pictures of `refilm encode` best: bits at equal PSNR, and time.

    python benchmarks/key_pictures.py FOLDER    # writes results/bench/key_pictures.json and key_pictures.md

FOLDER   clips, of which the first frames are coded

The last line says which crfs of SVT-AV1 give the PSNR of crfs of x265, for `SAME_PSNR` of `refilm.video.key_pictures`.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from refilm.evaluation.evaluate import find_clips
from refilm.evaluation.metrics import psnr_db
from refilm.evaluation.rate_distortion import bd_rate
from refilm.video import Frame
from refilm.video.decoder import Decoder
from refilm.video.key_pictures import AV1, HEVC, Intra, decode_picture, encode_picture

RESULTS = Path(__file__).parents[1] / "results" / "bench"
CRFS = 14, 17, 20, 24, 28, 32, 36, 40
OWN_CRFS = 2, 4, 7, 11, 16, 22, 29, 37, 46, 55  # of SVT-AV1, for about the same pictures
AS_SHIPPED = "x265, slow, tuned for PSNR", "SVT-AV1, preset 2"


def _x265(preset: str, tune: str | None) -> Intra:
    def options(crf: float, effort: int) -> dict[str, str]:
        base = {key: value for key, value in HEVC.options(crf, effort).items() if key != "tune"}
        return base | {"preset": preset} | ({"tune": tune} if tune else {})

    return replace(HEVC, options=options)


def _svt(preset: int) -> Intra:
    def options(crf: float, effort: int) -> dict[str, str]:
        return {**AV1.options(crf, effort), "preset": str(preset), "crf": str(int(crf))}

    return replace(AV1, options=options)


CONTENDERS: dict[str, tuple[Intra, Sequence[int]]] = {
    "x265, slow": (_x265("slow", None), CRFS),
    AS_SHIPPED[0]: (HEVC, CRFS),
    "x265, veryslow, tuned for PSNR": (_x265("veryslow", "psnr"), CRFS),
    "SVT-AV1, preset 4": (_svt(4), OWN_CRFS),
    AS_SHIPPED[1]: (_svt(2), OWN_CRFS),
    "SVT-AV1, preset 1": (_svt(1), OWN_CRFS),
    "SVT-AV1, preset 0": (_svt(0), OWN_CRFS),
    "SVT-AV1, preset -1": (_svt(-1), OWN_CRFS),
}


def first_frame(path: Path) -> Frame:
    return next(iter(Decoder(path, None, on_packet=lambda: None).frames(None)))[0]


def point(frame: Frame, intra: Intra, crf: float) -> tuple[float, float, float]:
    """-> (bytes, PSNR of RGB, seconds of processor time)"""
    began = time.process_time()
    data = encode_picture(frame.planes, frame.format, crf, intra)
    seconds = time.process_time() - began
    planes = decode_picture(data, frame.format, frame.height, frame.width, intra)
    return len(data), psnr_db(replace(frame, planes=planes).rgb, frame.rgb), seconds


def measured(frames: dict[str, Frame]) -> dict[str, Any]:
    """By contender: BD-rate in % against the first one for each frame, seconds a picture, and its mean curve."""
    found: dict[str, Any] = {}
    anchors: dict[str, list[tuple[float, float]]] = {}
    for name, (intra, crfs) in CONTENDERS.items():
        curves = {clip: [point(frame, intra, crf) for crf in crfs] for clip, frame in frames.items()}
        for clip, curve in curves.items():
            anchors.setdefault(clip, [(size, psnr) for size, psnr, _ in curve])
        found[name] = {
            "bd_rate": {
                clip: bd_rate([size for size, _, _ in curve], [psnr for _, psnr, _ in curve], anchors[clip])
                for clip, curve in curves.items()
            },
            "seconds": statistics.mean(seconds for curve in curves.values() for _, _, seconds in curve),
            "psnr_db": [statistics.mean(curve[n][1] for curve in curves.values()) for n in range(len(crfs))],
        }
        print(name, found[name], flush=True)
    return found


def same_psnr(found: dict[str, Any]) -> list[tuple[int, float]]:
    """Crfs of x265, and those of SVT-AV1 with the same mean PSNR."""
    of_x265, of_svt = (found[name]["psnr_db"] for name in AS_SHIPPED)
    same = np.interp(of_x265, of_svt[::-1], OWN_CRFS[::-1])
    return [(crf, round(float(own), 1)) for crf, own in zip(CRFS, same, strict=True)]


def table(found: dict[str, Any], frames: dict[str, Frame], same: list[tuple[int, float]]) -> str:
    """The Markdown page."""
    first = next(iter(frames.values()))
    lines = [
        "# Key pictures",
        "",
        f"Written by `benchmarks/key_pictures.py`: the first frames of {len(frames)} clips of {first.width}x"
        f"{first.height}. BD-rate: bits at equal PSNR of RGB, relative to the first row; the mean, and the range over "
        f"clips. Seconds are processor time of one picture, on {platform.processor() or platform.machine()}.",
        "",
        "| encoder | BD-rate, % | from ... to | seconds |",
        "| --- | --- | --- | --- |",
    ]
    for name, row in found.items():
        rates = list(row["bd_rate"].values())
        span = f"{min(rates):+.1f} ... {max(rates):+.1f}"
        lines.append(f"| {name} | {statistics.mean(rates):+.1f} | {span} | {row['seconds']:.2f} |")
    pairs = ", ".join(f"{crf}: {own:g}" for crf, own in same)
    lines += ["", f"Crfs of x265, and those of SVT-AV1 at the same PSNR: {pairs}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    frames = {clip.source: first_frame(clip.files[0]) for clip in find_clips(Path(sys.argv[1]))}
    found = measured(frames)
    same = same_psnr(found)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "key_pictures.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "key_pictures.md").write_text(table(found, frames, same))
    print(table(found, frames, same))


if __name__ == "__main__":
    main()
