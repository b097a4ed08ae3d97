"""The settings of a training: dataclass default < recipe (TOML) < command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from refilm.data import Motion


@dataclass(frozen=True)
class TrainConfig:
    """What every training is told, but for how long it runs.

    model          name in `refilm.models.MODELS`
    config         fields of the model's config that depart from the table's
    start          weight file to start from; LS3D-Conv layers may start from plain convolutions
    train, val     folders of packs; relative ones are looked up from the recipe's folder upwards
    clip_frames    frames read of each training clip, which bounds the memory; 0: all
    crop           side of the square crops, pixels of the target
    batch          crops a step
    steps          length of the cosine schedule, after which the learning rate stays at its floor
    warmup         steps over which the learning rate rises from zero
    learning_rate  of AdamW, at its highest
    floor          the lowest learning rate, relative to the highest
    sampling_rate  learning rate of what tells LS3D-Conv where to sample, relative to the rest
    weight_decay   of AdamW
    clip_norm      the gradient's norm is cut to this
    loss           "charbonnier", or "psnr": see `losses.log_error`
    epsilon        of the Charbonnier loss sqrt(d^2 + epsilon^2); far above the errors it acts as L2, below as L1
    structure      weight of 1 - SSIM beside it
    ema_decay      of the running mean of the weights, which is what validates and ships
    precision      "float32", or "bfloat16" for mixed precision
    val_every      steps between validations
    val_frames     frames a clip that a validation predicts, evenly spread; 0: every second frame of each clip
    seed           of initialisation and crops
    """

    model: str = "vi-ls3d-small"
    config: Mapping[str, Any] = field(default_factory=dict)
    start: str = ""
    train: tuple[str, ...] = ()
    val: str = ""
    clip_frames: int = 0
    crop: int = 96
    batch: int = 8
    steps: int = 10_000
    warmup: int = 100
    learning_rate: float = 1e-3
    floor: float = 0.02
    sampling_rate: float = 1.0
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    loss: Literal["charbonnier", "psnr"] = "charbonnier"
    epsilon: float = 0.01
    structure: float = 0.0
    ema_decay: float = 0.999
    precision: Literal["float32", "bfloat16"] = "float32"
    val_every: int = 500
    val_frames: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("train must name at least one pack of clips")
        if self.crop % 4:
            raise ValueError(f"crop must be a multiple of 4 (the models' strides), got {self.crop}")
        for name in ("batch", "steps", "learning_rate", "sampling_rate", "clip_norm", "epsilon", "val_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must lie in [0, 1), got {self.ema_decay}")
        if self.loss not in ("charbonnier", "psnr"):
            raise ValueError(f'loss must be "charbonnier" or "psnr", got {self.loss!r}')
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f'precision must be "float32" or "bfloat16", got {self.precision!r}')

    def plain(self) -> dict[str, Any]:
        """As JSON and TOML can hold it."""
        return asdict(self)


@dataclass(frozen=True)
class InterpolationConfig(TrainConfig):
    """What interpolation is told besides.

    motion       what the crops are drawn as, in proportion to their weights
    widen_until  step at which `motion` holds; before it, only its first kind, then a rising share of the others
    guide        weight of the distance (in quarter-size pixels) between the offsets of a "sampled" skip and a
                 classical optical flow's, at the start: it leads off the plateau of frame blending
    guide_until  step from which the guide has gone, so that the flow's own errors are not learned
    adversarial  weight of the paper's two adversarial losses, on frames and on clips
    margin       vi-ls3d-flow: pixels at a crop's border that only the flow sees, which cannot know what lies beyond
    """

    motion: tuple[Motion, ...] = (Motion(gap=2, shrink=1, weight=1.0),)
    widen_until: int = 0
    guide: float = 0.0
    guide_until: int = 0
    adversarial: float = 0.0
    margin: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.guide and self.config.get("skip", "sampled") != "sampled":
            raise ValueError('guide leads the offsets of skip = "sampled"; set guide = 0 for any other')
        if not 0 <= self.margin < self.crop // 2:
            raise ValueError(f"margin must lie within half of the crop, got {self.margin} of {self.crop}")
        if not self.motion:
            raise ValueError("motion must list at least one kind of crop")


@dataclass(frozen=True)
class RestorationConfig(TrainConfig):
    """What denoising, artifact removal and super-resolution are told besides.

    sigma        denoising: strengths of the Gaussian noise, of 255, drawn evenly between these two
    told         denoising: share of the crops whose strength the model is told
    film_noise   denoising: share of the other crops whose noise is that of films in 4:2:0 instead of white
    val_sigma    denoising: the strength that validation measures at, told
    compression  artifact removal: what training clips are compressed by, in turn, as "h264 37" (crf) or
                 "jpeg2000 40" (quantiser); validation takes the first
    kernel       super-resolution: "BI" (bicubic) or "BD" (Gaussian, sigma 1.6)
    """

    sigma: tuple[float, float] = (0.0, 50.0)
    told: float = 0.75
    film_noise: float = 0.0
    val_sigma: float = 25.0
    compression: tuple[str, ...] = ("h264 37",)
    kernel: Literal["BI", "BD"] = "BI"
