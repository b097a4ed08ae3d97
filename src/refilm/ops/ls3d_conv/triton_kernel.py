"""The CUDA kernels of LS3D-Conv, in Triton. Each program samples a block of columns in registers and multiplies it with
the weights at once, so no column is written to memory. x and the gradient of the output are read channels last.

The gradient of x is added up with atomics, so its last bits vary from run to run.
"""

# ruff: noqa: E741  (O is the number of output channels, as in the rest of the package)
# mypy: disable-error-code="no-untyped-def"

import os
from typing import Any

import torch
from torch import Tensor

from refilm.ops.layout import clip_format
from refilm.ops.ls3d_conv import reference
from refilm.ops.ls3d_conv.reference import Geometry

try:
    import triton
    import triton.language as tl

    available, reason = True, ""
except ImportError as error:
    available, reason = False, f"Triton cannot be loaded: {error}"

PIXELS = 64  # output pixels in a block
SPLITS = 16  # parts of the pixels in the gradient of the weights; their sums are added in a fixed order


if available:

    @triton.jit
    def _dot(a, b, total, PRECISION: tl.constexpr):
        """total + a b"""
        if PRECISION == "widened":
            total = tl.dot(a.to(tl.float32), b.to(tl.float32), total, input_precision="ieee")
        else:
            total = tl.dot(a, b, total, input_precision=PRECISION)
        return total

    @triton.jit
    def _position(p, tap, offset, importance, T2, H2, W2, KH, KW, sT, sH, sW, pT, pH, pW, dT, dH, dW, P,
                  on, ok, ot, oy, ox, mn, mk, mt, my, mx):  # fmt: skip
        """Where `tap` samples for the output pixels p: batch, frame and position (y, x), and the importance."""
        live = p < P
        x2, y2, t2, n = p % W2, (p // W2) % H2, (p // (W2 * H2)) % T2, p // (W2 * H2 * T2)
        # in 64 bits: with many frames, planes can lie more than 2^31 numbers apart
        batch, plane = n.to(tl.int64), tap + tl.zeros_like(p).to(tl.int64)
        o = offset + batch * on + 2 * plane * ok + t2 * ot + y2 * oy + x2 * ox
        dy, dx = tl.load(o, mask=live, other=0.0).to(tl.float32), tl.load(o + ok, mask=live, other=0.0).to(tl.float32)
        i = importance + batch * mn + plane * mk + t2 * mt + y2 * my + x2 * mx
        m = tl.load(i, mask=live, other=0.0).to(tl.float32)
        t = t2 * sT - pT + tap // (KH * KW) * dT
        y = (y2 * sH - pH + (tap // KW) % KH * dH).to(tl.float32) + dy
        x = (x2 * sW - pW + tap % KW * dW).to(tl.float32) + dx
        return n, t, y, x, m

    @triton.jit
    def _corner(n, t, top, left, T, H, W, C):
        """Whether the pixel is in the clip, and where its channels start."""
        # compared as floats, before the conversion to integers, so that a position that is not finite is outside
        inside = (t >= 0) & (t < T) & (top >= 0) & (top < H) & (left >= 0) & (left < W)
        y, x = tl.where(inside, top, 0.0).to(tl.int64), tl.where(inside, left, 0.0).to(tl.int64)
        return inside, ((n.to(tl.int64) * T + t) * H + y) * W * C + x * C

    @triton.jit
    def _gather(x, start, inside, share, c, channels):
        """share * pixels, [PIXELS, BLOCK_C]; a pixel whose share is zero is not read."""
        counts = inside & (share != 0)
        pixels = tl.load(x + start[:, None] + c[None, :], mask=counts[:, None] & channels[None, :], other=0.0)
        return tl.where(inside, share, 0.0)[:, None] * pixels.to(tl.float32)

    @triton.jit
    def _columns(x, n, t, y, x_, m, T, H, W, C, c, channels):
        """The samples of the block, [PIXELS, BLOCK_C], float32."""
        top, left = tl.floor(y), tl.floor(x_)
        down, right = y - top, x_ - left
        inside, start = _corner(n, t, top, left, T, H, W, C)
        column = _gather(x, start, inside, m * (1 - down) * (1 - right), c, channels)
        inside, start = _corner(n, t, top, left + 1, T, H, W, C)
        column += _gather(x, start, inside, m * (1 - down) * right, c, channels)
        inside, start = _corner(n, t, top + 1, left, T, H, W, C)
        column += _gather(x, start, inside, m * down * (1 - right), c, channels)
        inside, start = _corner(n, t, top + 1, left + 1, T, H, W, C)
        column += _gather(x, start, inside, m * down * right, c, channels)
        return column

    @triton.jit
    def _forward(x, weight, offset, importance, bias, out, C, O, CG, OG, K, T, H, W, T2, H2, W2, KH, KW,
                 sT, sH, sW, pT, pH, pW, dT, dH, dW, P, on, ok, ot, oy, ox, mn, mk, mt, my, mx,
                 BIAS: tl.constexpr, PRECISION: tl.constexpr,
                 PIXELS: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_O: tl.constexpr):  # fmt: skip
        g = tl.program_id(2)
        p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
        o = tl.program_id(1) * BLOCK_O + tl.arange(0, BLOCK_O)
        total = tl.zeros((PIXELS, BLOCK_O), tl.float32)
        for tap in range(K):
            n, t, y, x_, m = _position(p, tap, offset, importance, T2, H2, W2, KH, KW, sT, sH, sW, pT, pH, pW,
                                       dT, dH, dW, P, on, ok, ot, oy, ox, mn, mk, mt, my, mx)  # fmt: skip
            for c0 in range(0, CG, BLOCK_C):
                c = c0 + tl.arange(0, BLOCK_C)
                column = _columns(x, n, t, y, x_, m, T, H, W, C, g * CG + c, c < CG)
                # weight is [K, G, CG, OG]
                w = tl.load(weight + ((tap * (C // CG) + g) * CG + c)[:, None] * OG + o[None, :],
                            mask=(c < CG)[:, None] & (o < OG)[None, :], other=0.0)  # fmt: skip
                total = _dot(column.to(w.dtype), w, total, PRECISION)
        if BIAS:
            total += tl.load(bias + g * OG + o, mask=o < OG, other=0.0).to(tl.float32)[None, :]
        to = out + p.to(tl.int64)[:, None] * O + g * OG + o[None, :]
        tl.store(to, total.to(out.dtype.element_ty), mask=(p < P)[:, None] & (o < OG)[None, :])

    @triton.jit
    def _scatter(x, x_grad, column_grad, inside, start, share, c, channels):
        """Adds share * column_grad to the gradient of a corner; returns column_grad . pixels, [PIXELS]."""
        live = inside[:, None] & channels[None, :]
        place = start[:, None] + c[None, :]
        pixels = tl.load(x + place, mask=live, other=0.0).to(tl.float32)
        # as in the reference, a pixel that is not finite counts only where its share is not zero
        pixels = tl.where((share != 0)[:, None] | (pixels - pixels == 0), pixels, 0.0)
        tl.atomic_add(x_grad + place, share[:, None] * column_grad, mask=live & (share != 0)[:, None])
        return tl.sum(column_grad * pixels, 1)

    @triton.jit
    def _backward_inputs(grad, x, weight, offset, importance, x_grad, offset_grad, importance_grad,
                         C, O, CG, OG, K, T, H, W, T2, H2, W2, KH, KW, sT, sH, sW, pT, pH, pW, dT, dH, dW, P,
                         on, ok, ot, oy, ox, mn, mk, mt, my, mx, PRECISION: tl.constexpr,
                         PIXELS: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_O: tl.constexpr):  # fmt: skip
        """For one block of pixels and one tap: the gradients of offset and importance, and its part of that of x."""
        tap = tl.program_id(1)
        p = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
        n, t, y, x_, m = _position(p, tap, offset, importance, T2, H2, W2, KH, KW, sT, sH, sW, pT, pH, pW,
                                   dT, dH, dW, P, on, ok, ot, oy, ox, mn, mk, mt, my, mx)  # fmt: skip
        top, left = tl.floor(y), tl.floor(x_)
        down, right = y - top, x_ - left
        in0, at0 = _corner(n, t, top, left, T, H, W, C)
        in1, at1 = _corner(n, t, top, left + 1, T, H, W, C)
        in2, at2 = _corner(n, t, top + 1, left, T, H, W, C)
        in3, at3 = _corner(n, t, top + 1, left + 1, T, H, W, C)
        d0, d1 = tl.zeros((PIXELS,), tl.float32), tl.zeros((PIXELS,), tl.float32)
        d2, d3 = tl.zeros((PIXELS,), tl.float32), tl.zeros((PIXELS,), tl.float32)
        for g in range(C // CG):
            for c0 in range(0, CG, BLOCK_C):
                c = c0 + tl.arange(0, BLOCK_C)
                column_grad = tl.zeros((PIXELS, BLOCK_C), tl.float32)
                for o0 in range(0, OG, BLOCK_O):
                    o = o0 + tl.arange(0, BLOCK_O)
                    # the weight's block transposed, [BLOCK_O, BLOCK_C]
                    w = tl.load(weight + ((tap * (C // CG) + g) * CG + c)[None, :] * OG + o[:, None],
                                mask=(c < CG)[None, :] & (o < OG)[:, None], other=0.0)  # fmt: skip
                    gy = tl.load(grad + p.to(tl.int64)[:, None] * O + g * OG + o[None, :],
                                 mask=(p < P)[:, None] & (o < OG)[None, :], other=0.0)  # fmt: skip
                    column_grad = _dot(gy, w, column_grad, PRECISION)
                cc = g * CG + c
                d0 += _scatter(x, x_grad, column_grad, in0 & (p < P), at0, m * (1 - down) * (1 - right), cc, c < CG)
                d1 += _scatter(x, x_grad, column_grad, in1 & (p < P), at1, m * (1 - down) * right, cc, c < CG)
                d2 += _scatter(x, x_grad, column_grad, in2 & (p < P), at2, m * down * (1 - right), cc, c < CG)
                d3 += _scatter(x, x_grad, column_grad, in3 & (p < P), at3, m * down * right, cc, c < CG)
        # a position that is not finite samples nothing, so it has no gradient
        found = in0 | in1 | in2 | in3
        upper, lower = (1 - right) * d0 + right * d1, (1 - right) * d2 + right * d3
        to_m = tl.where(found, (1 - down) * upper + down * lower, 0.0)
        to_y = tl.where(found, m * (lower - upper), 0.0)
        to_x = tl.where(found, m * ((1 - down) * (d1 - d0) + down * (d3 - d2)), 0.0)
        # stored as [K, P] and [2K, P]; the caller moves N to the front
        plane, place = tap.to(tl.int64) * P, p.to(tl.int64)
        tl.store(importance_grad + plane + place, to_m, mask=p < P)
        tl.store(offset_grad + 2 * plane + place, to_y, mask=p < P)
        tl.store(offset_grad + 2 * plane + P + place, to_x, mask=p < P)

    @triton.jit
    def _backward_weight(grad, x, offset, importance, weight_grad, C, O, CG, OG, K, T, H, W, T2, H2, W2, KH, KW,
                         sT, sH, sW, pT, pH, pW, dT, dH, dW, P, on, ok, ot, oy, ox, mn, mk, mt, my, mx, share,
                         PRECISION: tl.constexpr,
                         PIXELS: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_O: tl.constexpr):  # fmt: skip
        """The gradient of one block of a tap's weights over one part of the pixels: transpose(columns) @ grad."""
        split, tap = tl.program_id(0), tl.program_id(1)
        blocks_c, blocks_o = tl.cdiv(CG, BLOCK_C), tl.cdiv(OG, BLOCK_O)
        block = tl.program_id(2)
        c = block % blocks_c * BLOCK_C + tl.arange(0, BLOCK_C)
        o = block // blocks_c % blocks_o * BLOCK_O + tl.arange(0, BLOCK_O)
        g = block // (blocks_c * blocks_o)
        total = tl.zeros((BLOCK_C, BLOCK_O), tl.float32)
        for p0 in range(split * share, tl.minimum(P, (split + 1) * share), PIXELS):
            p = p0 + tl.arange(0, PIXELS)
            n, t, y, x_, m = _position(p, tap, offset, importance, T2, H2, W2, KH, KW, sT, sH, sW, pT, pH, pW,
                                       dT, dH, dW, P, on, ok, ot, oy, ox, mn, mk, mt, my, mx)  # fmt: skip
            column = _columns(x, n, t, y, x_, m, T, H, W, C, g * CG + c, c < CG)
            gy = tl.load(grad + p.to(tl.int64)[:, None] * O + g * OG + o[None, :],
                         mask=(p < P)[:, None] & (o < OG)[None, :], other=0.0)  # fmt: skip
            total = _dot(tl.trans(column.to(gy.dtype)), gy, total, PRECISION)
        to = weight_grad + (((split * K + tap) * (C // CG) + g) * CG + c)[:, None] * OG + o[None, :]
        tl.store(to, total, mask=(c < CG)[:, None] & (o < OG)[None, :])


def forward(
    x: Tensor, weight: Tensor, offset: Tensor, importance: Tensor, bias: Tensor | None, geometry: Geometry
) -> Tensor:
    if x.dtype == torch.float64 or not x.numel():
        out = reference.ls3d_conv(x, weight, offset, importance, bias, geometry)
        return out.contiguous(memory_format=clip_format(x))
    rows, numbers = _rows(x), _numbers(x, weight, offset, importance, geometry)
    pixels, cg, og = numbers["P"], numbers["CG"], numbers["OG"]
    out = torch.empty(
        (x.shape[0], weight.shape[0], *offset.shape[2:]), dtype=x.dtype, device=x.device, memory_format=_LAST
    )
    blocks = _blocks(cg, og)
    grid = (triton.cdiv(pixels, PIXELS), triton.cdiv(og, blocks["BLOCK_O"]), geometry.groups)
    _forward[grid](
        rows, _packed(weight, geometry.groups), offset, importance, rows if bias is None else bias,
        out.permute(0, 2, 3, 4, 1), **numbers, **blocks, BIAS=bias is not None, PRECISION=_precision(),
    )  # fmt: skip
    return out.contiguous(memory_format=clip_format(x))


def backward(
    grad: Tensor, x: Tensor, weight: Tensor, offset: Tensor, importance: Tensor, geometry: Geometry
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    inputs = (x, weight, offset, importance)
    if x.dtype == torch.float64 or not x.numel():
        return _like(reference.ls3d_conv_backward(grad, *inputs, geometry), inputs)
    rows, grad_rows = _rows(x), _rows(grad)
    numbers = _numbers(x, weight, offset, importance, geometry)
    pixels, taps, groups, cg, og = (numbers["P"], numbers["K"], geometry.groups, numbers["CG"], numbers["OG"])
    blocks, precision = _blocks(cg, og), _precision()
    rows_grad = torch.zeros(rows.shape, dtype=torch.float32, device=x.device)
    planes = torch.empty((3 * taps, pixels), dtype=torch.float32, device=x.device)
    _backward_inputs[(triton.cdiv(pixels, PIXELS), taps)](
        grad_rows, rows, _packed(weight, groups), offset, importance, rows_grad, planes[: 2 * taps],
        planes[2 * taps :], **numbers, **blocks, PRECISION=precision,
    )  # fmt: skip
    partial = torch.empty((SPLITS, taps, groups, cg, og), dtype=torch.float32, device=x.device)
    grid = (SPLITS, taps, groups * triton.cdiv(cg, blocks["BLOCK_C"]) * triton.cdiv(og, blocks["BLOCK_O"]))
    _backward_weight[grid](
        grad_rows, rows, offset, importance, partial, **numbers, **blocks,
        share=triton.cdiv(triton.cdiv(pixels, SPLITS), PIXELS) * PIXELS, PRECISION=precision,
    )  # fmt: skip
    n, size = x.shape[0], offset.shape[2:]
    by_batch = planes.view(3 * taps, n, *size).transpose(0, 1)
    grads = (
        rows_grad.permute(0, 4, 1, 2, 3),
        partial.sum(0).permute(1, 3, 2, 0).reshape(weight.shape),
        by_batch[:, : 2 * taps],
        by_batch[:, 2 * taps :],
    )
    return _like(grads, inputs)


def _like(grads: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Each gradient in the dtype and memory format of its input."""
    gx, gw, go, gm = (
        g.to(t.dtype).contiguous(memory_format=clip_format(t)) for g, t in zip(grads, inputs, strict=True)
    )
    return gx, gw, go, gm


_LAST = torch.channels_last_3d


def _rows(x: Tensor) -> Tensor:
    """[N, C, T, H, W] as contiguous [N, T, H, W, C]; no copy if x is channels last."""
    return x.permute(0, 2, 3, 4, 1).contiguous()


def _packed(weight: Tensor, groups: int) -> Tensor:
    """[O, C/groups, kT, kH, kW] as [K, G, C/groups, O/groups]."""
    return weight.flatten(2).unflatten(0, (groups, -1)).permute(3, 0, 2, 1).contiguous()


def _precision() -> str:
    """The precision of float32 products: that of torch's own matrix products."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        return "widened"  # the interpreter multiplies the bits of bfloat16 as if they were integers
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee"


def _blocks(channels: int, outputs: int) -> dict[str, int]:
    """Block sizes; tl.dot needs at least 16 in each dimension."""
    fit = {size: max(16, triton.next_power_of_2(size)) for size in (channels, outputs)}
    return {"PIXELS": PIXELS, "BLOCK_C": min(64, fit[channels]), "BLOCK_O": min(128, fit[outputs])}


def _numbers(x: Tensor, weight: Tensor, offset: Tensor, importance: Tensor, geometry: Geometry) -> dict[str, Any]:
    """The integer arguments that all kernels share, by name."""
    (n, c, *size), (o, cg, *kernel), (_, _, *out) = x.shape, weight.shape, offset.shape
    numbers = {"C": c, "O": o, "CG": cg, "OG": o // geometry.groups, "K": kernel[0] * kernel[1] * kernel[2]}
    numbers |= zip(("T", "H", "W", "T2", "H2", "W2", "KH", "KW"), (*size, *out, *kernel[1:]), strict=True)
    for names, triple in (
        (("sT", "sH", "sW"), geometry.stride),
        (("pT", "pH", "pW"), geometry.padding),
        (("dT", "dH", "dW"), geometry.dilation),
        (("on", "ok", "ot", "oy", "ox"), offset.stride()),
        (("mn", "mk", "mt", "my", "mx"), importance.stride()),
    ):
        numbers |= zip(names, triple, strict=True)
    return numbers | {"P": n * out[0] * out[1] * out[2]}
