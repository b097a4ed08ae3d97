"""Speed of the operators, each beside its alternatives in one run: python benchmarks/ops.py [--smoke] [--seconds S]

Writes results/bench/ops.json and ops.md. All times are medians in milliseconds. The candidates of a row take turns, so
that whatever else the machine does hits them alike; a row is repeated while other processes take part of its time.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from importlib import import_module
from math import prod
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from refilm import ops
from refilm.layers.conv3d import conv3d
from refilm.models import create_model
from refilm.ops import native
from refilm.ops.flow_projection import reference as flow_projection
from refilm.ops.ls3d_conv import op as ls3d_op

LAST = torch.channels_last_3d
ROOT = Path(__file__).parent.parent
TRIES = 2
QUIET = 0.05  # share of the machine that other processes may take before a row is repeated
SHAPES = [
    ((1, 64, 4, 64, 112), (3, 3, 3)),
    ((1, 64, 8, 64, 112), (3, 3, 3)),
    ((1, 32, 4, 180, 320), (3, 3, 3)),
    ((1, 128, 8, 28, 28), (3, 3, 3)),
    ((1, 256, 8, 14, 14), (3, 1, 1)),
]
BARS = {
    "forward": "<= 1.4 (C >= 64), <= 1.6 (C = 32)",
    "both": "<= 1.6",
    "bf16": ">= 1.6",
    "torch": ">= 8 large, >= 2 small",
    "model": ">= 3",
}
# For an operator on maps: how many times as fast as its reference, forward, and forward with backward.
MAP_BARS: dict[str, tuple[int, int | None]] = {
    "adaptive_warp": (10, 6),
    "flow_projection": (15, None),
    "correlation": (8, None),
    "dynamic_filter": (3, None),
    "backward_warp": (3, None),
}


@dataclass(frozen=True)
class Row:
    """One operator at one shape; `ms` by candidate, `disturbed` the share of CPU time that went to other processes."""

    op: str
    shape: tuple[int, ...]
    kernel: tuple[int, ...] | None
    ms: dict[str, float]
    gflop: float | None
    disturbed: float


def cpu_seconds() -> tuple[float, float]:
    """(CPU time all processes have used, CPU time this one has used), seconds; (0, 0) where /proc is missing."""
    try:
        ticks = [int(v) for v in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    except OSError:
        return 0.0, 0.0
    user, nice, system, _, _, irq, softirq, steal = ticks
    return (user + nice + system + irq + softirq + steal) / 100, time.process_time()


def take_turns(
    candidates: dict[str, Callable[[], object]], seconds: float, far: float = 5
) -> tuple[dict[str, float], float]:
    """Median ms of each candidate, and the share of the machine that others took meanwhile. The least disturbed of a
    few tries counts. A candidate that is `far` times slower than the best gets one turn only."""
    best: tuple[float, dict[str, float]] | None = None
    first: dict[str, float] = {}
    for name, run in candidates.items():
        run()
        began = time.perf_counter()
        run()
        first[name] = 1e3 * (time.perf_counter() - began)
    # one turn more says enough about a candidate that is far behind
    close = {name for name in candidates if first[name] <= far * min(first.values())}
    for _ in range(TRIES):
        times: dict[str, list[float]] = {name: [] for name in candidates}
        (all_before, own_before), start = cpu_seconds(), time.perf_counter()
        while time.perf_counter() - start < seconds or max(map(len, times.values())) < 3:
            for name, run in candidates.items():
                if name in close or not times[name]:
                    began = time.perf_counter()
                    run()
                    times[name].append(1e3 * (time.perf_counter() - began))
        (all_after, own_after), wall = cpu_seconds(), time.perf_counter() - start
        others = max(0.0, all_after - all_before - (own_after - own_before)) / (wall * torch.get_num_threads())
        medians = {name: statistics.median(t) for name, t in times.items()}
        if best is None or others < best[0]:
            best = others, medians
        if others < QUIET:
            break
    assert best is not None
    return best[1], round(best[0], 3)


def peak_gflops() -> float:
    """What a float32 matrix product reaches on all threads with its data in the first cache, GFLOP/s: the ceiling."""
    if native.module is None:
        return float("nan")
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        done = native.module.multiply_add(native.isas[0], 200_000, torch.get_num_threads())
        best = max(best, done / (time.perf_counter() - start) / 1e9)
    return best


def grid_sample_form(x: Tensor, weight: Tensor, offset: Tensor, importance: Tensor) -> Tensor:
    """LS3D-Conv in pure torch, the fastest form found: one grid_sample for each plane of taps, one matrix product."""
    (n, c, t, h, w), (o, _, kt, kh, kw) = x.shape, weight.shape
    area = kh * kw
    pairs = offset.view(n, kt * area, 2, t, h, w)
    tap = torch.arange(kt * area)
    rows = (tap // kw % kh - kh // 2).view(1, -1, 1, 1, 1) + torch.arange(h).view(1, 1, 1, h, 1)
    columns = (tap % kw - kw // 2).view(1, -1, 1, 1, 1) + torch.arange(w).view(1, 1, 1, 1, w)
    grid = torch.stack([((pairs[:, :, 1] + columns) * 2 + 1) / w - 1, ((pairs[:, :, 0] + rows) * 2 + 1) / h - 1], -1)
    padded = F.pad(x, (0, 0, 0, 0, kt // 2, kt // 2))
    sampled = []
    for z in range(kt):
        frames = padded[:, :, z : z + t].transpose(1, 2).reshape(n * t, c, h, w)
        where = grid[:, z * area : (z + 1) * area].transpose(1, 2).reshape(n * t, area * h, w, 2)
        m = importance[:, z * area : (z + 1) * area].transpose(1, 2).reshape(n * t, 1, area, h * w)
        sampled.append(F.grid_sample(frames, where, align_corners=False).view(n * t, c, area, h * w) * m)
    column = torch.stack(sampled, 2).view(n * t, c * kt * area, h * w)
    return torch.matmul(weight.view(o, -1), column).view(n, t, o, h, w).transpose(1, 2)


def deform_conv2d_form(x: Tensor, weight: Tensor, offset: Tensor, importance: Tensor) -> Tensor:
    """The same from torchvision's deform_conv2d, one call for each plane of taps."""
    from torchvision.ops import deform_conv2d

    (n, _, t, h, w), (o, _, kt, kh, kw) = x.shape, weight.shape
    area, total = kh * kw, torch.zeros(n, o, t, h, w)
    for z in range(kt):
        shift = z - kt // 2
        first, last = max(0, -shift), min(t, t - shift)

        def flat(a: Tensor, start: int, stop: int) -> Tensor:
            return a[:, :, start:stop].transpose(1, 2).flatten(0, 1)

        result = deform_conv2d(
            flat(x, first + shift, last + shift),
            flat(offset[:, 2 * z * area : 2 * (z + 1) * area], first, last),
            weight[:, :, z],
            padding=(kh // 2, kw // 2),
            mask=flat(importance[:, z * area : (z + 1) * area], first, last),
        )
        total[:, :, first:last] += result.view(n, last - first, o, h, w).transpose(1, 2)
    return total


def has_torchvision() -> bool:
    try:
        from torchvision.ops import deform_conv2d  # noqa: F401
    except (ImportError, RuntimeError):
        return False
    return True


def ls3d_row(shape: tuple[int, ...], kernel: tuple[int, int, int], seconds: float) -> list[Row]:
    """Forward, and forward with backward, channels last; offsets with sigma 1.5 px, which is bad for caches."""
    n, c, t, h, w = shape
    taps, padding = prod(kernel), tuple(k // 2 for k in kernel)
    g = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=g).contiguous(memory_format=LAST)
    weight = torch.randn(c, c, *kernel, generator=g) / (c * taps) ** 0.5
    offset = torch.randn(n, 2 * taps, t, h, w, generator=g) * 1.5
    importance = torch.rand(n, taps, t, h, w, generator=g)
    grad = torch.randn(shape, generator=g).contiguous(memory_format=LAST)
    dense_weight = weight.contiguous(memory_format=LAST)
    half, half_weight = x.bfloat16(), weight.bfloat16()
    plain, one = x.contiguous(), (1, 1, 1)

    forward: dict[str, Callable[[], object]] = {
        "refilm": lambda: ops.ls3d_conv(x, weight, offset, importance, padding=padding),
        "refilm, contiguous": lambda: ops.ls3d_conv(plain, weight, offset, importance, padding=padding),
        "refilm, bf16": lambda: ops.ls3d_conv(half, half_weight, offset, importance, padding=padding),
        "dense conv (oneDNN)": lambda: torch.ops.aten.mkldnn_convolution(x, dense_weight, None, padding, one, one, 1),
        "dense conv (F.conv3d)": lambda: F.conv3d(plain, weight, None, padding=padding),
        "grid_sample": lambda: grid_sample_form(plain, weight, offset, importance),
    }
    leaves = [
        a.detach().clone(memory_format=torch.preserve_format).requires_grad_() for a in (x, weight, offset, importance)
    ]
    plain_leaf, last_weight = plain.clone().requires_grad_(), dense_weight.clone().requires_grad_()
    plain_grad = grad.contiguous()

    def both(run: Callable[[], Tensor], inputs: list[Tensor], of: Tensor) -> Callable[[], object]:
        return lambda: torch.autograd.grad(run(), inputs, of)

    twice: dict[str, Callable[[], object]] = {
        "refilm": both(lambda: ops.ls3d_conv(*leaves, padding=padding), leaves, grad),
        "dense conv (oneDNN)": both(
            lambda: conv3d(leaves[0], last_weight, None, padding=padding), [leaves[0], last_weight], grad
        ),
        "dense conv (F.conv3d)": both(
            lambda: F.conv3d(plain_leaf, leaves[1], None, padding=padding), [plain_leaf, leaves[1]], plain_grad
        ),
        "grid_sample": both(lambda: grid_sample_form(plain_leaf, *leaves[1:]), [plain_leaf, *leaves[1:]], plain_grad),
    }
    if has_torchvision():
        forward["deform_conv2d"] = lambda: deform_conv2d_form(plain, weight, offset, importance)
        twice["deform_conv2d"] = both(
            lambda: deform_conv2d_form(plain_leaf, *leaves[1:]), [plain_leaf, *leaves[1:]], plain_grad
        )
    # taps beyond the first and last frame cost nothing, for a dense convolution in oneDNN neither
    planes = sum(0 <= i + k - padding[0] < t for i in range(t) for k in range(kernel[0]))
    gflop = 2 * n * planes * h * w * c * c * kernel[1] * kernel[2] / 1e9
    rows = []
    for op, candidates, times in (("ls3d_conv", forward, 1), ("ls3d_conv + backward", twice, 3)):
        with torch.set_grad_enabled(times == 3):
            ms, disturbed = take_turns(candidates, seconds)
        rows.append(Row(op, shape, kernel, ms, gflop * times, disturbed))
    return rows


def index_put_form(flow: Tensor, weight: Tensor) -> Tensor:
    """The flow of flow_projection as its reference made it when the bar was set: with atomics, in any order."""
    n, _, height, width = flow.shape
    u, v = torch.arange(width) + flow[:, 0], torch.arange(height)[:, None] + flow[:, 1]
    lands = (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)
    left, top = (torch.where(lands, p, 0).detach().floor().long() for p in (u, v))
    batch = torch.arange(n).view(-1, 1, 1).expand(left.shape)
    thrown = torch.cat([-flow * weight, weight], dim=1).permute(0, 2, 3, 1)
    landed = torch.zeros_like(thrown, memory_format=torch.contiguous_format)
    for y, x in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        inside = lands & (y < height) & (x < width)
        landed = landed.index_put((batch[inside], y[inside], x[inside]), thrown[inside], accumulate=True)
    total, weights = landed.permute(0, 3, 1, 2).split((2, 1), dim=1)
    mean = total / torch.where(weights > 0, weights, 1)
    return torch.where(weights > 0, mean, flow_projection.nearest_mean(mean.detach(), weights > 0))


def map_rows(seconds: float, smoke: bool) -> list[Row]:
    """The operators on maps beside their references, at one usual size each; first forward, then with backward."""
    h, w = (32, 48) if smoke else (270, 480)
    frame, features = torch.rand(1, 3, h, w), torch.randn(1, 64, h // 4, w // 4)
    flow = torch.randn(1, 2, h, w) * 3
    inputs: dict[str, tuple[Tensor, ...]] = {
        "adaptive_warp": (frame, flow, torch.rand(1, 16, h, w)),
        "flow_projection": (flow, torch.ones(1, 1, h, w)),
        "correlation": (features, features.roll(1, -1)),
        "dynamic_filter": (frame[..., : h // 4, : w // 4].contiguous(), torch.rand(1, 25, 16, h // 4, w // 4)),
        "backward_warp": (frame, flow),
    }
    rows = []
    for name in MAP_BARS:
        reference = getattr(import_module(f"refilm.ops.{name}.reference"), name)
        numbers = (4,) if name == "correlation" else ()
        for op, backward in ((name, False), (f"{name} + backward", True)):
            leaves = [t.clone().requires_grad_(backward) for t in inputs[name]]
            candidates: dict[str, Callable[[], object]] = {}
            runs = {"refilm": getattr(ops, name), "reference": reference}
            if name == "flow_projection":
                runs["index_put"] = index_put_form
            for who, run in runs.items():

                def call(run: Callable = run, leaves=leaves, numbers=numbers, backward: bool = backward) -> object:
                    out = run(*leaves, *numbers)
                    out = out if isinstance(out, Tensor) else out[0]
                    return torch.autograd.grad(out, leaves, torch.ones_like(out)) if backward else out

                candidates[who] = call
            ms, disturbed = take_turns(candidates, seconds, far=100)
            rows.append(Row(op, tuple(inputs[name][0].shape), None, ms, None, disturbed))
    return rows


def off_row(seconds: float, smoke: bool) -> list[Row]:
    """`off` has no kernel, so the alternative is torch.compile of it."""
    features = torch.randn(1, 64, 8, 12) if smoke else torch.randn(1, 64, 67, 120)
    leaves = [t.clone().requires_grad_() for t in (features, features.roll(1, -1))]
    inputs = [t.detach() for t in leaves]
    compiled = torch.compile(ops.off)
    ms, disturbed = take_turns(
        {
            "refilm": lambda: ops.off(*inputs),
            "refilm, both ways": lambda: torch.autograd.grad(ops.off(*leaves).sum(), leaves),
            "torch.compile": lambda: compiled(*inputs),
        },
        seconds,
    )
    return [Row("off", tuple(features.shape), None, ms, None, disturbed)]


def conv3d_rows(seconds: float, shapes: list[tuple[int, ...]]) -> list[Row]:
    """`refilm.layers.conv3d` beside `F.conv3d` where PyTorch leaves oneDNN, both ways, channels last."""
    rows = []
    for shape in shapes:
        x = torch.randn(shape).contiguous(memory_format=LAST).requires_grad_()
        weight = torch.randn(shape[1], shape[1], 3, 3, 3).requires_grad_()
        grad = torch.randn(shape).contiguous(memory_format=LAST)
        for op, backward in (("conv3d", False), ("conv3d + backward", True)):
            candidates: dict[str, Callable[[], object]] = {}
            for name, run in (("refilm", conv3d), ("F.conv3d", F.conv3d)):

                def call(run: Callable = run, x=x, weight=weight, grad=grad, backward=backward) -> object:
                    with torch.set_grad_enabled(backward):
                        out = run(x, weight, None, padding=(1, 1, 1))
                        return torch.autograd.grad(out, (x, weight), grad) if backward else out

                candidates[name] = call
            ms, disturbed = take_turns(candidates, seconds)
            rows.append(Row(op, shape, (3, 3, 3), ms, None, disturbed))
    return rows


def model_rows(seconds: float, size: tuple[int, int]) -> list[Row]:
    """The whole of vi-ls3d-small on two frames: with everything here, and on the references."""
    model, clip = create_model("vi-ls3d-small"), torch.rand(1, 3, 2, *size)

    def call(*without: Callable[[], AbstractContextManager]) -> Callable[[], object]:
        def run() -> object:
            with torch.inference_mode(), ExitStack() as stack:
                for make in without:
                    stack.enter_context(make())
                return model.network(clip)

        return run

    def no_kernel() -> AbstractContextManager:
        return ls3d_op._op.set_kernel_enabled("cpu", False)

    def no_onednn() -> AbstractContextManager:
        return mock.patch("refilm.layers.conv3d.HAS_ONEDNN", False)

    ms, disturbed = take_turns(
        {
            "refilm": call(),
            "reference of LS3D-Conv": call(no_kernel),
            "that, and F.conv3d": call(no_kernel, no_onednn),
        },
        seconds,
    )
    return [Row("vi-ls3d-small", tuple(clip.shape), None, ms, None, disturbed)]


def table(rows: list[Row], peak: float) -> str:
    """The Markdown page."""
    lines = [
        "# Operators",
        f"`python benchmarks/ops.py` on {torch.get_num_threads()} threads, torch {torch.__version__}, kernels: "
        f"{native.isas[0] if native.isas else 'none'}; measured peak {peak:.0f} GFLOP/s in float32. Medians in ms; "
        '"others" is the share of the machine that other processes took while a row was measured.',
        "",
        "## LS3D-Conv, channels last, offsets with sigma 1.5 px",
        "Bars: forward / dense "
        + BARS["forward"]
        + "; forward + backward / dense "
        + BARS["both"]
        + "; bf16 / fp32 "
        + BARS["bf16"]
        + "; pure torch / refilm "
        + BARS["torch"]
        + ". Dense is oneDNN in channels last.",
        "",
        "| op | shape, kernel | ms | dense ms | ratio | GFLOP/s | of peak | pure torch / refilm "
        "| deform_conv2d / refilm | bf16 speed-up | contiguous / channels last | others |",
        "|" + "---|" * 12,
    ]
    for r in (r for r in rows if r.op.startswith("ls3d")):
        mine, dense = r.ms["refilm"], r.ms["dense conv (oneDNN)"]
        rate = r.gflop / mine * 1e3 if r.gflop else 0.0

        def ratio(name: str, r: Row = r, mine: float = mine, turned: bool = False) -> str:
            if name not in r.ms:
                return "-"
            return f"{mine / r.ms[name] if turned else r.ms[name] / mine:.2f}"

        lines.append(
            f"| {r.op} | {r.shape}, {r.kernel} | {mine:.1f} | {dense:.1f} | {mine / dense:.2f} | {rate:.0f} | "
            f"{100 * rate / peak:.0f} % | {ratio('grid_sample')} | {ratio('deform_conv2d')} | "
            f"{ratio('refilm, bf16', turned=True)} | {ratio('refilm, contiguous')} | {100 * r.disturbed:.0f} % |"
        )
    lines += [
        "",
        "## Whole model",
        "References / refilm, all of them (LS3D-Conv's and F.conv3d): bar " + BARS["model"] + ".",
        "",
        "| model | clip | refilm ms | reference of LS3D-Conv / refilm | that, and F.conv3d / refilm | others |",
        "|" + "---|" * 6,
    ]
    for r in (r for r in rows if r.op.startswith("vi-")):
        mine, *others = r.ms.values()
        ratios = " | ".join(f"{ms / mine:.2f}" for ms in others)
        lines.append(f"| {r.op} | {r.shape} | {mine:.0f} | {ratios} | {100 * r.disturbed:.0f} % |")
    lines += map_table(rows)
    lines += ["", "## The rest", "| op | shape | ms | others |", "|---|---|---|---|"]
    for r in (r for r in rows if not r.op.startswith(("ls3d", "vi-", *MAP_BARS))):
        times = ", ".join(f"{name} {ms:.2f}" for name, ms in r.ms.items())
        lines.append(f"| {r.op} | {r.shape} | {times} | {100 * r.disturbed:.0f} % |")
    return "\n".join(lines) + "\n"


def map_table(rows: list[Row]) -> list[str]:
    lines = [
        "",
        "## Operators on maps",
        "The ratio is reference / refilm; the references are plain torch. That of flow_projection has been made faster "
        "since its bar was set; `index_put` is as it was, and counts for the bar. The flow is normal with sigma 3 px, "
        "the radius of correlation 4, the kernels of adaptive_warp are 4 x 4, the filters of dynamic_filter 5 x 5, x4.",
        "",
        "| op | shape | index_put ms | reference ms | refilm ms | ratio | bar | others |",
        "|" + "---|" * 8,
    ]
    for r in (r for r in rows if r.op.startswith(tuple(MAP_BARS))):
        before = r.ms.get("index_put", r.ms["reference"])
        name, *both = r.op.split(" + ")
        bar = MAP_BARS[name][len(both)]
        ratio, unordered = before / r.ms["refilm"], f"{before:.2f}" if "index_put" in r.ms else "-"
        lines.append(
            f"| {r.op} | {r.shape} | {unordered} | {r.ms['reference']:.2f} | {r.ms['refilm']:.2f} | {ratio:.1f} | "
            f"{f'>= {bar}' if bar else '-'} | {100 * r.disturbed:.0f} % |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--smoke", action="store_true", help="tiny shapes; checks that the benchmark runs, writes nothing"
    )
    parser.add_argument("--seconds", type=float, default=2.5, help="time for each row")
    options = parser.parse_args()
    seconds = 0.01 if options.smoke else options.seconds
    shapes = [((1, 8, 2, 6, 10), (3, 3, 3)), ((1, 16, 3, 5, 5), (3, 1, 1))] if options.smoke else SHAPES
    torch.manual_seed(0)
    peak, rows = 0.0, []
    for part in (
        *(lambda s=s, k=k: ls3d_row(s, k, seconds) for s, k in shapes),
        lambda: conv3d_rows(seconds / 2, [(1, 8, 2, 6, 10)] if options.smoke else [(1, 64, 2, 64, 112), SHAPES[0][0]]),
        lambda: map_rows(seconds / 2, options.smoke),
        lambda: off_row(seconds / 5, options.smoke),
        lambda: model_rows(seconds, (32, 48) if options.smoke else (360, 640)),
    ):
        rows += part()
        peak = max(peak, peak_gflops())  # again and again: a disturbed measurement is too low
        # after each part, so that a run that is cut short leaves what it found
        if not options.smoke:
            write(rows, peak)
    print(table(rows, peak))


def write(rows: list[Row], peak: float) -> None:
    """results/bench/ops.json and ops.md."""
    folder = ROOT / "results" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "isa": native.isas[:1],
        "peak_gflops": peak,
        "rows": [asdict(r) for r in rows],
    }
    (folder / "ops.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / "ops.md").write_text(table(rows, peak))


if __name__ == "__main__":
    main()
