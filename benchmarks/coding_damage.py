"""Train the small network that tells how strongly compression has damaged a picture (`refilm.models.coding_damage`).

    python benchmarks/coding_damage.py OUT_FOLDER FOLDER ...

FOLDER   holds clean films: short scenes, or numbered sharp photographs, moved by fractions of a pixel as a film

A part of each film is taken as it is, softened, sharpened or with noise, none of which is damage, and compressed. So
are drawings, since their even areas look like those that a codec leaves. What is learned is the strength of deblocking
with the best PSNR for a codec and a quality, as measured with vdb-ls3d-small. One film of ten is kept aside, to measure
on.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from refilm.data.degradations import compress, gaussian_noise
from refilm.data.pack import read_clip
from refilm.models.coding_damage import CodingDamage, detail_of, luma_of
from refilm.weights import Weights, save_weights

FRAMES, SIDE, VARIANTS = 5, 256, 8
DRAWN = 5  # films for each drawing
HARMLESS = 1.0  # root mean square change, in 8-bit levels, below which nothing has to be restored, as on even areas
# The best strength at some qualities of each codec; in proportion between them.
STRENGTHS = {
    "h264": {17: 0.27, 22: 0.45, 27: 0.68, 32: 0.95, 37: 1.0, 42: 1.0},
    "hevc": {17: 0.2, 22: 0.29, 27: 0.5, 32: 0.76, 37: 1.0, 42: 1.0},
    "mpeg2": {2: 0.23, 4: 0.44, 7: 0.68, 14: 1.0, 24: 1.0},
    "mpeg4": {2: 0.19, 4: 0.41, 7: 0.7, 14: 1.0, 24: 1.0},
    "jpeg2000": {5: 0.56, 10: 0.75, 20: 0.94, 40: 1.0},
    "jpeg": {40: 0.9, 70: 0.6, 92: 0.1},
}
SHARES = {"": 0.3, "h264": 0.22, "hevc": 0.18, "mpeg2": 0.07, "mpeg4": 0.07, "jpeg2000": 0.1, "jpeg": 0.06}
BATCH, STEPS, RATE = 16, 6000, 3e-3


def variants(clip: Tensor) -> Iterator[tuple[float, Tensor]]:
    """(strength that suits it, a frame of the clip in one quality, its luma [1, H, W])"""
    for _ in range(VARIANTS):
        shown = _changed(clip)
        frame = random.randrange(FRAMES)
        (codec,) = random.choices(list(SHARES), list(SHARES.values()))
        if not codec:
            yield 0.0, luma_of(shown[frame].float() / 255)
            continue
        known = STRENGTHS[codec]
        quality = random.randint(min(known), max(known))
        strength = float(np.interp(quality, list(known), list(known.values())))
        through = _jpeg(shown[frame], quality) if codec == "jpeg" else compress(shown, codec, quality)[frame]
        harmed = float((through.float() - shown[frame].float()).square().mean().sqrt()) >= HARMLESS
        yield strength if harmed else 0.0, luma_of(through.float() / 255)


def films(folder: Path) -> Iterator[Tensor]:
    """A part of the first frames of each film, uint8 [T, 3, H, W]."""
    for path in sorted(folder.iterdir()):
        if path.suffix in (".mp4", ".mkv"):
            clip = read_clip(path)[:FRAMES]
        elif path.suffix in (".jpg", ".png"):
            clip = _moved(cv2.imread(str(path))[..., ::-1].copy())
        else:
            continue
        if len(clip) == FRAMES and min(clip.shape[2:]) >= SIDE:
            top, left = (random.randrange(0, size - SIDE + 1, 2) for size in clip.shape[2:])
            yield clip[:, :, top : top + SIDE, left : left + SIDE].contiguous()
            if random.randrange(DRAWN) == 0:
                yield _moved(_drawing())[:, :, :SIDE, :SIDE].contiguous()


def train(lumas_u8: Tensor, strengths: Tensor, seed: int = 0) -> CodingDamage:
    """lumas [N, 1, H, W], strengths [N]"""
    torch.manual_seed(seed)
    random.seed(seed)
    network = CodingDamage()
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, STEPS, pct_start=0.1)
    for _ in range(STEPS):
        chosen = torch.randint(len(lumas_u8), (BATCH,))
        # any place of the grid of a codec, since films are cut and have bars
        top, left, side = random.randrange(32), random.randrange(32), SIDE - 32
        batch = lumas_u8[chosen, :, top : top + side, left : left + side].float() / 255
        batch = batch.flip(random.choice(((), (2,), (3,), (2, 3))))
        loss = F.smooth_l1_loss(network(detail_of(batch)), strengths[chosen], beta=0.2)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


@torch.inference_mode()
def error(network: CodingDamage, lumas_u8: Tensor, strengths: Tensor) -> str:
    found = torch.cat([network(detail_of(batch.float() / 255)) for batch in lumas_u8.split(BATCH)]).clamp(0, 1)
    wrong = (found - strengths).square().mean().sqrt()
    clean = found[strengths == 0]
    return (
        f"root mean square error {float(wrong):.3f}; without damage: mean {float(clean.mean()):.3f}, one of twenty "
        f"above {float(clean.quantile(0.95)):.3f}"
    )


def save(network: CodingDamage, folder: Path, samples: int) -> Path:
    recipe = {"file": "benchmarks/coding_damage.py", "steps": STEPS, "note": f"{samples} pictures"}
    return save_weights(Weights("coding-damage", {}, network.state_dict(), recipe), folder)


def _changed(clip: Tensor) -> Tensor:
    """The clip, or the same softened, sharpened or with noise."""
    (change,) = random.choices(("", "soft", "sharp", "noisy", "soft and noisy"), (0.45, 0.25, 0.1, 0.1, 0.1))
    shown = clip.float() / 255
    if "soft" in change:
        factor = random.uniform(1.2, 3.0)
        small = F.interpolate(shown, scale_factor=1 / factor, mode="bicubic", antialias=True).clamp(0, 1)
        shown = F.interpolate(small, clip.shape[-2:], mode="bicubic")
    if change == "sharp":
        shown = shown + random.uniform(0.3, 1.0) * (shown - F.avg_pool2d(shown, 3, 1, 1))
    if "noisy" in change:
        shown = gaussian_noise(
            shown, random.uniform(0.5, 6.0), torch.Generator().manual_seed(random.randrange(1 << 30))
        )
    return shown.mul(255).round().clamp(0, 255).byte()


def _drawing() -> np.ndarray:
    """A slope of two colours, perhaps with shapes and lines of text before it, as in cartoons and on screens."""
    height, width = SIDE + 32, SIDE + 32
    first, last = (np.array([random.randrange(256) for _ in range(3)], np.float32) for _ in range(2))
    if random.random() < 0.4:
        last = first
    angle = random.uniform(0, 2 * math.pi)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    share = (np.clip(x * math.cos(angle) + y * math.sin(angle), -1, 1)[..., None] + 1) / 2
    picture = np.ascontiguousarray((first + (last - first) * share).round().astype(np.uint8))
    for _ in range(random.choice((0, 4, 8, 12))):
        colour = tuple(random.randrange(256) for _ in range(3))
        at, size = (tuple(random.randrange(each) for _ in range(2)) for each in (width, 80))
        thickness = random.choice((-1, -1, 1, 2, 3))
        kind = random.choice(("ellipse", "rectangle", "line", "text"))
        if kind == "ellipse":
            cv2.ellipse(picture, at, size, random.randrange(180), 0, 360, colour, thickness, cv2.LINE_AA)
        elif kind == "rectangle":
            cv2.rectangle(picture, at, (at[0] + size[0], at[1] + size[1]), colour, thickness)
        elif kind == "line":
            end = random.randrange(width), random.randrange(height)
            cv2.line(picture, at, end, colour, abs(thickness), cv2.LINE_AA)
        else:
            letters = "".join(random.choices("abcdefghij KLMNOPQ 0123456789", k=12))
            scale = random.uniform(0.4, 1.5)
            cv2.putText(picture, letters, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, abs(thickness), cv2.LINE_AA)
    return picture


def _moved(picture: np.ndarray) -> Tensor:
    """A film of a picture that moves by 0.7 pixels a frame, in a random direction."""
    if min(picture.shape[:2]) > 480:
        size = random.choice((0.5, 0.7, 1.0))
        picture = cv2.resize(picture, None, fx=size, fy=size, interpolation=cv2.INTER_AREA) if size < 1 else picture
    height, width = ((side - 24) // 8 * 8 for side in picture.shape[:2])
    angle = random.uniform(0, 2 * math.pi)
    step = 0.7 * math.cos(angle), 0.7 * math.sin(angle)
    frames = []
    for number in range(FRAMES):
        shift = np.array([[1, 0, number * step[0] - 8], [0, 1, number * step[1] - 8]], np.float32)
        frames.append(cv2.warpAffine(picture, shift, (width, height), flags=cv2.INTER_CUBIC))
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()


def _jpeg(frame: Tensor, quality: int) -> Tensor:
    content = cv2.imencode(".jpg", frame.permute(1, 2, 0).numpy()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return torch.from_numpy(cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1].copy()).permute(2, 0, 1)


def main() -> None:
    target, *folders = map(Path, sys.argv[1:])
    random.seed(0)
    lumas, strengths, aside = [], [], []
    for number, film in enumerate(film for folder in folders for film in films(folder)):
        for strength, luma in variants(film):
            lumas.append(luma.mul(255).round().byte())
            strengths.append(strength)
            aside.append(number % 10 == 9)
    told, kept = torch.tensor(strengths), torch.tensor(aside)
    pictures_u8 = torch.stack(lumas)
    network = train(pictures_u8[~kept], told[~kept])
    print("learned from:", error(network, pictures_u8[~kept], told[~kept]))
    print("kept aside:  ", error(network, pictures_u8[kept], told[kept]))
    print(save(network, target, int((~kept).sum())))


if __name__ == "__main__":
    main()
