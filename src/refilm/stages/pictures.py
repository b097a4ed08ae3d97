"""The pictures of a program, numpy arrays or torch tensors, as frames for stages, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from refilm.models.contract import LEAST, MOST
from refilm.video import Colour, Frame, PixelFormat

Picture = np.ndarray | Tensor
# What a stream may consist of: pictures, pairs (time, picture), or Frames.
Item = Any

_CODES = PixelFormat("gbrp", "rgb", 8)
# Of no bits, since changes of a plane are scaled to 8-bit codes by the number of bits, and 1.0 is the whole range.
_SAMPLES = PixelFormat("gbrpf32le", "rgb", 0)
_FULL_RANGE = Colour(matrix="rgb", range="pc", transfer="iec61966-2-1")


class SampleFrame(Frame):
    """A frame whose planes hold samples in single precision, nominal range [0, 1], instead of codes."""

    @property
    def rgb(self) -> Tensor:
        green, blue, red = self.planes
        return torch.from_numpy(np.stack([red, green, blue]))

    def with_rgb(self, rgb: Tensor) -> Frame:
        red, green, blue = rgb.detach().float().cpu().numpy()
        return replace(self, planes=(green, blue, red))


@dataclass(frozen=True)
class Form:
    """What the items of a stream are. All are alike, and results are given back in the same form.

    kind      np.ndarray, Tensor or Frame
    dtype     of arrays and tensors; None for Frames
    device    of tensors
    size      (height, width)
    is_timed  whether pictures come in pairs (time, picture)
    """

    kind: type
    dtype: Any
    device: Any
    size: tuple[int, int]
    is_timed: bool

    @classmethod
    def of(cls, item: Item, number: int) -> Form:
        """The form of an item. Raises TypeError and ValueError for what is no picture.

        number   of the item in its stream, for messages
        """
        if isinstance(item, Frame):
            return cls(Frame, None, None, (item.height, item.width), True)
        is_timed = isinstance(item, tuple) and len(item) == 2
        picture = item[1] if is_timed else item
        if is_timed and not isinstance(item[0], Fraction | int):
            raise TypeError(
                f"picture {number}: times are exact, a Fraction in seconds such as Fraction(1, 25), "
                f"got {type(item[0]).__name__} {item[0]!r}"
            )
        if not isinstance(picture, np.ndarray | Tensor):
            raise TypeError(
                f"picture {number}: wanted a numpy array or a torch tensor [H, W, 3], a pair (time, picture), or a "
                f"Frame, got {type(picture).__name__}"
            )
        shape = tuple(picture.shape)
        if len(shape) != 3 or shape[2] != 3 or 0 in shape:
            way_out = "; move the channels last" if len(shape) == 3 and shape[0] == 3 else ""
            raise ValueError(f"picture {number}: wanted [H, W, 3], RGB, got {list(shape)}{way_out}")
        floating = picture.dtype.is_floating_point if isinstance(picture, Tensor) else picture.dtype.kind == "f"
        if not floating and picture.dtype not in (np.uint8, torch.uint8):
            raise TypeError(
                f"picture {number}: wanted uint8, 0 ... 255, or a floating point type, 0 ... 1, got {picture.dtype}"
            )
        kind, device = (Tensor, picture.device) if isinstance(picture, Tensor) else (np.ndarray, None)
        return cls(kind, picture.dtype, device, (shape[0], shape[1]), is_timed)

    def __str__(self) -> str:
        if self.kind is Frame:
            return f"a Frame of {self.size[1]}x{self.size[0]}"
        where = "" if self.device is None or self.device.type == "cpu" else f" on {self.device}"
        kind = f"{'tensor' if self.kind is Tensor else 'array'} [{self.size[0]}, {self.size[1]}, 3]"
        return f"{'(time, picture), ' * self.is_timed}{kind} of {self.dtype}{where}"

    def frames(self, items: Iterable[Item], rate: Fraction | None, last: Fraction) -> Iterator[Frame]:
        """The items as frames, one after another; one that has a time waits for that of the next.

        rate   pictures a second, where they have no times
        last   duration of the only picture of a stream, in seconds
        """
        waiting: Frame | None = None
        for number, item in enumerate(items):
            found = Form.of(item, number)
            if found != self:
                raise ValueError(f"picture {number}: all pictures of a stream are alike, got {found} after {self}")
            if self.kind is Frame:
                yield item
                continue
            if not self.is_timed:
                assert rate is not None
                yield self.frame(item, number, number / rate, 1 / rate)
                continue
            frame = self.frame(item[1], number, Fraction(item[0]), last)
            if waiting is not None:
                last = frame.time - waiting.time
                if last <= 0:
                    raise ValueError(f"picture {number}: times must rise, got {frame.time} after {waiting.time}")
                yield replace(waiting, duration=last)
            waiting = frame
        if waiting is not None:
            yield replace(waiting, duration=last)

    def frame(self, picture: Picture, number: int, time: Fraction, duration: Fraction) -> Frame:
        """A picture of this form as a frame. Raises ValueError for values that are out of range."""
        if isinstance(picture, Tensor):
            picture = picture.detach().cpu()
            picture = (picture.float() if picture.is_floating_point() else picture).numpy()
        # copies, since a program may use the memory of its picture again
        if picture.dtype == np.uint8:
            red, green, blue = (picture[..., channel].copy() for channel in range(3))
            return Frame((green, blue, red), _CODES, _FULL_RANGE, time, duration)
        red, green, blue = (picture[..., channel].astype(np.float32) for channel in range(3))
        low, high = min(c.min() for c in (red, green, blue)), max(c.max() for c in (red, green, blue))
        if not all(np.isfinite(c).all() for c in (red, green, blue)):
            raise ValueError(f"picture {number}: holds values that are not finite (NaN or infinite)")
        if low < LEAST or high > MOST:
            raise ValueError(
                f"picture {number}: wanted values in 0 ... 1, got {low:g} ... {high:g}; divide codes by the largest one"
            )
        return SampleFrame((green, blue, red), _SAMPLES, _FULL_RANGE, time, duration)

    def item(self, frame: Frame, with_time: bool) -> Item:
        """A frame as an item of this form. `with_time`: as a pair (time, picture) also if the form has no times."""
        if self.kind is Frame:
            return frame
        green, blue, red = frame.planes
        picture: Any = np.stack([red, green, blue], axis=-1)
        picture = picture.astype(self.dtype, copy=False) if self.kind is np.ndarray else torch.from_numpy(picture)
        if self.kind is Tensor:
            picture = picture.to(self.device, self.dtype)
        return (frame.time, picture) if with_time or self.is_timed else picture
