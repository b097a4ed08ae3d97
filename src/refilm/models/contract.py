"""The protocols of models, one for each kind: all that jobs, evaluation and training know about a model.

A model is an `nn.Module` that inherits from one of these protocols. It states its requirements as attributes
of the class or as properties. A model that learns is made from a config, a dataclass, and keeps it as `config`.

    window          number of frames in its input
    reach           radius of the receptive field: pixels of context, on each side, that a result depends on. Tiles
                    overlap by this much. None: the model needs the whole picture, which is then never cut into tiles
    size_multiple   height and width must be multiples of this
    scale           output pixels per input pixel, along each side
    recurrent       whether the model keeps a state from one call to the next. `reset` clears it, and is called before
                    the first call of each segment of a job and after each scene cut, so that a result does not depend
                    on where a run began. Its reach is None, as tiles would share the state

A model that `create_model` has made has a `name`, that of the table.

The memory that a model needs is measured by calling it on a small picture. It has nothing to declare for this, unless
it works in bands (`Interpolator.band_pixels`). A call computes in single precision, except in training and where it is
made within `mixed`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from refilm.layers.temporal_filter import TemporalFilter

# The values that are taken for RGB in [0, 1]: those of codes beyond black and white, and of noise, lie within.
LEAST, MOST = -4.0, 5.0
APPEARANCE = "rgb"  # the stream of a recogniser that looks at single frames


class Runnable(Protocol):
    """What all kinds of models have in common.

    task        a key of `refilm.tasks.TASKS`
    precision   "float32", or "bfloat16" for a model whose pictures are made within `mixed`
    """

    task: str
    precision: str = "float32"

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
    def scale(self) -> int:
        return 1

    @property
    def recurrent(self) -> bool:
        return False

    def reset(self) -> None:
        """Clear the state of a recurrent model."""
        return

    def __call__(self, clip: Tensor, *arguments: Any, **options: Any) -> Any:
        """All that the model does: the input is checked (`check_clip`), and every step is taken."""
        ...


def mixed(model: Runnable, device: torch.device | str) -> torch.autocast:
    """A context in which a model computes in its own `precision`; what loses by bfloat16 stays in float32."""
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=model.precision == "bfloat16")


class Restorer(Runnable, Protocol):
    """Restores the middle frame of a window: denoising, artifact removal, super-resolution, deblurring.

    window            an odd number
    temporal_filter   filters three consecutive results after tiles have been joined; None: results are final
    """

    temporal_filter: TemporalFilter | None

    def prepare(self, clip: Tensor) -> Tensor:
        """Preprocessing that needs the whole picture, before it is cut into tiles, such as aligning the neighbours.

        [N, 3, T, H, W] -> same shape.
        """
        return clip

    def network(self, prepared: Tensor, *arguments: Any, **options: Any) -> Tensor:
        """What is done with the output of `prepare`, or with tiles of it; by default the whole call.

        Shapes and options are those of the call. The input is not checked.
        """
        return self(prepared, *arguments, **options)

    def __call__(self, clip: Tensor, *arguments: Any, **options: Any) -> Tensor:
        """Restore the middle frame: `prepare`, then `network`.

        [N, 3, T, H, W], RGB in [0, 1] -> [N, 3, scale * H, scale * W], not clamped. A denoiser takes `sigma_8bit`, the
        standard deviation of the noise in 8-bit levels, or None where it is not known.

        Raises as `check_clip`.
        """
        ...


class Lesson(NamedTuple):
    """The output of `Interpolator.lesson`, for K new frames.

    frames    [N, 3, K, h, w], the new frames
    plain     [N, 3, K, h, w], the same frames made by the plain alternative, `Interpolator.plain`
    offsets   [N, 4, K, h, w], from each new pixel to the position where it is sampled, in pixels: (dy, dx) in the first
              input frame, then in the second; None for a model without such offsets
    """

    frames: Tensor
    plain: Tensor
    offsets: Tensor | None = None


class Estimate(NamedTuple):
    """One estimate of a frame, of which a model that redraws its inputs may make several.

    time      of the frame, in intervals since the first frame of the clip
    frame     [N, 3, H, W]
    earlier   an earlier estimate of the same frame, on which this one is founded; None if it is the first
    """

    time: Fraction
    frame: Tensor
    earlier: Tensor | None = None


class Interpolator(Runnable, Protocol):
    """Makes new frames between two frames.

    window          an even number: the new frames lie between the two frames in the middle; the others come before and
                    after these
    plain           the plain alternative that training compares the model with: "blending", or the name of a model
                    without weights
    remembered      bytes for each pixel that it keeps from one call to the next, to save time
    redraws_inputs  whether it also makes new versions of its input frames, as joint deblurring and interpolation does;
                    `between` is then also called with the times 0 and 1, and the source's frames are replaced
    instants        the only times in (0, 1) at which it can make frames; None: any

    `between` of a recurrent model is called once for each interval of a scene, in order: without times where no frame
    is wanted, so that the state goes on, and if it redraws its inputs, with the time 1 in the last interval.
    """

    @property
    def plain(self) -> str:
        return "blending"

    @property
    def remembered(self) -> float:
        return 0.0

    @property
    def redraws_inputs(self) -> bool:
        return False

    @property
    def instants(self) -> tuple[Fraction, ...] | None:
        return None

    def between(self, clip: Tensor, times: Sequence[Fraction]) -> Tensor:
        """The frames at `times` between the two frames in the middle, which are at 0 and 1.

        [N, 3, window, H, W], RGB in [0, 1], and times in (0, 1) -> [N, 3, len(times), H, W].

        Raises as `check_clip` and `check_times`.
        """
        raise NotImplementedError

    def estimates(self, clip: Tensor) -> Iterator[Estimate]:
        """For training, all that a model which redraws its inputs makes of a clip, with gradients; else nothing.

        [N, 3, T, H, W], T >= window. A recurrent model begins anew, and forgets the clip afterwards.
        """
        return iter(())

    def unlearned(self, clip: Tensor) -> Sequence[Tensor]:
        """What `lesson` begins with that does not learn, such as the motion by DIS; nothing if all of it does.

        So a training can compute it ahead, in other processes. `clip` as in `between`.
        """
        return ()

    def lesson(
        self, clip: Tensor, times: Sequence[Fraction], margin: int = 0, unlearned: Sequence[Tensor] = ()
    ) -> Lesson:
        """`between` for training: the same frames with gradients, and those of the plain alternative.

        margin     pixels cut off from the results on each side, h = H - 2 * margin. A model that estimates motion first
                   does so on the whole clip, since near its border the flow cannot know what lies beyond
        unlearned  what `unlearned` gave for this clip; computed where it is not given
        """
        first = clip.shape[2] // 2 - 1
        inside = slice(margin, -margin or None)
        weights = torch.tensor([float(time) for time in times], device=clip.device).view(1, 1, -1, 1, 1)
        blend = torch.lerp(clip[:, :, first : first + 1], clip[:, :, first + 1 : first + 2], weights)
        frames = self.between(clip, times)
        return Lesson(frames[..., inside, inside].float(), blend[..., inside, inside])

    def band_pixels(self, width: int) -> int | None:
        """Pixels of a band with its halo, for a picture of this width, if `between` works in bands of rows.

        None if it does not. `between` is then `in_bands(clip, before_bands(clip), times)`, and its memory is that of
        `before_bands`, or of what this gives and of one band, if that is more.
        """
        return None

    def before_bands(self, clip: Tensor) -> Sequence[Tensor]:
        """What the bands need of the whole picture, such as its motion. `clip` as in `between`."""
        return ()

    def in_bands(self, clip: Tensor, seen: Sequence[Tensor], times: Sequence[Fraction]) -> Tensor:
        """`between`, from what `before_bands` has seen."""
        return self.between(clip, times)


@dataclass(frozen=True)
class Sampling:
    """Which frames of a stretch of film a recogniser sees.

    The stretch is cut into `segments` equal parts, as in TSN. Each gives one snippet: `snippet` frames that follow each
    other at `rate` frames per second, around the middle of the part. So a clip has segments * snippet frames, whatever
    the frame rate of the film.

    height, width   size to which frames are reduced
    seconds         length of the windows into which a film is cut; a set of clips is seen clip by clip instead
    """

    segments: int
    snippet: int = 1
    rate: Fraction = Fraction(15)
    height: int = 224
    width: int = 224
    seconds: Fraction = Fraction(2)

    @property
    def frames(self) -> int:
        return self.segments * self.snippet


class Recognizer(Runnable, Protocol):
    """Classifies what happens in a clip.

    labels     names of the classes, in the order of the logits
    sampling   the frames that it wants, and their size; `window` is their number. A model with segment consensus also
               takes clips of more or fewer segments
    sees       the names of its streams, see `by_stream`
    """

    @property
    def labels(self) -> tuple[str, ...]:
        raise NotImplementedError

    @property
    def sampling(self) -> Sampling:
        raise NotImplementedError

    @property
    def window(self) -> int:
        return self.sampling.frames

    @property
    def sees(self) -> tuple[str, ...]:
        return (APPEARANCE,)

    def by_stream(self, clip: Tensor) -> dict[str, Tensor]:
        """The logits of each stream, which add up to those of the call. Arguments and shapes as for the call.

        The stream APPEARANCE is what single frames show; any other sees how frames change.
        """
        return {APPEARANCE: self(clip)}

    def unlearned(self, clip: Tensor) -> Tensor | None:
        """What training begins with that does not learn, such as optical flow; None if there is nothing.

        `heads` and `lesson` take it as a second argument, so a training can compute it ahead, in other processes.
        """
        return None

    def activation(self, clip: Tensor) -> Tensor | None:
        """How much each place of a clip speaks for each class: the classifier on the last map instead of on its mean.

        [N, 3, T, H, W] -> [N, len(labels), T', h, w], the whole clip in each direction, at any resolution; None: the
        model has no such map.
        """
        return None

    def __call__(self, clip: Tensor, *arguments: Any, **options: Any) -> Tensor:
        """[N, 3, T, H, W], RGB in [0, 1], snippet after snippet -> logits [N, len(labels)]"""
        ...


class Found(NamedTuple):
    """The objects in one frame.

    boxes    [K, 4]   left, top, right and bottom, pixels
    scores   [K]      in [0, 1]
    labels   [K]      indices into `Detector.labels`
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor


class Detector(Runnable, Protocol):
    """Finds objects in the middle frame of a window.

    labels   names of the classes, by index
    side     short side to which pictures should be reduced before, in pixels
    places   of a window, the frames that it looks at; the middle of these is that of the window

    A call is `see`, on each of these frames, and `found_in`. So what it makes of a frame alone need be computed once
    only in a stream, and not for each window that the frame is in.
    """

    @property
    def labels(self) -> tuple[str, ...]:
        raise NotImplementedError

    @property
    def side(self) -> int:
        raise NotImplementedError

    def places(self) -> list[int]:
        return list(range(self.window))

    def see(self, frames: Tensor) -> Any:
        """What it makes of single frames: tensors in named tuples. [N, 3, H, W], RGB in [0, 1]"""
        raise NotImplementedError

    def found_in(self, seen: Sequence[Any], pictures: Sequence[Tensor], least: float) -> Found:
        """The objects in the middle one of frames that were seen one by one.

        seen       what `see` gave for each, N = 1
        pictures   [1, 3, H, W] each
        least      score of an object
        """
        raise NotImplementedError

    def candidates(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        """The call without its end, in which all but the best of the boxes on one object are left out.

        It takes the same steps whatever it sees, so it can be written as a graph. The clip is not checked.

        [N, 3, T, H, W] -> boxes [N, R, 4], left, top, right and bottom in pixels; scores [N, R, len(labels)]
        """
        raise NotImplementedError

    def __call__(self, clip: Tensor, *arguments: Any, **options: Any) -> list[Found]:
        """[N, 3, T, H, W] -> for each clip, the objects in its middle frame."""
        ...


class Codec(Runnable, Protocol):
    """A learned codec: `compress` writes a picture as bytes, `decompress` reads it; `forward` is for training.

    `window` is 1. A codec whose pictures refer to earlier ones is recurrent: after `reset`, the first one refers to
    none. If it does not code such a key picture itself, that is coded by another codec and handed over by `refer_to`.

    qualities    how many there are: 1 is the smallest in bytes
    codes_keys   whether it codes key pictures itself
    levels       decoded pictures are rounded to multiples of 1 / levels, 255 for 8 bit, before others refer to them, so
                 that what differs in the last digits between machines dies out. To be set by who uses it
    """

    levels: int

    @property
    def qualities(self) -> int:
        return 1

    @property
    def codes_keys(self) -> bool:
        return True

    def trade_off(self, quality: int) -> float:
        """lambda of a quality: pictures have the least lambda * D + R, with D of RGB in [0, 1], and R in bits a pixel.

        For codecs that do not code key pictures themselves.
        """
        raise NotImplementedError

    def refer_to(self, picture: Tensor) -> None:
        """The next picture refers to this one, as it was decoded, [3, H, W]."""
        raise NotImplementedError

    def compress(self, frame: Tensor, quality: int = 1, effort: int = 0) -> bytes:
        """The bytes of one picture, which decoded is `decoded`.

        frame     [3, H, W] in [0, 1]
        quality   1 ... qualities
        effort    0 for none; more spends time on better pictures for fewer bits, which take no longer to decode
        """
        ...

    def decompress(self, data: bytes) -> Tensor:
        """The bytes of one picture -> [3, H, W]. Pictures are decompressed in the order in which they were made.

        Raises ValueError for bytes that cannot be a picture. Others give some picture: checksums are the container's.
        """
        ...

    @property
    def decoded(self) -> Tensor:
        """The last picture as it is decoded. [3, H, W]"""
        raise NotImplementedError


class Space(Protocol):
    """A space of pictures, or other samples, in which there is a way from one to another.

    shape   of a sample, such as (C, H, W)
    """

    @property
    def shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    def encode(self, samples: Tensor) -> Tensor:
        """[N, *shape] -> codes [N, d]"""
        raise NotImplementedError

    def decode(self, codes: Tensor) -> Tensor:
        """Codes [N, d] -> samples [N, *shape]"""
        raise NotImplementedError

    def between(self, z0: Tensor, z1: Tensor, times: Tensor) -> Tensor:
        """The codes on the way from one to another. [P, d], [P, d], [P, T] in [0, 1] -> [P, T, d]"""
        raise NotImplementedError

    def speed(self, z0: Tensor, z1: Tensor, times: Tensor) -> Tensor:
        """How fast the sample changes on the way, in its Euclidean norm. Arguments as for `between`. -> [P, T]"""
        raise NotImplementedError


def check_clip(model: Runnable, clip: Any, lengths: Sequence[int] = ()) -> None:
    """Check the input of a model's call.

    lengths   numbers of frames that the model takes; `window` by default

    Raises TypeError unless it is a tensor in the precision of the model, which is single; ValueError for other shapes
    and devices, and for values that cannot be RGB in [0, 1].
    """
    name = getattr(model, "name", type(model).__name__)
    wanted = " or ".join(map(str, lengths or (model.window,)))
    if not isinstance(clip, Tensor):
        raise TypeError(f"{name} takes a torch tensor [N, 3, {wanted}, H, W], got {type(clip).__name__}")
    own = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    if clip.dtype not in (torch.float32, torch.float64):
        way_out = "call .float() first" if clip.is_floating_point() else "divide 8-bit codes by 255 first"
        raise TypeError(f"{name} takes float32, RGB in 0 ... 1, got {clip.dtype}; {way_out}")
    if own is not None and own.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name} computes in single precision, and its weights are {own.dtype}; call .float() on it")
    if own is not None and own.dtype != clip.dtype:
        raise TypeError(f"{name} has weights in {own.dtype}, and the clip is {clip.dtype}; convert one of them")
    if own is not None and own.device != clip.device:
        raise ValueError(f"{name} is on {own.device}, and the clip on {clip.device}; move one of them")
    if clip.ndim != 5 or clip.shape[1] != 3 or clip.shape[2] not in (lengths or (model.window,)) or 0 in clip.shape:
        raise ValueError(f"{name} takes a clip [N, 3, {wanted}, H, W], {wanted} RGB frames, got {list(clip.shape)}")
    multiple, (height, width) = model.size_multiple, clip.shape[3:]
    if height % multiple or width % multiple:
        raise ValueError(
            f"{name} needs H and W to be multiples of {multiple}, got {height} x {width}; pad the clip first"
        )
    if clip.device.type != "meta" and not torch.compiler.is_compiling():
        low, high = (float(value) for value in clip.detach().aminmax())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"{name} takes RGB in 0 ... 1, and the clip has values that are not finite")
        if low < LEAST or high > MOST:
            raise ValueError(f"{name} takes RGB in 0 ... 1, got {low:g} ... {high:g}; divide 8-bit codes by 255 first")


def check_times(times: Sequence[Fraction]) -> None:
    """Raises ValueError unless the times of new frames lie between the two frames."""
    outside = [time for time in times if not 0 < time < 1]
    if outside:
        raise ValueError(f"times must lie strictly between 0 and 1, got {', '.join(map(str, outside))}")
