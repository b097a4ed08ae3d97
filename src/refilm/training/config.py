"""The settings of a training. The recipe (TOML) overrides the defaults here, and the command line the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from refilm.data import Motion
from refilm.data.flips import FLIPS


@dataclass(frozen=True)
class TrainConfig:
    """The settings of every training, except for its time limit.

    model          name in `refilm.models.MODELS`
    config         fields of the model's config that differ from those in the table of models
    start          weight file to start from, in which LS3D-Conv layers may be plain convolutions; "default": the one
                   that ships; "": none
    train          folders of training clips, packs or other sets that `read_packs` can read
    val            the same for validation, one folder; "": no validation
    data           folder of a data set that has both, or of which a part is set aside for validation, instead of train
                   and val; see `refilm.data.read_split`
    max_gb         memory for the training clips, in GB of 10^9 bytes; of a larger set, evenly spread clips are read
    train_clips    training clips that are read at most, evenly spread; 0: all
    val_clips      clips of `data` that are validated on, at most, evenly spread
    clip_frames    frames read of each training clip, which limits the memory; 0: all
    crop           side of the square crops, in pixels of the target, a multiple of 4
    batch          crops per step and process
    steps          length of the cosine schedule, after which the learning rate stays at its lowest value
    warmup         steps over which the learning rate rises linearly from zero
    learning_rate  highest learning rate of AdamW
    floor          lowest learning rate, relative to the highest
    sampling_rate  learning rate of the predictors of offsets and importances in LS3D-Conv, relative to the others
    weight_decay   of AdamW
    clip_norm      the gradient is scaled down to this norm if its norm is larger
    loss           "charbonnier", "mse" (the mean squared error), "huber", or "psnr" (see `losses.log_error`)
    epsilon        of the Charbonnier loss sqrt(d^2 + epsilon^2), which is like L1 for errors d far above it and like L2
                   for errors far below; of the Huber loss the error at which the square becomes a line
    structure      weight of the loss 1 - SSIM, which is added
    ema_decay      decay of the exponential moving average of the weights, which is validated and exported
    precision      "float32", or "bfloat16" for mixed precision
    val_every      steps between validations, and between checkpoints
    val_frames     frames of each clip that a validation measures, evenly spread; 0: all that the protocol measures
    seed           seed of the initialisation and the crops

    Relative paths are looked up from the recipe's folder upwards. Raises ValueError for values out of range.
    """

    model: str = "vi-ls3d-small"
    config: Mapping[str, Any] = field(default_factory=dict)
    start: str = ""
    train: tuple[str, ...] = ()
    val: str = ""
    data: str = ""
    max_gb: float = 8.0
    train_clips: int = 0
    val_clips: int = 16
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
    loss: Literal["charbonnier", "mse", "huber", "psnr"] = "charbonnier"
    epsilon: float = 0.01
    structure: float = 0.0
    ema_decay: float = 0.999
    precision: Literal["float32", "bfloat16"] = "float32"
    val_every: int = 500
    val_frames: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.crop % 4:
            raise ValueError(f"crop must be a multiple of 4 (the models' strides), got {self.crop}")
        for name in (
            "batch",
            "steps",
            "learning_rate",
            "sampling_rate",
            "clip_norm",
            "epsilon",
            "val_every",
            "max_gb",
            "val_clips",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must lie in [0, 1), got {self.ema_decay}")
        if self.loss not in ("charbonnier", "mse", "huber", "psnr"):
            raise ValueError(f'loss must be "charbonnier", "mse", "huber" or "psnr", got {self.loss!r}')
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f'precision must be "float32" or "bfloat16", got {self.precision!r}')

    def plain(self) -> dict[str, Any]:
        """The settings as a dictionary, for JSON; see `restore_config` for the inverse."""
        return asdict(self)


@dataclass(frozen=True)
class InterpolationConfig(TrainConfig):
    """The further settings for interpolation.

    motion       kinds of crops, drawn in proportion to their weights
    widen_until  step from which `motion` applies as given; the weights of all kinds but the first rise linearly from
                 zero until then
    guide        vi-ls3d with skip "sampled": initial weight of the distance between its offsets and those of a
                 classical optical flow, in pixels of quarter-size frames. Without it, trainings tend to stay at frame
                 blending
    guide_until  step at which the weight of the guide, which falls linearly, reaches zero, so that the errors of the
                 flow are not learned
    adversarial  weight of the two adversarial losses of the LS3D-Conv paper, on frames and on clips
    margin       pixels at the border of a crop that are seen by the flow estimation only and left out of the loss,
                 since the flow cannot know what lies beyond the border

    Raises ValueError for values out of range, and for a guide with another skip.
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
    """The further settings for denoising, removal of compression artifacts, and super-resolution.

    sigma          denoising: lowest and highest standard deviation of the Gaussian noise in 8-bit levels; it is drawn
                   uniformly between them for each crop
    told           denoising: share of the crops for which the model is given sigma
    film_noise     denoising: share of the other crops that have noise as in 4:2:0 films instead of white noise
    val_sigma      denoising: sigma of the noise in validations, which is given to the model
    compression    removal of artifacts: codec and quality of the training clips in turn, such as "h264 37" (crf) or
                   "jpeg2000 40" (-q:v of FFmpeg); validations use the first
    kernel         super-resolution: "BI" (bicubic), "BD" (Gaussian, sigma 1.6), or "real": as small films are in life,
                   see `real_small`
    pixel          weight of the loss that `loss` names
    flow_weighted  super-resolution: whether squared errors are weighted by the motion of their pixels (SoSR); with
                   loss = "mse"
    siamese        super-resolution: weights of the four terms of the loss on two consecutive frames (ToSR, see
                   `super_resolution_losses.siamese_terms`), in the distance that `loss` names; (): a single frame
    feature        super-resolution: weight of the distance between features of MobileNetV2
    feature_maps   those of its maps that are compared, of "0" to "18", the finest first
    backbone       its weights, as safetensors, under the names of its layers
    adversarial    super-resolution: weight of ESRGAN's relativistic adversarial loss
    judge          width of the first layer of its discriminator
    synthetic      share of the crops that are of photographs under a moving camera
    photographs    folders of pictures for these; of every 20, one is kept aside for measurements
    cutouts        folder of things that move before the photographs, see `read_cutouts`; "": none
    speed          fastest motion of these, in pixels per frame

    Raises ValueError for values that do not fit together.
    """

    sigma: tuple[float, float] = (0.0, 50.0)
    told: float = 0.75
    film_noise: float = 0.0
    val_sigma: float = 25.0
    compression: tuple[str, ...] = ("h264 37",)
    kernel: Literal["BI", "BD", "real"] = "BI"
    pixel: float = 1.0
    flow_weighted: bool = False
    siamese: tuple[float, ...] = ()
    feature: float = 0.0
    feature_maps: tuple[str, ...] = ("6",)
    backbone: str = ""
    adversarial: float = 0.0
    judge: int = 64
    synthetic: float = 0.0
    photographs: tuple[str, ...] = ()
    cutouts: str = ""
    speed: float = 16.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.synthetic < 1:
            raise ValueError(f"synthetic must lie in [0, 1), got {self.synthetic:g}")
        if self.flow_weighted and (self.loss != "mse" or self.siamese):
            raise ValueError('flow_weighted weights squared errors of single frames: set loss = "mse" and siamese = []')
        if len(self.siamese) not in (0, 4):
            raise ValueError(f"siamese must have the weights of four terms, or none, got {self.siamese}")


@dataclass(frozen=True)
class FlowConfig(TrainConfig):
    """The further settings for optical flow.

    gaps         distances in frames between the two frames of a pair, drawn evenly
    zoom         lowest and highest factor by which crops are enlarged
    turn         largest angle in degrees by which crops are turned
    shifted      share of the pairs whose second crop lies elsewhere in its frame, slightly turned and enlarged
    crossed      share of the pairs that a cut-out of another film crosses
    shift        largest distance, in pixels of a crop, for both
    led_until    step until which each level starts from what is taught plus a random error, and so learns before the
                 coarser ones have; then it starts from what these have found
    photometric  weight of the distance between a frame and the other one warped to it
    smoothness   weight of the roughness of the flow

    Raises ValueError for values out of range.
    """

    gaps: tuple[int, ...] = (1, 2, 4)
    zoom: tuple[float, float] = (0.8, 1.6)
    turn: float = 15.0
    shifted: float = 0.3
    crossed: float = 0.3
    shift: float = 80.0
    led_until: int = 0
    photometric: float = 4.0
    smoothness: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.gaps or min(self.gaps) < 1:
            raise ValueError(f"gaps must be distances of at least 1 frame, got {self.gaps}")
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError(f"zoom must be the lowest and the highest factor, above 0, got {self.zoom}")
        if self.crop % 32:
            raise ValueError(f"crop must be a multiple of 32 (the coarsest level's stride), got {self.crop}")


@dataclass(frozen=True)
class DeblurringConfig(TrainConfig):
    """The further settings for joint deblurring and interpolation.

    windows      windows of the model that follow each other in a training clip, so that its state is trained
    cycle        weight of the distance between each estimate and the earlier one of the same frame
    shutter      shortest and longest exposure, as shares of the interval between two frames; one of the exposures
                 within is drawn for each clip. The model is not told which
    unblurred    share of the clips whose shutter is open for a moment only, so that sharp films stay as they are
    shrink       factor by which real clips are reduced, so that neighbouring frames differ by a pixel or two
    gaps         source frames from one blurry frame to the next, of which one is drawn for each clip; even numbers
    synthetic    share of clips that are photographs under a moving camera
    speed        fastest motion of these, in pixels per interval
    photographs  folders of pictures for these
    cutouts      folder of things that move before the photographs, see `read_cutouts`; "": none

    Raises ValueError for values out of range.
    """

    windows: int = 2
    cycle: float = 0.1
    shutter: tuple[float, float] = (0.5, 1.0)
    unblurred: float = 0.0
    shrink: int = 3
    gaps: tuple[int, ...] = (2, 4)
    synthetic: float = 0.5
    speed: float = 16.0
    photographs: tuple[str, ...] = ()
    cutouts: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.windows < 1 or self.shrink < 1 or not self.gaps:
            raise ValueError(
                f"windows and shrink must be at least 1, and gaps list one, got {self.windows}, {self.shrink} and "
                f"{list(self.gaps)}"
            )
        if odd := [gap for gap in self.gaps if gap < 2 or gap % 2]:
            raise ValueError(f"gaps must be even numbers, so that the truth between is a real frame, got {odd[0]}")
        low, high = self.shutter
        if not (0 < low <= 0.875 and low + 0.25 <= high <= 1.125):
            raise ValueError(
                "shutter must be two shares of the interval, at least 0.25 apart and at most 1.125, since a moment is "
                f"an eighth of it, got {low:g} and {high:g}"
            )
        for name in ("synthetic", "unblurred"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")


@dataclass(frozen=True)
class RecognitionConfig(TrainConfig):
    """The further settings for recognition.

    `data` is one labelled set (`refilm.data.labelled`), of which one fold is held out and validated on. `train` are
    sets all of whose clips are learned from besides, and `val` is one that is validated on instead. Clips that show
    what the camera does can be made from stills (`refilm.data.camera_motion`); without `data` and `val`, a training
    validates on clips made from stills that are set aside. Settings of crops, of frames of a clip and of losses
    between pictures do not apply.

    fold           fold of `data`; "": its first one; "all": nothing is held out
    classes        names of the classes, in the order of the logits; clips of other classes are left out. By default
                   those of `data` and then those that other sets add
    synthetic      share of the clips that are made from stills
    made           what these show: "camera", what the camera does (`refilm.data.camera_motion`), or "figures", an arm
                   that draws figures in the air (`refilm.data.drawn_figures`)
    photographs    folders of pictures for these
    films          packs, or folders of films, whose clips give their middle frames for these
    cutouts        folder of things that stand or move before the stills, see `read_cutouts`; "": none
    made_val       clips that are made for validation
    backbone       weights of the model's backbones to start from, as safetensors, under the names of its layers
    optimizer      "adamw", or "sgd" with momentum 0.9
    backbone_rate  learning rate of backbones, relative to that of the rest
    flow_weight    weight of the distance between the flow that a model predicts, and the exact one of clips made from
                   stills, or of others that of a classical method; for models with `lesson`
    smoothing      label smoothing: share of the target that is spread over all classes
    span           least and largest share of a clip's length that a view shows; of clips made from stills, of the
                   length of the stretches into which the model cuts films
    area           least and largest share of the frame that a view shows
    aspect         largest ratio by which the aspect of that part may differ from the frame's
    colour         largest change of brightness, contrast and saturation, as a share
    flips          flips that half of the views have where the label allows it: "mirror", "upside_down", "reversal";
                   what they do to labels is data, see `refilm.data.flips`
    kept_scale     frames are kept in memory at this many times the size that the model sees, along each side
    shrunk         share of the views of films that look as if the film was a quarter of its size, along each side, and
                   had been enlarged bicubically: recognisers of mixed resolutions (SoSR and ToSR, Fig. 8)

    Raises ValueError for values out of range.
    """

    fold: str = ""
    classes: tuple[str, ...] = ()
    synthetic: float = 0.0
    made: Literal["camera", "figures"] = "camera"
    photographs: tuple[str, ...] = ()
    films: tuple[str, ...] = ()
    cutouts: str = ""
    made_val: int = 64
    backbone: str = ""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    backbone_rate: float = 1.0
    flow_weight: float = 0.0
    smoothing: float = 0.0
    span: tuple[float, float] = (0.8, 1.0)
    area: tuple[float, float] = (0.5, 1.0)
    aspect: float = 1.25
    colour: float = 0.3
    flips: tuple[str, ...] = ("mirror",)
    kept_scale: float = 1.2
    shrunk: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "fold", str(self.fold))  # many are numbers
        for name in ("span", "area"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise ValueError(f"{name} must be the least and the largest share, in (0, 1], got {low:g} and {high:g}")
        if unknown := [flip for flip in self.flips if flip not in FLIPS]:
            raise ValueError(f"no flip is called {unknown[0]!r}; there are: {', '.join(FLIPS)}")
        if not 0 <= self.synthetic <= 1:
            raise ValueError(f"synthetic must lie in [0, 1], got {self.synthetic:g}")
        if not 0 <= self.shrunk <= 1:
            raise ValueError(f"shrunk must lie in [0, 1], got {self.shrunk:g}")
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing must lie in [0, 1), got {self.smoothing:g}")
        if self.aspect < 1 or not 0 <= self.colour < 1:
            raise ValueError(
                f"aspect must be at least 1 and colour lie in [0, 1), got {self.aspect:g} and {self.colour:g}"
            )
        if self.optimizer not in ("adamw", "sgd"):
            raise ValueError(f'optimizer must be "adamw" or "sgd", got {self.optimizer!r}')


@dataclass(frozen=True)
class MorphingConfig(TrainConfig):
    """The further settings for spaces in which `refilm morph` goes from one picture to another.

    samples      one of the sets of `refilm.data.manifolds.SETS`; "": the pictures and films that `data` names
    pictures     pictures read of `data`, at most, evenly spread
    batch        samples per step
    critic       weight of the critic's verdict on decoded interpolations, for the autoencoder and for the curves
    prior        weight of the geometric prior: codes as far apart as their samples along the manifold
    spread       mean distance of codes that the prior asks for; the larger it is, the faster a decoder may change
    neighbours   by which the distance along the manifold is found, as the shortest chain of so many nearest neighbours
    speed        weight of the constant-speed loss
    length       weight of the minimising-geodesic loss
    pairs        curves per step
    moments      at which a curve is seen, drawn one in each of so many equal parts of [0, 1]
    curves_from  step from which the curves learn; before, only the autoencoder does

    Raises ValueError for values out of range.
    """

    model: str = "geodesic"
    samples: str = ""
    pictures: int = 400
    batch: int = 128
    critic: float = 0.005
    prior: float = 1.0
    spread: float = 2.0
    neighbours: int = 10
    speed: float = 1.0
    length: float = 1.0
    pairs: int = 32
    moments: int = 8
    curves_from: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.moments < 2 or self.pairs < 1 or self.neighbours < 1:
            raise ValueError(
                "moments must be at least 2, pairs and neighbours at least 1, got "
                f"{self.moments}, {self.pairs} and {self.neighbours}"
            )
