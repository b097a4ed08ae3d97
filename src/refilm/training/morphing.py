"""Training of a space with geodesics: the autoencoder against a critic, and the curves between its codes."""

from __future__ import annotations

import logging
import math
import warnings
from dataclasses import asdict, replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any, Self

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from refilm.data.draws import generator
from refilm.data.manifolds import SETS, Samples
from refilm.data.picture_sets import read_pictures
from refilm.errors import RefilmError
from refilm.evaluation.geodesic import SURFACES, WAYS, figures_of, held_out_pairs
from refilm.layers.neighbours import distances_along
from refilm.models.geodesic import Geodesic, geometric_prior, length_loss, speed_loss, straight
from refilm.training.batches import Batches
from refilm.training.config import MorphingConfig
from refilm.training.problem import Problem
from refilm.weights import Weights, save_weights

MOST = 2000  # samples that are learned from, since the distances between them grow by the square


class Morphing(Problem):
    """Trains on samples of a manifold. All of a `Geodesic` learns at once, each part by its own losses:

    - the autoencoder by the distance between samples and what is decoded of them, by the critic, and by the prior;
    - the critic by telling samples from decoded interpolations (hinge loss);
    - the interpolation network by both losses on the speed of its curves, and by the critic, the decoder at rest.

    A validation measures curves between held-out samples, beside the straight lines between the same codes.
    """

    config: MorphingConfig
    protocol = "curves between held-out samples, 1 - coefficient of variation of their speed, a value a pair"
    plain = "straight lines"
    figure = ("evenness", "")

    def __init__(self, config: MorphingConfig, train: Samples, val: Samples) -> None:
        super().__init__(config, [val])  # one set, whose pairs are measured together
        self.model: Geodesic
        self.critic = Critic(self.model.shape)
        few = torch.randperm(len(train), generator=torch.Generator().manual_seed(config.seed))[:MOST]
        self.samples = train.samples[few]
        self.variance = float(self.samples.var(dim=0).mean()) if len(few) else 1.0
        self.distances: Tensor | None = None
        if config.prior and len(few):
            along = distances_along(self.samples, config.neighbours)
            self.distances = along * (config.spread / along[along.isfinite()].mean())

    @classmethod
    def read(cls, config: MorphingConfig, train: bool = True) -> Self:  # type: ignore[override]
        """The problem of a config, with the set that it names; without the training part if train=False.

        Raises RefilmError if it names none.
        """
        if not config.samples:
            raise RefilmError("nothing to train on: name a set of samples, or learn from pictures by `refilm morph`")
        if config.samples not in SETS:
            raise RefilmError(f"no set of samples is called {config.samples!r}; there are: {', '.join(SETS)}")
        make = SETS[config.samples]
        held = make("test")
        return cls(config, make("train") if train else Samples(held.samples[:0], held.places[:0], held.kinds[:0]), held)

    def draw(self, step: int) -> int:
        """The samples are few, and are in memory: only which step it is."""
        return step

    def loss(self, _: int, step: int) -> Tensor:
        config, model = self.config, self.model
        random = generator(config.seed, step)
        drawn = torch.randperm(len(self.samples), generator=random)[: config.batch]
        samples = self.samples[drawn].to(self.device)
        codes = model.encode(samples)
        seen = (model.decode(codes) - samples).square().mean() / self.variance
        loss, told = seen, {"unexplained": seen.detach()}
        partners = torch.randperm(len(codes), generator=random)
        if config.critic:
            shares = torch.rand(len(codes), 1, generator=random).to(self.device)
            decoded = model.decode(straight(codes, codes[partners], shares)[:, 0])
            loss = loss + config.critic * self.critic.displeasure(decoded) + self.critic.loss(samples, decoded)
        if self.distances is not None:
            stress = geometric_prior(codes, self.distances[drawn][:, drawn].to(self.device))
            loss, told["stress"] = loss + config.prior * stress, stress.detach()
        if step >= config.curves_from and (config.speed or config.length):
            z0, z1 = codes[: config.pairs], codes[partners[: config.pairs]]
            shares = torch.rand(len(z0), config.moments, generator=random)
            times = ((torch.arange(config.moments) + shares) / config.moments).to(self.device)
            curve = model.curve_in_rest(z0, z1, times)
            uneven, length = speed_loss(curve.speed), length_loss(curve.speed)
            loss = loss + config.speed * uneven + config.length * length
            if config.critic:
                loss = loss + config.critic * self.critic.displeasure(curve.samples.flatten(0, 1))
            told |= {"uneven": uneven.detach(), "length": length.detach()}
        self.log_dict(told, prog_bar=True, batch_size=1)
        return loss

    def validate(self, model: Any, val: list[Samples], frames_a_clip: int) -> dict[str, list[float]]:
        """See `Problem.validate`; `frames_a_clip` times ten pairs are measured, or a hundred.

        -> "evenness" and "evenness_plain", and further figures of `evaluation.geodesic.figures_of`; "rmse", how far off
        the decoded samples are, a value a sample
        """
        (held,) = val
        pairs = held_out_pairs(self.config.samples, 10 * frames_a_clip or 100, held)
        # what a classifier or a search for angles finds is left to `refilm eval geodesic`
        known = self.config.samples if self.config.samples in SURFACES else ""
        ours, plain = (figures_of(known, pairs, WAYS[way](model, pairs)) for way in ("geodesic", "straight codes"))
        even = {"evenness": ours.pop("variation"), "evenness_plain": plain["variation"]}
        off = (model(held.samples) - held.samples).square().flatten(1).mean(1).sqrt().tolist()
        return {name: [1 - each for each in values] for name, values in even.items()} | ours | {"rmse": off}


CALIBRATION = 4  # steps of each kind that are timed, before it is known how many there is time for


def learn_space(source: Path, minutes: float, side: int, folder: Path) -> Path:
    """Learn a space from the pictures of a film, or of a folder of pictures and films, and write its weight file.

    minutes   that the training takes, from when the pictures are read
    side      about the longer side, in pixels, of the pictures that are learned
    folder    where the file is written

    Raises ValueError for minutes and sides out of range, and as `read_pictures`.
    """
    if not minutes > 0 or side < 16:
        raise ValueError(f"minutes must be above 0 and side at least 16, got {minutes:g} and {side}")
    config = MorphingConfig(batch=24, pairs=4, learning_rate=2e-3, warmup=50, ema_decay=0.99, neighbours=6)
    pictures = read_pictures(source, config.pictures, side, 8)
    began, held = monotonic(), torch.arange(len(pictures)) % 8 == 4
    config = replace(config, config={"shape": tuple(pictures.shape[1:]), "code": 16})
    parts = [_unplaced(pictures[~held]), _unplaced(pictures[held])]
    probe = Morphing(config, *parts)
    probe.log_dict = lambda *_, **__: None  # type: ignore[method-assign]
    before, after = (_seconds_a_step(probe, first) for first in (0, config.curves_from))
    # a quarter of the steps without curves, and the rest with them
    left = 60 * minutes - (monotonic() - began)
    steps = max(8, int(left / (0.25 * before + 0.75 * after)))
    problem = Morphing(replace(config, steps=steps, curves_from=steps // 4), *parts)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # it tells of GPUs and of its makers
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_time=timedelta(minutes=minutes),  # should the steps take longer than those that were timed
        gradient_clip_val=config.clip_norm,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*no `val_dataloader`.*")  # it is measured afterwards
        trainer.fit(problem, Batches(problem, workers=0))
    model = problem.ema.module
    metrics = {"protocol": Morphing.protocol, **problem.measure(model, 2)}
    recipe = {"file": "refilm morph", "steps": trainer.global_step, "note": f"learned from {source.name}"}
    fields = asdict(model.config)  # type: ignore[call-overload]
    return save_weights(Weights(config.model, fields, model.state_dict(), recipe, metrics), folder)


def _unplaced(pictures: Tensor) -> Samples:
    return Samples(pictures, torch.empty(len(pictures), 0), torch.zeros(len(pictures), dtype=torch.long))


def _seconds_a_step(problem: Morphing, first: int) -> float:
    problem.loss_of(first).backward()
    began = monotonic()
    for step in range(first, first + CALIBRATION):
        problem.loss_of(step).backward()
    return (monotonic() - began) / CALIBRATION


class Critic(nn.Module):
    """Tells samples from what is decoded between their codes: positive for samples."""

    def __init__(self, shape: tuple[int, ...], width: int = 32) -> None:
        super().__init__()
        if len(shape) == 3 and min(shape[1:]) >= 32:
            layers: list[nn.Module] = []
            for before, after in pairwise([shape[0], width, 2 * width, 2 * width]):
                layers += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            # a verdict a patch, as pictures go wrong in places
            self.network = nn.Sequential(*layers, nn.Conv2d(2 * width, 1, 1))
        else:
            hidden = [math.prod(shape), 4 * width, 4 * width]
            layers = [nn.Flatten()]
            for before, after in pairwise(hidden):
                layers += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
            self.network = nn.Sequential(*layers, nn.Linear(hidden[-1], 1))

    def forward(self, samples: Tensor) -> Tensor:
        """[N, *shape] -> [N, ...]"""
        verdicts: Tensor = self.network(samples)
        return verdicts

    def displeasure(self, decoded: Tensor) -> Tensor:
        """The loss of who has made `decoded`, without a gradient in the critic's parameters."""
        at_rest = {name: value.detach() for name, value in self.named_parameters()}
        verdicts: Tensor = functional_call(self, at_rest, (decoded,))
        return -verdicts.mean()

    def loss(self, samples: Tensor, decoded: Tensor) -> Tensor:
        """The loss of the critic, without a gradient in `decoded`."""
        return F.relu(1 - self(samples)).mean() + F.relu(1 + self(decoded.detach())).mean()
