"""Ablations: a paper's comparison on a small scale, as trainings (arms) that differ in one or two settings."""

from __future__ import annotations

import gc
import json
import statistics
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refilm.errors import RefilmError
from refilm.training.forecast import in_words, seconds_of_training
from refilm.training.recipe import read_recipe
from refilm.training.train import measure, steps_of, train


@dataclass(frozen=True)
class Arm:
    """One training of an ablation, a row of its table.

    settings  "key=value" each, as for `read_recipe`: where this arm differs from the others
    """

    name: str
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ablation:
    """The content of a file in `recipes/ablations`.

    claim     what the paper shows, with its figures
    recipe    path of the recipe of all arms; in the file, relative to the file's folder
    settings  "key=value" each: what all arms change in the recipe, such as the number of steps
    arms      the first is the paper's baseline
    """

    claim: str
    recipe: Path
    settings: tuple[str, ...]
    arms: tuple[Arm, ...]


def read_ablation(path: str | Path) -> Ablation:
    """Read an ablation from a TOML file. Raises RefilmError if a key is missing or the recipe does not exist."""
    path = Path(path)
    values = tomllib.loads(path.read_text())
    try:
        arms = tuple(Arm(arm["name"], tuple(arm.get("settings", ()))) for arm in values["arm"])
        ablation = Ablation(values["claim"], path.parent / values["recipe"], tuple(values.get("settings", ())), arms)
    except KeyError as error:
        raise RefilmError(f"{path}: an ablation needs claim, recipe and [[arm]] with a name; missing {error}") from None
    if not ablation.recipe.exists():
        raise RefilmError(f"{path}: its recipe {ablation.recipe} does not exist")
    return ablation


def ablate(
    path: str | Path,
    seeds: int = 1,
    results: str | Path = "results/ablations",
    runs: str | Path = "runs/ablations",
    device: str = "auto",
    note: Callable[[str], None] = lambda line: None,
    data: str | Path | None = None,
) -> Path:
    """Train every arm with every seed, write the figures, and return the path of the table.

    path     TOML file, see Ablation
    seeds    trainings of each arm, with seeds 0, 1, ...; all arms see the same batches for the same seed
    results  folder for the figures, `<file's name>.json`, and the table, `<file's name>.md`
    runs     folder for the trainings
    device   Lightning's accelerator: "auto", "cpu", "gpu"
    note     called with one line before the first training and after each, with the time that the rest takes
    data     folder to train and validate on, as for `train`

    If it was interrupted, the same call continues where it stopped. Raises RefilmError as `read_ablation` and `train`,
    and where there is nothing to validate on.
    """
    ablation, name = read_ablation(path), Path(path).stem
    figures: dict[str, list[dict[str, Any]]] = {arm.name: [] for arm in ablation.arms}
    trainings = [
        _Training(arm, seed, (*ablation.settings, *arm.settings, f"seed={seed}"), Path(runs) / f"{name}-{k}-{seed}")
        for seed in range(seeds)
        for k, arm in enumerate(ablation.arms)
    ]
    expected = _expected(ablation.recipe, trainings, data, device)
    if sum(expected):
        note(f"{len(trainings)} trainings, about {in_words(sum(expected))} in all, by a few steps of each")
    began = time.monotonic()
    for number, training in enumerate(trainings, start=1):
        checkpoint = train(ablation.recipe, None, training.settings, training.out, device, data=data)
        found = measure(checkpoint)
        if found["figure"] not in found:
            raise RefilmError(f"{path}: arms are compared by their validation, and there is no clip to validate on")
        figures[training.arm.name].append(found)
        pace = (time.monotonic() - began) / sum(expected[:number]) if sum(expected[:number]) else 1.0
        left = pace * sum(expected[number:])
        note(
            f"{training.arm.name}, seed {training.seed}: {_told(found)}; {number} of {len(trainings)} done"
            + (f", about {in_words(left)} left" if left else "")
        )
        gc.collect()  # a trainer and its problem refer to each other, and keep the clips in memory until collected
    content = {"claim": ablation.claim, "settings": ablation.settings, "seeds": seeds, "arms": figures}
    folder = Path(results)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
    table = folder / f"{name}.md"
    table.write_text(_table(name, ablation, figures))
    return table


@dataclass(frozen=True)
class _Training:
    arm: Arm
    seed: int
    settings: tuple[str, ...]
    out: Path


def _expected(recipe: Path, trainings: Sequence[_Training], data: str | Path | None, device: str) -> list[float]:
    """The seconds that each training will take, 0 for those that are done. Arms are tried once, not for each seed."""
    whole: dict[str, float] = {}
    expected = []
    for training in trainings:
        config, checkpoint = read_recipe(recipe, training.settings, data), training.out / "last.ckpt"
        done = steps_of(checkpoint) if checkpoint.exists() else 0
        if done < config.steps and training.arm.name not in whole:
            whole[training.arm.name] = seconds_of_training(config, config.steps, device)
        share = max(0.0, 1 - done / config.steps)
        expected.append(share * whole[training.arm.name] if share else 0.0)
    return expected


def _table(name: str, ablation: Ablation, figures: dict[str, list[dict[str, Any]]]) -> str:
    first = next(iter(figures.values()))[0]
    key, unit = first["figure"], first["unit"]
    # what else was measured, a value a clip, but for the plain alternative
    further = [name for name, value in first.items() if isinstance(value, list) and name not in (key, f"{key}_plain")]
    title = {"psnr": "PSNR"}.get(key, key) + (f", {unit}" if unit else "")
    lines = [
        f"# {name}",
        "",
        f"The paper: {ablation.claim}",
        "",
        f"Here: {ablation.recipe.name} with {', '.join(ablation.settings)}; {first['protocol']}, mean over clips;",
        "seeds in the order 0, 1, ... Written by `refilm ablate`.",
        "",
        f"| arm | parameters | {title} | over the first arm | each seed |{''.join(f' {name} |' for name in further)}",
        f"| --- | --- | --- | --- | --- |{' --- |' * len(further)}",
    ]
    base = [statistics.mean(run[key]) for run in figures[ablation.arms[0].name]]
    for arm in ablation.arms:
        runs = figures[arm.name]
        means = [statistics.mean(run[key]) for run in runs]
        gain = statistics.mean(means) - statistics.mean(base)
        each = " ".join(f"{mean:.3f}" for mean in means)
        row = [arm.name, f"{runs[0]['parameters']:,}", f"{statistics.mean(means):.3f}", f"{gain:+.3f}", each]
        row += [f"{statistics.mean(statistics.mean(run[name]) for run in runs):.3f}" for name in further]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _told(found: dict[str, Any]) -> str:
    return f"{statistics.mean(found[found['figure']]):.3f} {found['unit'] or found['figure']}"
