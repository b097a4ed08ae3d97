"""What the Triton kernels of the operators on maps [N, C, H, W] have in common.

A program works on a block of the pixels of one map. A place in a plane fits 32 bits (registration.MOST_PIXELS), maps
and channels are counted in 64. All maps are contiguous and in float32.
"""

# mypy: disable-error-code="no-untyped-def"

from typing import Any

from torch import Tensor

try:
    import triton
    import triton.language as tl

    available, reason = True, ""
except ImportError as error:
    available, reason = False, f"Triton cannot be loaded: {error}"

PIXELS = 128  # in a block
MOST_CHANNELS = 16  # in a block


if available:

    @triton.jit
    def block_of_pixels(H, W, PIXELS: tl.constexpr):
        """The pixels of this program: their map, places in a plane, rows, columns, and whether there are such."""
        blocks = tl.cdiv(H * W, PIXELS)
        n = (tl.program_id(0) // blocks).to(tl.int64)
        at = tl.program_id(0) % blocks * PIXELS + tl.arange(0, PIXELS)
        return n, at, at // W, at % W, at < H * W

    @triton.jit
    def block_of_channels(CHANNELS: tl.constexpr):
        """The channels of this program, where the second axis of the grid counts blocks of them."""
        return tl.program_id(1).to(tl.int64) * CHANNELS + tl.arange(0, CHANNELS)

    @triton.jit
    def in_frame(y, x, H, W):
        """Whether positions, whole or not, are in the frame; what is no number is not."""
        return (y >= 0) & (y < H) & (x >= 0) & (x < W)

    @triton.jit
    def read(map, plane, place, H, W, live):
        """One plane of a map at some places, [PIXELS]; 0 where they are not live."""
        return tl.load(map + plane * H * W + place, mask=live, other=0.0)

    @triton.jit
    def write(map, plane, place, H, W, value, live):
        """The opposite of `read`."""
        tl.store(map + plane * H * W + place, value, mask=live)

    @triton.jit
    def many(n, c, place, C, H, W):
        """Where some channels of map `n` lie at some places, [PIXELS, CHANNELS]."""
        return (n * C + c)[None, :] * H * W + place[:, None]


def run(kernel: Any, like: Tensor, *arguments: Any, others: tuple[int, ...] = (), **constants: Any) -> None:
    """Run a kernel for each block of the pixels of `like`, [N, ., H, W]; `others` are the further axes of the grid."""
    n, _, height, width = like.shape
    kernel[(n * triton.cdiv(height * width, PIXELS), *others)](*arguments, PIXELS=PIXELS, **constants)


def block(channels: int) -> tuple[int, int]:
    """How many channels are in a block, a power of two, and how many blocks there are."""
    size = min(MOST_CHANNELS, triton.next_power_of_2(channels))
    return size, triton.cdiv(channels, size)
