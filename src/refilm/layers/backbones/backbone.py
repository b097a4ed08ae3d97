"""What the networks that turn frames into features have in common."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from torch import Tensor, nn

# Mean and standard deviation of ImageNet's pictures, by which all backbones expect RGB to be normalised.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class MapSize(NamedTuple):
    """A map of features: pixels of a frame per place, along each side, and channels."""

    stride: int
    channels: int


class Temporal(nn.Module):
    """A module that mixes neighbouring frames: `forward(x, length)`, where each `length` frames of x are a clip."""


class Backbone(nn.Module):
    """Turns frames into maps of features, coarser and coarser.

    sizes       the maps that it names, in the order in which they are computed; the last is the one for classifiers
    renewed     how the names of those parameters begin for which weights that were learned on pictures are no start
    ends_early  whether `end_at` was called
    """

    sizes: Mapping[str, MapSize]
    renewed: tuple[str, ...] = ()
    ends_early = False

    @property
    def width(self) -> int:
        """Channels of the last map."""
        return list(self.sizes.values())[-1].channels

    def steps(self) -> Iterator[tuple[str, nn.Module]]:
        """The parts in their order, each under the name of the map that it makes, or "" if that has no name."""
        raise NotImplementedError

    def maps(self, frames: Tensor, wanted: Collection[str] = (), length: int = 1) -> dict[str, Tensor]:
        """The maps of these names, and the last.

        frames  [N * length, planes, H, W]   normalised; `length` frames that follow each other are one clip
        out     by name, [N * length, channels, H / stride, W / stride], rounded up
        """
        found, last = {}, list(self.sizes)[-1]
        for name, step in self.steps():
            frames = through(step, frames, length)
            if name in wanted or name == last:
                found[name] = frames
            if name == last:
                break
        return found

    def end_at(self, last: str) -> None:
        """Leave out all that comes after the map of this name, which then is the last."""
        steps = list(self.steps())
        after = next(place for place, (name, _) in enumerate(steps) if name == last) + 1
        unused = {step for _, step in steps[after:]}
        for parent in list(self.modules()):
            for name, child in list(parent.named_children()):
                if child in unused:
                    setattr(parent, name, nn.Identity())
        names, self.ends_early = list(self.sizes), True
        self.sizes = {name: self.sizes[name] for name in names[: names.index(last) + 1]}

    def start_from(self, state: Mapping[str, Tensor]) -> None:
        """Take weights that were learned on RGB pictures.

        The first convolution of a backbone for other planes, such as flow, gets the mean over RGB for each of them
        (Temporal Segment Networks, "cross modality pre-training"). Raises RuntimeError if names or shapes differ.
        """
        own = self.state_dict()
        if self.ends_early:
            state = {name: value for name, value in state.items() if name in own}
        state = {name: value for name, value in state.items() if not name.startswith(self.renewed)}
        state |= {name: value for name, value in own.items() if name.startswith(self.renewed)}
        first, planes = next(iter(own)), next(iter(own.values())).shape[1]
        if first in state and state[first].shape[1] != planes:
            state[first] = state[first].mean(dim=1, keepdim=True).expand(-1, planes, -1, -1)
        self.load_state_dict(state)


def through(module: nn.Module, x: Tensor, length: int) -> Tensor:
    """Call a module, which may be of those that have to be told how long the clips are."""
    out: Tensor = module(x, length) if isinstance(module, Temporal) else module(x)
    return out


def normalised(frames: Tensor) -> Tensor:
    """RGB in [0, 1], [..., 3, H, W], as backbones expect it."""
    mean, std = (frames.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (frames - mean) / std


def conv_bn(channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution without bias that keeps the size but for its stride, and its batch normalisation."""
    conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out)]


def he_start(backbone: nn.Module) -> None:
    """He initialisation of all convolutions; biases zero, batch normalisation the identity."""
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def keep_stride(backbone: Backbone, most: int) -> None:
    """Let no map have a larger stride than `most`: later steps keep the size, and their kernels are dilated instead.

    What is then computed at the places of the former, coarser map is the same ("a trous"), and beside them it is
    interpolated by the network itself. So weights that were learned at the former strides fit.
    """
    stride, dilation = 1, 1
    for _, step in backbone.steps():
        for module in step.modules():
            if isinstance(module, nn.MaxPool2d):
                assert isinstance(module.stride, int)
                stride *= module.stride
            if not isinstance(module, nn.Conv2d):
                continue
            own = module.stride[0]
            module.dilation = (dilation, dilation)
            module.padding = (dilation * (module.kernel_size[0] // 2),) * 2
            # the convolutions of a shortcut have the stride of the branch beside them, which is counted once
            if own > 1 and not _is_shortcut(step, module):
                if stride * own > most:
                    dilation *= own
                else:
                    stride *= own
            if own > 1 and dilation > 1:
                module.stride = (1, 1)
    backbone.sizes = {name: MapSize(min(size.stride, most), size.channels) for name, size in backbone.sizes.items()}


def _is_shortcut(step: nn.Module, module: nn.Module) -> bool:
    shortcut = getattr(step, "downsample", None)
    return shortcut is not None and any(module is each for each in shortcut.modules())


def freeze(module: nn.Module) -> None:
    """No parameter learns, and batch normalisation uses and keeps its statistics, until `train` is called."""
    module.requires_grad_(False)
    module.eval()
