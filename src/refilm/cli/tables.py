"""The tables that `probe`, `enhance`, `compare`, `models` and `doctor` print."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

import refilm
from refilm.jobs.in_words import rough_time
from refilm.models import MODELS, list_models
from refilm.models.defaults import default_models, read_results, results_folder
from refilm.tasks import TASKS

if TYPE_CHECKING:
    from refilm.comparison.comparison import Comparison
    from refilm.jobs.analysis import Analysis
    from refilm.video import VideoInfo

_ENCODERS = ("libx264", "libx265", "libsvtav1", "libvpx-vp9", "ffv1", "prores_ks")


def plain(content: Any) -> Any:
    """Convert dataclasses and their contents to JSON's types; fractions become text such as "30000/1001"."""
    if is_dataclass(content) and not isinstance(content, type):
        return plain(asdict(content))
    if isinstance(content, dict):
        return {key: plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    return str(content) if isinstance(content, Fraction | Path) else content


def video_table(info: VideoInfo) -> Table:
    said = {key: value or "not said" for key, value in info.tags.named().items()}
    read_as = info.colour
    rows: list[tuple[str, str]] = [
        ("container", info.container),
        ("video", f"stream {info.video_index}, {info.codec}, {info.width}x{info.height}, {info.pix_fmt}"),
        ("frame rate", f"{float(info.frame_rate):.3f} ({info.frame_rate}), clock of {info.time_base} s"),
        ("frames", "not declared" if info.frames is None else str(info.frames)),
        ("start", f"{float(info.start_time):.3f} s"),
        ("duration", "not declared" if info.duration is None else f"{float(info.duration):.3f} s"),
        ("pixel shape", f"{info.sample_aspect_ratio.numerator}:{info.sample_aspect_ratio.denominator}"),
        ("rotation", f"{info.rotation} degrees"),
        ("colour, as tagged", ", ".join(f"{key} {value}" for key, value in said.items())),
        (
            "colour, as read",
            ", ".join(f"{key} {getattr(read_as, key)}" for key in said),
        ),
        *_light_rows(info),
        ("interlaced", "yes" if info.interlaced else "no"),
        *(("not carried over", words) for words in info.not_carried),
        ("chapters", str(info.chapters)),
        *(("beside it", str(other)) for other in info.others),
    ]
    return _two_columns(str(info.path), rows)


def _light_rows(info: VideoInfo) -> list[tuple[str, str]]:
    rows = []
    if (display := info.mastering_display) is not None:
        rows.append(("graded on", f"{float(display.darkest):g} to {float(display.brightest):g} cd/m2"))
    if (light := info.content_light) is not None:
        rows.append(("brightest", f"pixel {light.brightest_pixel}, frame {light.brightest_frame} cd/m2"))
    return rows


def comparison_table(found: Comparison) -> Table:
    def figures(values: dict[str, float | None], digits: int, no_error: str) -> str:
        return ", ".join(
            f"{name} {no_error if value is None else format(value, f'.{digits}f')}" for name, value in values.items()
        )

    rows = [("frames", f"{found.matched} in both, {found.identical} of them identical")]
    for name, account in (("a", found.a), ("b", found.b)):
        times = ", ".join(f"{time:.3f}" for time in account.unmatched_times)
        more = ", ..." if account.unmatched > len(account.unmatched_times) else ""
        alone = f", {account.unmatched} not in the other (at {times}{more} s)" if account.unmatched else ""
        rows.append(
            (name, f"{account.path}: {account.frames} frames, {account.start:.3f} to {account.end:.3f} s{alone}")
        )
    changes = ", ".join(f"{name} {change:+.3f}" for name, change in found.level_change.items())
    worst = "identical" if found.worst_psnr_db is None else f"{found.worst_psnr_db:.2f} dB"
    rows += [
        ("PSNR, dB", f"{figures(found.psnr_db, 2, 'infinite')} (as FFmpeg's psnr, on {found.compared_as})"),
        ("SSIM", f"{figures(found.ssim, 4, 'too small')} (as FFmpeg's ssim)"),
        *([] if found.vmaf is None else [("VMAF", f"{found.vmaf:.2f} of 100, b against a")]),
        ("mean level", f"b less a: {changes} of 255"),
        ("worst frame", f"at {found.worst_time:.3f} s, {worst}"),
        *(("differs", warning) for warning in found.warnings),
    ]
    return _two_columns("refilm compare", rows)


def models_with_figures(pattern: str) -> list[dict[str, Any]]:
    """One record per model: task, weight file, whether it is the default, and its figures in results/."""
    records = []
    defaults = default_models(results_folder()).values()
    measured = {result["model"]: result["protocols"] for result in read_results(results_folder())}
    for name in list_models(pattern):
        task = MODELS[name].task
        mean = measured.get(name, {}).get(TASKS[task].protocol, {}).get("mean", {})
        records.append(
            {
                "name": name,
                "task": task,
                "weights": MODELS[name].weights,
                "default": name in defaults,
                "protocol": TASKS[task].protocol,
                "figure": TASKS[task].figure.title,
                "value": mean.get(TASKS[task].figure.key),
                "psnr_db": mean.get("psnr_db"),
                "ssim": mean.get("ssim"),
            }
        )
    return records


def models_table(records: list[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="dim")
    for title in ("model", "task", "figure", "mean", "SSIM", ""):
        table.add_column(title)
    for record in records:
        task, ssim = TASKS[record["task"]], record["ssim"]
        table.add_row(
            record["name"],
            record["task"],
            task.figure.title,
            "not measured" if record["value"] is None else task.figure.shown(record["value"]),
            "" if ssim is None else f"{ssim:.4f}",
            "used unless --model says otherwise" if record["default"] else "",
        )
    return table


def examine() -> dict[str, Any]:
    """What a bug report should say about the installation, by name."""
    import cv2
    import numpy as np
    import torch

    from refilm.ops import kernels
    from refilm.ops.native import fast_bfloat16
    from refilm.video.encoder_trial import hardware_encoders, try_encoders
    from refilm.video.ffmpeg import has_encoder, library_versions, pyav_version

    encoders = {name: "not in this FFmpeg" for name in _ENCODERS if not has_encoder(name)}
    encoders |= try_encoders(name for name in (*_ENCODERS, *hardware_encoders()) if name not in encoders)
    return {
        "refilm": refilm.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        "devices": ["cpu", *(f"cuda:{n} {torch.cuda.get_device_name(n)}" for n in range(torch.cuda.device_count()))],
        "bfloat16": f"faster, by {name}" if (name := fast_bfloat16()) else "not faster than float32 on this CPU",
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "pyav": pyav_version(),
        "ffmpeg": library_versions(),
        "encoders": encoders,
        "kernels": [plain(kernel) for kernel in kernels()],
    }


def doctor_table(found: dict[str, Any]) -> Table:
    rows = [(key, found[key]) for key in ("refilm", "python", "system", "torch", "bfloat16", "numpy", "opencv", "pyav")]
    rows += [("device", device) for device in found["devices"]]
    rows.append(("ffmpeg", ", ".join(f"{name} {number}" for name, number in found["ffmpeg"].items())))
    rows += [("encoder", f"{name}: {state}") for name, state in found["encoders"].items()]
    rows += [("operator", " ".join(str(value) for value in kernel.values() if value)) for kernel in found["kernels"]]
    return _two_columns("refilm doctor", rows)


def analysis_table(found: Analysis) -> Table:
    from refilm.jobs.analysis import flags  # loads PyAV and OpenCV

    coding = "not known" if found.coding is None else f"{found.coding:.0%}"
    moving = f"in {found.moving:.0%} of the frames"
    if found.repeated:
        moving += f"; {found.repeated:.0%} of these repeat the one before"
    rows = [
        ("looked at", f"{found.frames_seen} frames at {found.places} places, {found.cuts} cuts among them"),
        ("noise", f"{found.noise:.1f} of 255"),
        ("damage", f"{coding} by compression"),
        ("motion", moving),
    ]
    if found.telecined or found.woven:
        rows.append(
            ("lines", f"of two pictures in {found.telecined:.0%}, of two moments in {found.woven:.0%} of frames")
        )
    rows += [("proposed", f"{' '.join(flags({k: found.wanted[k]}))}: {reason}") for k, reason in found.reasons.items()]
    if found.first is None and not found.wanted:
        rows.append(("proposed", "nothing: the film looks clean"))
    if found.optional:
        rows.append(("if you like", f"{' '.join(flags(found.optional))}: smoother motion, which is a matter of taste"))
    if found.seconds is not None:
        rows.append(("takes", rough_time(found.seconds) + " for the whole film"))
    return _two_columns("what refilm sees", rows)


def _two_columns(title: str, rows: Iterable[tuple[str, str]]) -> Table:
    table = Table(show_header=False, box=None, title=title, title_justify="left", title_style="bold")
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
