"""Training a model from a recipe to a checkpoint, and exporting a checkpoint as a weight file."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

from refilm.training.batches import Batches
from refilm.training.config import TrainConfig
from refilm.training.deadline import FRAMES_A_CLIP, Deadline
from refilm.training.problem import Problem
from refilm.training.recipe import read_recipe, restore_config
from refilm.training.trainers import trainer_of
from refilm.weights import Weights, as_stored, save_weights

MOST_WORKERS = 8  # unless more are asked for


def train(
    recipe: str | Path,
    minutes: float | None = None,
    settings: Sequence[str] = (),
    out: str | Path | None = None,
    device: str = "auto",
    devices: int = 1,
    progress: bool = False,
    data: str | Path | None = None,
    exports: bool = False,
    workers: int | None = None,
) -> Path:
    """Train a model as a recipe says, and return the path of the checkpoint.

    recipe    TOML file of `TrainConfig` fields
    minutes   train for this long, including the decoding of the data sets, all validations and the checkpoint; after
              the recipe's steps, it goes on at the lowest learning rate. None: stop after the recipe's steps
    settings  overrides of the recipe, "key=value" each, see `read_recipe`
    out       folder of checkpoint, logs, pictures and the resolved config; default runs/<recipe's name>
    device    Lightning's accelerator: "auto", "cpu", "gpu"
    devices   number of processes that share each step, with a batch each (DDP); above 1, Lightning starts the calling
              command again for each of them
    progress  whether to show a progress bar
    data      folder to train and validate on instead of those that the recipe names, see `refilm.data.read_split`
    exports   whether `export` follows, so that `minutes` includes it
    workers   processes that draw batches ahead; None: a few where there are cores to spare. Batches do not depend on it

    If `out` holds a checkpoint, training continues from it exactly as without interruption. Raises ValueError if that
    was made with other settings; only steps, val_every, val_frames, start and the
    folders of clips and pictures may differ. Raises RefilmError if there is nothing to train on.
    """
    recipe = Path(recipe)
    config = read_recipe(recipe, settings, data)
    out = Path(out) if out is not None else Path("runs") / recipe.stem
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "last.ckpt"
    deadline = Deadline(minutes, config, exports)
    _check_same(out / "config.json", config, resuming=checkpoint.exists())
    (out / "config.json").write_text(json.dumps({"recipe": recipe.name, **config.plain()}, indent=1))

    problem = create_problem(config)
    problem.pictures = out / "pictures"
    trainer = lightning.Trainer(
        accelerator=device,
        devices=devices,
        strategy="auto" if devices == 1 else "ddp",
        max_steps=config.steps if minutes is None else -1,
        gradient_clip_val=config.clip_norm,
        precision="bf16-mixed" if config.precision == "bfloat16" else "32-true",
        logger=[CSVLogger(out, name="log"), TensorBoardLogger(out, name="tensorboard")],
        log_every_n_steps=min(50, config.steps),
        check_val_every_n_epoch=None,
        val_check_interval=config.val_every,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=progress,
        callbacks=[deadline, Keep(checkpoint, config.val_every)],
    )
    if workers is None:
        workers = max(0, min(MOST_WORKERS, (os.cpu_count() or 1) - 2))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*ModelCheckpoint.*")
        warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # those that are frozen
        trainer.fit(
            problem,
            Batches(problem, workers),
            DataLoader([0], batch_size=None) if problem.val is not None else None,  # type: ignore[arg-type]
            ckpt_path=checkpoint if checkpoint.exists() else None,
            weights_only=True,
        )
    _save(trainer, checkpoint)
    return checkpoint


def export(checkpoint: str | Path, folder: str | Path, note: str = "") -> Path:
    """Write the averaged weights of a checkpoint to `folder` as a weight file, and return its path.

    note  a line for the file, such as the time that the training took

    The file also holds the figures of `measure`. Raises WeightsError if a weight is not finite in half precision.
    """
    recipe, problem, steps = _trained(Path(checkpoint))
    model = problem.ema.module
    weights = Weights(
        problem.config.model,
        asdict(model.config),  # type: ignore[call-overload]
        model.state_dict(),
        {"file": recipe, "steps": steps, "note": note, **problem.learned_from},
        _figures(problem),
    )
    return save_weights(weights, folder)


def measure(checkpoint: str | Path) -> dict[str, Any]:
    """Measure the averaged weights of a checkpoint on the validation set, on four frames of each clip.

    -> what `Problem.validate` gives, such as "psnr" and "psnr_plain", one value per clip; "protocol", its description;
       "figure" and "unit", `Problem.figure`; "parameters", the model's number of parameters. Without a validation set,
       the last three alone
    """
    _, problem, _ = _trained(Path(checkpoint))
    figure, unit = problem.figure
    parameters = sum(p.numel() for p in problem.model.parameters())
    return {**_figures(problem), "figure": figure, "unit": unit, "parameters": parameters}


def _figures(problem: Problem) -> dict[str, Any]:
    """None where the recipe names no validation set."""
    if problem.val is None:
        return {}
    figures = problem.measure(problem.ema.module, FRAMES_A_CLIP)
    thinned = f", {FRAMES_A_CLIP} frames a clip" if problem.measures_frames else ""
    return {"protocol": f"{problem.protocol}{thinned}", **figures}


def _trained(checkpoint: Path) -> tuple[str, Problem, int]:
    """(the recipe's name, the problem with the averaged weights as `export` writes them, the number of steps)."""
    plain = json.loads((checkpoint.parent / "config.json").read_text())
    recipe = plain.pop("recipe")
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    problem = create_problem(restore_config(plain), train=False)
    problem.load_state_dict(state["state_dict"])
    model = problem.ema.module
    # weight files are in half precision, so that is what is measured
    model.load_state_dict({name: as_stored(value) for name, value in model.state_dict().items()})
    problem.finish(model)
    return recipe, problem, state["global_step"]


def steps_of(checkpoint: Path) -> int:
    """The number of steps that a checkpoint has behind it."""
    return int(torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["global_step"])


def create_problem(config: TrainConfig, train: bool = True) -> Problem:
    """The problem that belongs to the task of the config's model, see `Problem.read`."""
    return trainer_of(config.model).problem.read(config, train)


class Keep(Callback):
    """Writes the checkpoint every `every` steps, so that an interruption costs little."""

    def __init__(self, path: Path, every: int) -> None:
        self._path, self._every = path, every

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        if trainer.global_step % self._every == 0:
            _save(trainer, self._path)


def _save(trainer: lightning.Trainer, path: Path) -> None:
    """Write the checkpoint under another name, then rename it: a partly written one could not be resumed."""
    partial = path.with_suffix(".part")
    trainer.save_checkpoint(partial)
    if trainer.is_global_zero:
        partial.replace(path)


_MAY_DIFFER = (
    "steps",
    "val_every",
    "val_frames",
    "train",
    "val",
    "data",
    "max_gb",
    "train_clips",
    "val_clips",
    "start",
    "photographs",
    "films",
    "cutouts",
    "annotations",
    "backbone",
)


def _check_same(path: Path, config: TrainConfig, resuming: bool) -> None:
    """Raises ValueError if the training to be resumed, whose config is at `path`, has other settings."""
    if not (resuming and path.exists()):
        return
    before = json.loads(path.read_text())
    now = json.loads(json.dumps(config.plain()))
    for key, value in now.items():
        if key not in _MAY_DIFFER and before.get(key, value) != value:
            raise ValueError(
                f"{path.parent} holds a training with {key} = {before[key]}, not {value}; "
                "give another folder with --out, or remove this one to start afresh"
            )
