"""Train the small network that tells how strongly compression has damaged a picture (`refilm.models.coding_damage`).

    python benchmarks/coding_damage.py OUT_FOLDER FOLDER ...

FOLDER   holds clean films: short scenes, or numbered sharp photographs, moved by fractions of a pixel as a film

Each film is taken as it is, softened and with noise, which is no damage, and compressed. What is learned for each
quality is the strength of deblocking with the best PSNR, as measured with vdb-ls3d-small.
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
from refilm.layers.damage import coding_figures
from refilm.models.coding_damage import CodingDamage
from refilm.weights import Weights, save_weights

FRAMES = 5
H264 = {17: 0.27, 20: 0.37, 22: 0.45, 24: 0.52, 27: 0.65, 30: 0.8, 32: 0.9, 35: 0.97, 37: 1.0, 40: 1.0}
HEVC, JPEG2000, JPEG = {22: 0.4, 28: 0.65, 34: 0.95}, {20: 0.9, 40: 1.0}, {92: 0.1, 70: 0.6, 40: 0.9}
STEPS = 1000
BLUR = 0.15  # noise on the figures in the training, in their standard deviations


def variants(clip: Tensor) -> Iterator[tuple[float, Tensor]]:
    """(strength that suits it, the clip in one quality [T, 3, H, W] in [0, 1])"""
    clean = clip.float() / 255
    factor = random.choice((1.3, 1.5, 2.0, 3.0))
    small = F.interpolate(clean, scale_factor=1 / factor, mode="bicubic", antialias=True).clamp(0, 1)
    soft = _u8(F.interpolate(small, clean.shape[-2:], mode="bicubic"))
    noisy = _u8(gaussian_noise(clean, random.choice((1.0, 2.0, 4.0)), torch.Generator().manual_seed(1)))
    for harmless in (clip, soft, noisy):
        yield 0.0, harmless.float() / 255
    for crf in random.sample(list(H264), 6):
        yield H264[crf], compress(clip, "h264", crf).float() / 255
    for crf in random.sample((22, 27, 32, 37), 2):
        yield H264[crf], compress(soft, "h264", crf).float() / 255
    crf = random.choice((24, 30, 35))
    yield H264[crf], compress(noisy, "h264", crf).float() / 255
    for codec, qualities in (("hevc", HEVC), ("jpeg2000", JPEG2000)):
        for quality in random.sample(list(qualities), 2):
            yield qualities[quality], compress(clip, codec, quality).float() / 255
    for quality, strength in JPEG.items():
        yield strength, torch.stack([_jpeg(frame, quality) for frame in clip]).float() / 255


def films(folder: Path) -> Iterator[Tensor]:
    """The first frames of each film, uint8 [T, 3, H, W]."""
    for path in sorted(folder.iterdir()):
        if path.suffix in (".mp4", ".mkv"):
            yield read_clip(path)[:FRAMES]
        elif path.suffix in (".jpg", ".png"):
            yield _moved(cv2.imread(str(path))[..., ::-1].copy())


def train(figures: Tensor, strengths: Tensor, seed: int = 0) -> CodingDamage:
    """figures [N, FIGURES], strengths [N]"""
    torch.manual_seed(seed)
    network = CodingDamage()
    network.mean.copy_(figures.mean(0))
    network.spread.copy_(figures.std(0) + 1e-3)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-2, weight_decay=0.05)
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = 1e-2 * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        blurred = figures + BLUR * network.spread * torch.randn_like(figures)
        loss = F.mse_loss(network(blurred), strengths)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


def save(network: CodingDamage, folder: Path, samples: int) -> Path:
    recipe = {"file": "benchmarks/coding_damage.py", "steps": STEPS, "note": f"{samples} pictures"}
    return save_weights(Weights("coding-damage", {}, network.state_dict(), recipe), folder)


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


def _u8(clip: Tensor) -> Tensor:
    return clip.mul(255).round().clamp(0, 255).byte()


def main() -> None:
    target, *folders = map(Path, sys.argv[1:])
    random.seed(0)
    found = [
        (coding_figures(clip[min(3, len(clip) - 1)]), strength)
        for folder in folders
        for film in films(folder)
        for strength, clip in variants(film)
    ]
    figures, strengths = torch.stack([each for each, _ in found]), torch.tensor([strength for _, strength in found])
    network = train(figures, strengths)
    print(f"root mean square error {float((network(figures) - strengths).square().mean().sqrt()):.3f}")
    print(save(network, target, len(found)))


if __name__ == "__main__":
    main()
