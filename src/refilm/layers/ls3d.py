"""LS3D-Conv as a layer, which predicts the offset and the importance of each tap from its input.

Source   "Learnable sampling 3D convolution for video enhancement and action recognition", (1)-(3); the operator itself
         is `refilm.ops.ls3d_conv`.
"""

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from refilm.layers.conv3d import Conv3d
from refilm.ops import ls3d_conv

IMPORTANCE_AT_START = 0.95


class SamplingConv(Conv3d):
    """The convolution that predicts offsets and importances for an LS3D-Conv.

    It has a class of its own so that initialisation, learning rates and the loading of weights can treat it differently
    from the convolutions that compute features.
    """


def sampling_parameters(module: nn.Module) -> set[str]:
    """Names of the parameters in `module` that predict the offsets and importances of LS3D-Conv layers."""
    return {
        f"{name}.{own}"
        for name, part in module.named_modules()
        if isinstance(part, SamplingConv)
        for own, _ in part.named_parameters()
    }


class LS3DConv(nn.Conv3d):
    """`nn.Conv3d` with an offset and an importance for every tap, both predicted from the input.

    [N, C, T, H, W] -> [N, O, T', H', W'], arguments as `nn.Conv3d`. One convolution (`sampling`) predicts both: its
    first 2K channels are the offsets (dy, dx) of the K taps, in pixels of the input; its last K channels, through a
    sigmoid, the importances. It is initialised so that all offsets are 0 and all importances 0.95 for any input: the
    layer starts as the plain convolution with its weights multiplied by 0.95.

    max_offset       dy and dx are clamped to +-max_offset pixels, which makes the receptive field finite; None: not
                     clamped
    sampling_kernel  size of the convolution that predicts; odd

    Raises ValueError if a kernel size is even.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int, int],
        stride: int | tuple[int, int, int] = 1,
        padding: int | tuple[int, int, int] = 0,
        dilation: int | tuple[int, int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        max_offset: float | None = None,
        sampling_kernel: tuple[int, int, int] = (3, 3, 3),
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.max_offset = max_offset
        for name, sides in (("kernel_size", self.kernel_size), ("sampling_kernel", sampling_kernel)):
            if any(k % 2 == 0 for k in sides):
                raise ValueError(f"{name} must be odd, got {sides}")
        self.taps = math.prod(self.kernel_size)
        # The predictor's window is centred on that of the kernel. If it needs negative padding for this, because the
        # kernel is larger than the predictor's and not padded, the input is cropped instead (`_inside`).
        around = [
            own // 2 + p - d * (k // 2)
            for own, p, d, k in zip(
                sampling_kernel, _triple(self.padding), self.dilation, self.kernel_size, strict=True
            )
        ]
        self._inside = [max(0, -p) for p in around]
        self.sampling = SamplingConv(
            in_channels, 3 * self.taps, sampling_kernel, _triple(self.stride), _triple([max(0, p) for p in around])
        )
        self.reset_sampling()

    @classmethod
    def from_conv3d(cls, conv: nn.Conv3d, sampling_kernel: tuple[int, int, int] = (3, 3, 3)) -> Self:
        """A layer that starts as the given trained convolution, with its weights multiplied by 0.95.

        sampling_kernel   size of the convolution that predicts offsets and importances

        Raises ValueError if `conv` is padded by a name, such as "same", or with other values than zeros.
        """
        if isinstance(conv.padding, str) or conv.padding_mode != "zeros":
            raise ValueError(
                f"conv must be padded with zeros by numbers, got {conv.padding!r} of {conv.padding_mode!r}"
            )
        layer = cls(
            conv.in_channels,
            conv.out_channels,
            _triple(conv.kernel_size),
            _triple(conv.stride),
            _triple(conv.padding),
            _triple(conv.dilation),
            conv.groups,
            conv.bias is not None,
            sampling_kernel=sampling_kernel,
        ).to(conv.weight.device, conv.weight.dtype)
        with torch.no_grad():
            layer.weight.copy_(conv.weight)
            if layer.bias is not None and conv.bias is not None:
                layer.bias.copy_(conv.bias)
        return layer.train(conv.training)

    def reset_sampling(self) -> None:
        """Initialise the predictor: offsets 0 and importances 0.95 for any input."""
        assert self.sampling.bias is not None
        nn.init.zeros_(self.sampling.weight)
        nn.init.zeros_(self.sampling.bias)
        logit = math.log(IMPORTANCE_AT_START / (1 - IMPORTANCE_AT_START))
        with torch.no_grad():
            self.sampling.bias[2 * self.taps :] = logit

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [N, C, T, H, W] -> (offsets [N, 2K, T', H', W'] in pixels, importances [N, K, T', H', W'] in [0, 1])."""
        if any(self._inside):
            t, h, w = (slice(i, n - i) for i, n in zip(self._inside, x.shape[2:], strict=True))
            x = x[:, :, t, h, w]
        predicted = self.sampling(x)
        offset, logit = predicted.split((2 * self.taps, self.taps), dim=1)
        if self.max_offset is not None:
            offset = offset.clamp(-self.max_offset, self.max_offset)
        return offset, logit.sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        offset, importance = self.predict(x)
        return ls3d_conv(
            x,
            self.weight,
            offset,
            importance,
            self.bias,
            self.stride,
            _triple(self.padding),
            self.dilation,
            self.groups,
        )


def _triple(value: str | Sequence[int]) -> tuple[int, int, int]:
    time, height, width = (int(v) for v in value)
    return time, height, width
