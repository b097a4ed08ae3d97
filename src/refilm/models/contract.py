"""What a model promises to those who run it: jobs, evaluation and training know models by these protocols alone.

A model is an `nn.Module` that inherits from one of them, and states what it demands as attributes of its class or as
properties. One that learns is made from a config, a dataclass, which it keeps as `config`.

    window          frames that it is shown at a time
    reach           pixels around a result that it depends on, on each side: tiles overlap by so much. None: it has to
                    see the whole picture, which is then never cut into tiles
    size_multiple   height and width have to be multiples of this
    scale           output pixels per input pixel, along each side
    recurrent       whether it carries a state from one call to the next. `reset` forgets it, and is called before the
                    first call of each segment of a job and after each scene cut, so that a result does not depend on
                    where a run began. Its reach is None: tiles would share the state

Memory is measured by calling the model on a small picture; nothing has to be declared for it, but see
`Interpolator.band_pixels`. Models compute in single precision unless they are trained in mixed precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn


class Runnable(Protocol):
    """What all kinds have in common; `task` is a key of `refilm.tasks.TASKS`."""

    task: str

    @property
    def window(self) -> int:
        raise NotImplementedError

    @property
    def reach(self) -> int | None:
        raise NotImplementedError

    @property
    def size_multiple(self) -> int:
        return 1

    @property
    def recurrent(self) -> bool:
        return False

    def reset(self) -> None:
        """Forget the state of a recurrent model."""
        return

    def __call__(self, clip: Tensor, *arguments: Any, **options: Any) -> Any: ...


class Restorer(Runnable, Protocol):
    """Makes a frame better with the help of its neighbours: denoising, artifact removal, super-resolution, deblurring.

    window            an odd number; the frame in the middle is restored
    temporal_filter   averages three results one after another, [N, 3, 3, sH, sW] -> [N, 3, sH, sW]; None: results
                      stay as they are. Applied after tiles are joined
    """

    temporal_filter: nn.Module | None

    @property
    def scale(self) -> int:
        return 1

    def prepare(self, clip: Tensor) -> Tensor:
        """What has to see the whole picture, before tiles: aligning the neighbours. [N, 3, T, H, W] -> same shape."""
        return clip

    def __call__(self, clip: Tensor, *arguments: Any, **options: Any) -> Tensor:
        """[N, 3, T, H, W] -> [N, 3, scale * H, scale * W], not clamped; may be called by tiles.

        A denoiser takes `sigma_8bit`, the standard deviation of the noise of 255, or None where it is not known.
        """
        ...


class Lesson(NamedTuple):
    """What an interpolator shows its trainer.

    frames    [N, 3, K, h, w], the new frames
    plain     [N, 3, K, h, w], what `Interpolator.plain` names
    offsets   [N, 4, K, h, w], where each new pixel is sampled in the two frames, (dy, dx) pixels into the first and
              then into the second; None where the model has no such thing
    """

    frames: Tensor
    plain: Tensor
    offsets: Tensor | None = None


class Interpolator(Runnable, Protocol):
    """Makes new frames between two.

    window          an even number: the two neighbours of the new frames are in the middle, the others lie beyond
    plain           the alternative that training compares it with: "blending", or the name of a model without weights
    redraws_inputs  whether it also redraws the frames it is given, as joint deblurring and interpolation does; it is
                    then asked for times from 0 to 1, both included, and the source's frames are replaced
    """

    @property
    def plain(self) -> str:
        return "blending"

    @property
    def redraws_inputs(self) -> bool:
        return False

    def between(self, clip: Tensor, times: Sequence[Fraction]) -> Tensor:
        """[N, 3, window, H, W], times in (0, 1) between the two frames in the middle -> [N, 3, len(times), H, W]."""
        raise NotImplementedError

    def lesson(self, clip: Tensor, times: Sequence[Fraction], margin: int = 0) -> Lesson:
        """`between` for training: with gradients, and beside the plain alternative.

        margin   pixels at the border that only the estimation of motion sees; results are smaller by so much on each
                 side. A model that estimates no motion first has no use for it, but for leaving the border out
        """
        first = clip.shape[2] // 2 - 1
        inside = slice(margin, -margin or None)
        weights = torch.tensor([float(time) for time in times], device=clip.device).view(1, 1, -1, 1, 1)
        blend = torch.lerp(clip[:, :, first : first + 1], clip[:, :, first + 1 : first + 2], weights)
        frames = self.between(clip, times)
        return Lesson(frames[..., inside, inside].float(), blend[..., inside, inside])

    def band_pixels(self, width: int) -> int | None:
        """How many pixels of a picture so wide the last part of `between` works on at a time; None: on all.

        A model with bands has `before_bands`, whose memory alone grows with the picture.
        """
        return None

    def before_bands(self, clip: Tensor, times: Sequence[Fraction]) -> None:
        """The part of `between` that comes before the bands, for measuring its memory."""
        return


class Recognizer(Runnable, Protocol):
    """Says what happens in a clip.

    labels   names of the classes, in the order of the logits
    """

    @property
    def labels(self) -> tuple[str, ...]:
        raise NotImplementedError

    def __call__(self, clip: Tensor, *arguments: Any, **options: Any) -> Tensor:
        """[N, 3, T, H, W] -> logits [N, len(labels)]"""
        ...


class Found(NamedTuple):
    """Objects in one frame: boxes [K, 4] (xyxy, pixels), scores [K] in [0, 1], labels [K] (places in `labels`)."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Detector(Runnable, Protocol):
    """Finds objects in the middle frame of a window.

    labels   names of the classes, in the order of their numbers
    """

    @property
    def labels(self) -> tuple[str, ...]:
        raise NotImplementedError

    def __call__(self, clip: Tensor, *arguments: Any, **options: Any) -> list[Found]:
        """[N, 3, T, H, W] -> what is found in the middle frame of each clip"""
        ...


class Codec(Runnable, Protocol):
    """Writes pictures as few bytes. `forward` gives the likelihoods that training needs; the other two do the work.

    A codec whose pictures refer to earlier ones is recurrent: after `reset` it begins with a picture that refers to
    none. `window` is 1.
    """

    def compress(self, frame: Tensor) -> bytes:
        """[3, H, W] in [0, 1] -> the bytes of one picture."""
        ...

    def decompress(self, data: bytes) -> Tensor:
        """The bytes of one picture -> [3, H, W]. Given in the same order as they were made."""
        ...
