"""Measuring models: metrics, protocols, baselines, and the tables in `results/`."""

from refilm.evaluation.evaluate import evaluate
from refilm.evaluation.metrics import psnr_db, ssim, warp_errors
from refilm.evaluation.protocols import PROTOCOLS
from refilm.evaluation.results import task_of
from refilm.evaluation.through import evaluate_through

__all__ = ["PROTOCOLS", "evaluate", "evaluate_through", "psnr_db", "ssim", "task_of", "warp_errors"]
