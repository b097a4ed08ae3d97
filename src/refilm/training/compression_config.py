"""The settings of trainings of learned codecs."""

from __future__ import annotations

from dataclasses import dataclass

from refilm.training.config import TrainConfig


@dataclass(frozen=True)
class PictureCompressionConfig(TrainConfig):
    """The further settings for the codec of single pictures.

    photographs  folders of pictures that are learned from besides the frames of films
    stills       share of crops that are of these
    balance      the loss of a crop is divided by lambda to this power, so that the best qualities, whose losses are
                 the largest, do not rule all others

    Raises ValueError for values out of range.
    """

    model: str = "hyperprior-small"
    photographs: tuple[str, ...] = ()
    stills: float = 0.5
    balance: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop % 64:
            raise ValueError(f"crop must be a multiple of 64 (the hyperprior's stride), got {self.crop}")
        if not 0 <= self.stills <= 1:
            raise ValueError(f"stills must lie in [0, 1], got {self.stills:g}")


@dataclass(frozen=True)
class VideoCompressionConfig(TrainConfig):
    """The further settings for the codec of frames that refer to the one before.

    Learning goes by stages: motion alone, by how well it warps; then motion and compensation; then all.

    motion_until        step until which motion is learned alone
    compensation_until  step until which the residual is not learned
    helped_until        step until which the errors of the warped frame and of the prediction are added to that of the
                        result, by the weight `help`
    help                that weight, lambda_warp and lambda_mc in DVC
    runs                lengths of runs of frames that each refer to the one before, as it was decoded, with gradients
                        through all of them (EPA); one length is DVC's way
    longer_from         steps from which the second, third ... of these lengths holds
    gaps                distances of the frames of a run in the source, drawn evenly
    intra               share of runs that begin with a frame as a codec of single pictures has left it; the others
                        begin with the source's own
    balance             as in `PictureCompressionConfig`

    Raises ValueError for values out of range.
    """

    model: str = "dvc-small"
    motion_until: int = 0
    compensation_until: int = 0
    helped_until: int = 0
    help: float = 0.1
    runs: tuple[int, ...] = (1,)
    longer_from: tuple[int, ...] = ()
    gaps: tuple[int, ...] = (1,)
    intra: float = 0.75
    balance: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop % 64:
            raise ValueError(f"crop must be a multiple of 64 (the hyperprior's stride), got {self.crop}")
        if len(self.longer_from) != len(self.runs) - 1 or min(self.runs) < 1:
            raise ValueError(
                "longer_from must have a step for each of runs but the first, and runs be at least 1, got "
                f"{list(self.longer_from)} and {list(self.runs)}"
            )
        if not self.gaps or min(self.gaps) < 1:
            raise ValueError(f"gaps must be distances of at least 1 frame, got {list(self.gaps)}")
        if not 0 <= self.intra <= 1:
            raise ValueError(f"intra must lie in [0, 1], got {self.intra:g}")

    def run_at(self, step: int) -> int:
        """The number of frames of a run that are coded at a step."""
        return self.runs[sum(step >= start for start in self.longer_from)]
