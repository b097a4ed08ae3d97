"""The batches of a training, drawn ahead by processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from refilm.training.problem import Problem

AHEAD = 4  # batches that each process draws ahead


class Batches:
    """Gives the batches of a problem from the step at which its training stands, each with its number, without end.

    Process r of n that train together takes the batches r, r + n, r + 2n, ... However many `workers` draw them, they
    are the same.

    workers   processes that draw; 0: this one does. They are forks of this one, so they share the clips in its memory,
              and there are none where a system does not fork
    """

    def __init__(self, problem: Problem, workers: int) -> None:
        self._problem = problem
        self._workers = workers if "fork" in torch.multiprocessing.get_all_start_methods() else 0

    def __iter__(self) -> Iterator[tuple[Any, int]]:
        trainer = self._problem.trainer
        first = self._problem.global_step * trainer.world_size + trainer.global_rank
        several: dict[str, Any] = {"multiprocessing_context": "fork", "prefetch_factor": AHEAD} if self._workers else {}
        loader: DataLoader[tuple[Any, int]] = DataLoader(
            _Drawn(self._problem),
            batch_size=None,
            sampler=range(first, sys.maxsize, trainer.world_size),
            num_workers=self._workers,
            pin_memory=self._problem.device.type == "cuda",
            **several,
        )
        # OpenCV's threads are not there in a fork, which would wait for them for ever
        before = cv2.getNumThreads()
        cv2.setNumThreads(1)
        batches = iter(loader)
        cv2.setNumThreads(before)
        return batches


class _Drawn(Dataset[tuple[Any, int]]):
    def __init__(self, problem: Problem) -> None:
        self._problem = problem

    def __getitem__(self, step: int) -> tuple[Any, int]:
        return self._problem.draw(step), step
