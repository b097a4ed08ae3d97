"""Clips with exactly known objects: things cut out of films and photographs, pasted over other films.

An object goes along a path of its own: it moves, swings, turns, comes nearer or goes away; it keeps its own
articulation if it was cut out of a film. It is blurred by its motion and by a focus that wanders, its light and colours
are matched to what is behind it, and other objects, and things that are none, pass before it. What a camera and a codec
do comes last. Boxes, numbers and visible shares are exact. Everything is drawn from a given generator.

Things that are no objects, blobs with the texture of another film, are pasted and moved in the same way. So neither the
edge of a pasted thing nor its motion tells that it is an object.

NumPy and OpenCV do the work, on the small rectangles where something changes: a training draws a batch in each step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from refilm.data.draws import below, between, chance, log_between

Array = np.ndarray

# Root of an object's area relative to the height of the picture, least and largest; its least width in pixels; and how
# far it is enlarged at most.
_SIZE, _NARROWEST, _ENLARGED = (0.09, 0.75), 14, 1.5
# Speed relative to the root of the area, per frame.
_SPEED = (0.003, 0.2)
_TURN, _GROWTH = math.radians(1.5), 0.01  # per frame, at most
_LEANS = math.radians(12)
_MOST_OBJECTS, _MOST_BLOBS = 4, 2
_SOFT = (0.3, 1.0)  # sigma by which edges are softened, in pixels
# How often each happens.
_BLURRED, _DEFOCUSED, _BLOBS, _PANNED = 0.6, 0.35, 0.6, 0.5
_NOISY, _COMPRESSED, _SOFT_CAMERA, _GRAY = 0.3, 0.6, 0.2, 0.08
# Least visible share of an object that has to be found.
LEAST_VISIBLE = 0.25


@dataclass(frozen=True)
class Thing:
    """One thing, cut out of a film, or of a photograph with one frame.

    label     name of its class; "" for a thing that is no object
    cutouts   its frames, [h, w, 4] each, uint8: RGB times coverage, and coverage
    """

    label: str
    cutouts: Sequence[Array]


class Scene(NamedTuple):
    """A clip with its objects. An object's number is its place.

    frames    [T, H, W, 3], uint8 RGB
    boxes     [T, K, 4], float32: left, top, right and bottom of its part within the picture, in pixels, whatever covers
              it; zeros where it is out of the picture
    visible   [T, K], share of the object that is seen: neither covered nor outside
    labels    names of the classes
    complete  whether these are all objects; if not, others may be seen
    """

    frames: Array
    boxes: Array
    visible: Array
    labels: tuple[str, ...]
    complete: bool = True


@dataclass(frozen=True)
class _Course:
    """How a thing is seen over time, in frames.

    middle    (x, y) at time 0, in pixels
    velocity, swing   pixels per frame, pixels
    size      factor on the cut-out; `growth` is its logarithm per frame
    """

    middle: tuple[float, float]
    velocity: tuple[float, float]
    swing: tuple[float, float]
    pace: float
    phase: float
    lean: float
    turn: float
    size: float
    growth: float

    def at(self, time: float) -> tuple[float, float]:
        swung = math.sin(self.pace * time + self.phase) - math.sin(self.phase)
        x, y = (m + v * time + s * swung for m, v, s in zip(self.middle, self.velocity, self.swing, strict=True))
        return x, y

    def speed(self, time: float) -> tuple[float, float]:
        """Pixels per frame."""
        along = self.pace * math.cos(self.pace * time + self.phase)
        return self.velocity[0] + along * self.swing[0], self.velocity[1] + along * self.swing[1]


@dataclass(frozen=True)
class _Actor:
    """A thing in a scene.

    first      its cut-out at time 0; `step` cut-outs are played in a frame
    shutter    share of a frame for which it is exposed; 0: it is not blurred by motion
    defocus    largest sigma of its defocus, in pixels, which wanders at `focus_pace` from `focus_phase`
    colours    [3, 4], see `_matched`
    """

    thing: Thing
    mirrored: bool
    course: _Course
    first: int
    step: float
    soft: float
    shutter: float
    defocus: float
    focus_pace: float
    focus_phase: float
    colours: Array

    def cutout(self, time: float) -> Array:
        place = round(self.first + self.step * time) % (2 * len(self.thing.cutouts))
        count = len(self.thing.cutouts)
        cutout = self.thing.cutouts[min(place, 2 * count - 1 - place)]  # to and fro
        return cv2.flip(cutout, 1) if self.mirrored else cutout


class _Layer(NamedTuple):
    """A thing as it is seen at one time: RGB times coverage in [0, 255], coverage in [0, 1], where, and its box."""

    rgb: Array
    cover: Array
    left: int
    top: int
    box: tuple[int, int, int, int]


@dataclass(frozen=True)
class Compositor:
    """Draws scenes.

    things        to be found, with the labels that are drawn equally often
    backgrounds   [T, H, W, 3] each, uint8: films, or photographs with T = 1, that show no object
    """

    things: Sequence[Thing]
    backgrounds: Sequence[Array]

    def draw(self, random: torch.Generator, times: Sequence[float], height: int, width: int) -> Scene:
        """A scene at `times`, in frames, around 0. Frames have the size [height, width]."""
        frames = self._background(random, times, height, width)
        labels = sorted({thing.label for thing in self.things})
        actors = []
        for _ in range(1 + below(_MOST_OBJECTS, random)):
            label = labels[below(len(labels), random)]
            own = [thing for thing in self.things if thing.label == label]
            actors.append(_actor(random, own[below(len(own), random)], frames))
        if chance(random, _BLOBS):
            for _ in range(1 + below(_MOST_BLOBS, random)):
                actors.append(_actor(random, self._blob(random), frames))
        # who stands lower is nearer, as on flat ground, but for some; blobs are anywhere
        actors.sort(key=lambda actor: actor.course.middle[1] + between(random, -0.3, 0.3) * height)
        objects = [place for place, actor in enumerate(actors) if actor.thing.label]
        boxes = np.zeros((len(times), len(objects), 4), np.float32)
        visible = np.zeros((len(times), len(objects)), np.float32)
        for number, time in enumerate(times):
            layers = [_layer(actor, time) for actor in actors]
            seen = _paste(frames[number], layers)
            for column, place in enumerate(objects):
                boxes[number, column] = _within(layers[place].box, height, width)
                visible[number, column] = seen[place]
        frames_u8 = camera(random, frames, times)
        return Scene(frames_u8, boxes, visible, tuple(actors[place].thing.label for place in objects))

    def _background(self, random: torch.Generator, times: Sequence[float], height: int, width: int) -> list[Array]:
        """Part of a film, or of a photograph under a camera that pans. -> float32 [H, W, 3] in [0, 255] each"""
        film = self.backgrounds[below(len(self.backgrounds), random)]
        tall, wide = film.shape[1:3]
        share = between(random, 0.6, 1.0) * min(tall / height, wide / width)
        margin_x, margin_y = (wide - share * width) / 2, (tall - share * height) / 2
        x, y = between(random, -1, 1) * margin_x + wide / 2, between(random, -1, 1) * margin_y + tall / 2
        mirror = -1 if chance(random, 0.5) else 1
        longest = int(max(times) - min(times))
        first = below(max(len(film) - longest, 1), random) - min(times)
        pan_x, pan_y = 0.0, 0.0
        if len(film) == 1 or chance(random, _PANNED):
            speed, towards = log_between(random, 0.0005, 0.03) * height, between(random, 0, 2 * math.pi)
            pan_x, pan_y = speed * math.cos(towards), 0.5 * speed * math.sin(towards)
        frames = []
        for time in times:
            place = min(max(round(first + time), 0), len(film) - 1)
            to_film = np.array(
                [
                    [mirror * share, 0, x + pan_x * time - mirror * share * width / 2],
                    [0, share, y + pan_y * time - share * height / 2],
                ]
            )
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            seen = cv2.warpAffine(film[place], to_film, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)
            frames.append(seen.astype(np.float32))
        return frames

    def _blob(self, random: torch.Generator) -> Thing:
        """A smooth shape with the texture of some background."""
        film = self.backgrounds[below(len(self.backgrounds), random)]
        picture = film[below(len(film), random)]
        high, wide = (min(round(between(random, 30, 120)), side) for side in picture.shape[:2])
        top, left = below(picture.shape[0] - high + 1, random), below(picture.shape[1] - wide + 1, random)
        rays = torch.rand(9, generator=random).numpy() * 0.6 + 0.4
        angles = np.linspace(0, 2 * np.pi, 73)[:-1]
        radii = np.interp(angles, np.linspace(0, 2 * np.pi, 10), [*rays, rays[0]])
        outline = np.stack([(0.5 + 0.5 * radii * np.cos(angles)) * wide, (0.5 + 0.5 * radii * np.sin(angles)) * high])
        cover = np.zeros((high, wide), np.uint8)
        cv2.fillPoly(cover, [outline.T.round().astype(np.int32)], 255)
        return Thing("", [cut_out(picture[top : top + high, left : left + wide], cover)])


def cut_out(picture: Array, cover: Array) -> Array:
    """A cut-out, as `Thing` has them. [h, w, 3] and [h, w], uint8"""
    rgb = (picture.astype(np.uint16) * cover[..., None] + 127) // 255
    return np.dstack([rgb.astype(np.uint8), cover])


def _actor(random: torch.Generator, thing: Thing, frames: Sequence[Array]) -> _Actor:
    """Put a thing somewhere before a background and let it move."""
    height, width = frames[0].shape[:2]
    first = below(len(thing.cutouts), random)
    high, wide = thing.cutouts[first].shape[:2]
    root = math.sqrt(high * wide)
    size = height * log_between(random, *_SIZE) / root
    size = min(max(size, _NARROWEST / wide), _ENLARGED, 0.95 * height / high, 0.95 * width / wide)
    length = size * root
    middle = between(random, 0.03, 0.97) * width, between(random, 0.15, 0.9) * height
    speed, heading = log_between(random, *_SPEED) * length, between(random, -0.6, 0.6)
    speed = -speed if chance(random, 0.5) else speed
    swing, towards = between(random, 0, 0.06) * length, between(random, 0, 2 * math.pi)
    course = _Course(
        middle,
        (speed * math.cos(heading), speed * math.sin(heading)),
        (swing * math.cos(towards), swing * math.sin(towards)),
        between(random, 0.1, 0.6),
        between(random, 0, 2 * math.pi),
        between(random, -1, 1) ** 3 * _LEANS,
        between(random, -1, 1) ** 3 * _TURN,
        size,
        between(random, -1, 1) ** 3 * _GROWTH,
    )
    blurred, defocused = chance(random, _BLURRED), chance(random, _DEFOCUSED)
    return _Actor(
        thing,
        chance(random, 0.5),
        course,
        first,
        between(random, 0.5, 1.5) if chance(random, 0.8) else 0.0,
        between(random, *_SOFT),
        between(random, 0.3, 1.0) if blurred else 0.0,
        between(random, 0.02, 0.09) * length if defocused else 0.0,
        between(random, 0.1, 0.6),
        between(random, 0, 2 * math.pi),
        _matched(random, thing.cutouts[first], frames[len(frames) // 2], middle, length),
    )


def _matched(random: torch.Generator, cutout: Array, frame: Array, middle: tuple[float, float], length: float) -> Array:
    """What brings a thing nearer to the light behind it, at random: factors on RGB, and what is added. -> [3, 4]

    A matrix that is applied to (R, G, B, coverage).
    """
    height, width = frame.shape[:2]
    reach = max(length / 2, 4)
    left, right = (int(min(max(middle[0] + side * reach, 0), width - 1)) for side in (-1, 1))
    top, bottom = (int(min(max(middle[1] + side * reach, 0), height - 1)) for side in (-1, 1))
    behind = np.array(cv2.mean(frame[top : bottom + 1, left : right + 1])[:3])
    *rgb, cover = cv2.mean(cutout)
    own = 255 * np.array(rgb) / (cover + 1e-6)
    # towards the brightness behind it more than towards its colour
    share, tint = between(random, 0, 0.7), between(random, 0, 0.35)
    gain = (behind.mean() + 20) / (own.mean() + 20)
    colour = (behind + 20) / (own + 20) / gain
    factors = np.clip(gain**share * colour**tint, 0.4, 2.0) * between(random, 0.85, 1.18)
    return np.column_stack([np.diag(factors), np.full(3, between(random, -10, 10) / 255)]).astype(np.float32)


def _layer(actor: _Actor, time: float) -> _Layer:
    """A thing as it is seen at one time."""
    course, cutout = actor.course, actor.cutout(time)
    size = course.size * math.exp(course.growth * time)
    x, y = course.at(time)
    high, wide = (max(round(size * side), 2) for side in cutout.shape[:2])
    small = cv2.resize(cutout, (wide, high), interpolation=cv2.INTER_AREA if size < 1 else cv2.INTER_LINEAR)
    # the exposure
    vx, vy = course.speed(time)
    trail = actor.shutter * math.hypot(vx, vy)
    sigma = max(actor.soft, actor.defocus * abs(math.sin(actor.focus_pace * time + actor.focus_phase)))
    angle = course.lean + course.turn * time
    cos, sin = math.cos(angle), math.sin(angle)
    margin = 2 + math.ceil(2.5 * sigma + trail / 2)
    half_x = (abs(cos) * wide + abs(sin) * high) / 2 + margin
    half_y = (abs(sin) * wide + abs(cos) * high) / 2 + margin
    left, top = math.floor(x - half_x), math.floor(y - half_y)
    shape = math.ceil(x + half_x) - left, math.ceil(y + half_y) - top
    # from the cut-out to the rectangle; pixel centres are at whole numbers
    own_x, own_y = (wide - 1) / 2, (high - 1) / 2
    to_x, to_y = x - left - 0.5, y - top - 0.5
    matrix = np.array([[cos, -sin, to_x - cos * own_x + sin * own_y], [sin, cos, to_y - sin * own_x - cos * own_y]])
    layer = cv2.warpAffine(small, matrix, shape, flags=cv2.INTER_LINEAR)
    bx, by, bw, bh = cv2.boundingRect((layer[..., 3] > 127).view(np.uint8))
    box = (left + bx, top + by, left + bx + bw, top + by + bh)
    if trail > 1.5:
        layer = cv2.filter2D(layer, -1, _line(trail, math.atan2(vy, vx)), borderType=cv2.BORDER_CONSTANT)
    layer = cv2.GaussianBlur(layer, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT).astype(np.float32)
    rgb = cv2.transform(layer, actor.colours)
    most = layer[..., 3:]
    np.minimum(rgb, most, out=rgb)
    np.maximum(rgb, 0, out=rgb)
    return _Layer(rgb, most * np.float32(1 / 255), left, top, box)


def _line(length: float, angle: float) -> Array:
    """The kernel of an even motion along a line."""
    reach = math.ceil(length / 2)
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    dx, dy = length / 2 * math.cos(angle), length / 2 * math.sin(angle)
    bits = 4  # of fractions of a pixel
    first, last = ((round((reach + sign * dx) * 2**bits), round((reach + sign * dy) * 2**bits)) for sign in (-1, 1))
    cv2.line(kernel, first, last, 1.0, 1, cv2.LINE_8, bits)
    return kernel / kernel.sum()


def _paste(frame: Array, layers: Sequence[_Layer]) -> list[float]:
    """Put layers over a frame, in place, the last in front. -> the share of each that is seen"""
    height, width = frame.shape[:2]
    parts: list[tuple[Any, Any]] = []
    for layer in layers:
        high, wide = layer.cover.shape[:2]
        x0, y0 = max(layer.left, 0), max(layer.top, 0)
        x1, y1 = max(min(layer.left + wide, width), x0), max(min(layer.top + high, height), y0)
        own = np.s_[max(y0 - layer.top, 0) : y1 - layer.top, max(x0 - layer.left, 0) : x1 - layer.left]
        there = np.s_[y0:y1, x0:x1]
        if y1 > y0 and x1 > x0:
            part = frame[there]
            part *= 1 - layer.cover[own]
            part += layer.rgb[own]
        parts.append((own if y1 > y0 and x1 > x0 else None, there))
    free = np.ones((height, width), np.float32)
    seen = [0.0] * len(layers)
    for place in reversed(range(len(layers))):
        own, there = parts[place]
        if own is not None:
            cover = layers[place].cover[own][..., 0]
            seen[place] = float((cover * free[there]).sum() / max(float(layers[place].cover.sum()), 1e-6))
            free[there] *= 1 - cover
    return seen


def _within(box: tuple[int, int, int, int], height: int, width: int) -> tuple[float, float, float, float]:
    """The part of a box in the picture; zeros if there is none."""
    left, right = max(box[0], 0), min(box[2], width)
    top, bottom = max(box[1], 0), min(box[3], height)
    return (left, top, right, bottom) if left < right and top < bottom else (0, 0, 0, 0)


def camera(random: torch.Generator, frames: Sequence[Array], times: Sequence[float]) -> Array:
    """What a camera and a codec do to frames, float32 or uint8 [H, W, 3] in [0, 255]. -> [T, H, W, 3], uint8"""
    gain, lift = between(random, 0.75, 1.25), between(random, -15, 15)
    tint = torch.rand(3, generator=random).numpy() * 0.12 + 0.94
    colours = np.full((3, 3), gain / 3) if chance(random, _GRAY) else np.diag(gain * tint)
    matrix = np.column_stack([colours, np.full(3, lift)]).astype(np.float32)
    sigma = between(random, 0, 10) if chance(random, _NOISY) else 0.0
    soft = between(random, 0.4, 1.6) if chance(random, _SOFT_CAMERA) else 0.0
    pace, phase = between(random, 0.1, 0.6), between(random, 0, 2 * math.pi)
    quality = round(between(random, 25, 90)) if chance(random, _COMPRESSED) else 0
    finished = []
    for frame, time in zip(frames, times, strict=True):
        shot = cv2.transform(frame, matrix)
        # a lens that breathes: frames of one scene are not equally sharp
        if (blur := soft * (0.5 + 0.5 * math.sin(pace * time + phase))) > 0.3:
            shot = cv2.GaussianBlur(shot, (0, 0), blur)
        if sigma:
            shot += _noise(random, sigma, shot.shape)
        # rounded, and kept within 0 ... 255; OpenCV takes numbers for a picture, and its stubs do not
        shot_u8 = cv2.add(shot, (0.0, 0.0, 0.0, 0.0), dtype=cv2.CV_8U)  # type: ignore[call-overload]
        if quality:
            shot_bgr = cv2.cvtColor(shot_u8, cv2.COLOR_RGB2BGR)  # the order that OpenCV's files have
            _, code = cv2.imencode(".jpg", shot_bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))
            decoded = cv2.imdecode(code, cv2.IMREAD_COLOR)
            assert decoded is not None
            shot_u8 = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
        finished.append(shot_u8)
    return np.stack(finished)


def _noise(random: torch.Generator, sigma: float, shape: tuple[int, ...]) -> Array:
    """White noise: a part of a field that is drawn once, since drawing takes longer than all the rest."""
    size = math.prod(shape)
    field = _field(2 * size)
    begin = below(size, random)
    return (sigma if chance(random, 0.5) else -sigma) * field[begin : begin + size].reshape(shape)


@cache
def _field(size: int) -> Array:
    return np.random.default_rng(0).standard_normal(size, np.float32)


@dataclass(frozen=True)
class Film:
    """A film or a photograph whose objects are known.

    frames    [T, H, W, 3], uint8
    boxes     [T, K, 4], in pixels; zeros where an object is not seen
    labels    of each object
    complete  see `Scene`
    hidden    numbers of objects that need not be found, such as crowds
    """

    frames: Array
    boxes: Array
    labels: tuple[str, ...]
    complete: bool
    hidden: tuple[int, ...] = ()


@dataclass(frozen=True)
class Films:
    """Draws parts of films whose objects are known."""

    films: Sequence[Film]

    def draw(self, random: torch.Generator, times: Sequence[float], height: int, width: int) -> Scene:
        """A part of a film, as `Compositor.draw` gives scenes: around an object, at some size, perhaps mirrored."""
        film = self.films[below(len(self.films), random)]
        count, (tall, wide) = len(film.frames), film.frames.shape[1:3]
        first = below(count, random)
        places = [min(max(round(first + time), 0), count - 1) for time in times]
        here = film.boxes[first]
        known = [k for k in range(len(here)) if here[k, 2] > here[k, 0]]
        whole = max(height / tall, width / wide)
        scale, (x, y) = whole * log_between(random, 1, 1.8), (wide / 2, tall / 2)
        if known:
            box = here[known[below(len(known), random)]]
            root = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
            scale = height * log_between(random, 0.12, 0.8) / root
            scale = max(min(scale, 1.8), whole)
            x = (box[0] + box[2]) / 2 + between(random, -0.35, 0.35) * width / scale
            y = (box[1] + box[3]) / 2 + between(random, -0.35, 0.35) * height / scale
        # rather within the picture than beyond its border
        x, y = _inside(x, wide, width / scale), _inside(y, tall, height / scale)
        mirror = -1 if chance(random, 0.5) else 1
        matrix = np.array([[mirror * scale, 0, width / 2 - mirror * scale * x], [0, scale, height / 2 - scale * y]])
        frames = []
        for place in places:
            frame = film.frames[place]
            if scale < 0.7:
                frame = cv2.blur(frame, (round(1 / scale),) * 2)
            shifted = matrix.copy()
            shifted[:, 2] += 0.5 * (matrix[:, 0] + matrix[:, 1]) - 0.5  # pixel centres are at whole numbers
            frames.append(cv2.warpAffine(frame, shifted, (width, height), borderMode=cv2.BORDER_CONSTANT))
        boxes = film.boxes[places]
        corners = np.stack([boxes[..., 0::2] * matrix[0, 0] + matrix[0, 2], boxes[..., 1::2] * scale + matrix[1, 2]])
        corners.sort(axis=-1)
        moved = np.stack([corners[0, ..., 0], corners[1, ..., 0], corners[0, ..., 1], corners[1, ..., 1]], axis=-1)
        kept = moved.clip(0, [width, height, width, height])
        sizes, before = ((each[..., 2:] - each[..., :2]).prod(axis=-1) for each in (kept, moved))
        absent = (boxes[..., 2] <= boxes[..., 0]) | (sizes <= 0)
        kept[absent] = 0
        visible = np.where(absent, 0, sizes / np.maximum(before, 1e-6))
        visible[:, list(film.hidden)] = 0
        shots = camera(random, [frame.astype(np.float32) for frame in frames], times)
        return Scene(shots, kept.astype(np.float32), visible.astype(np.float32), film.labels, film.complete)


def _inside(middle: float, length: float, seen: float) -> float:
    """Move the middle of what is seen so that it lies within a side, or shows all of it."""
    return length / 2 if seen >= length else min(max(middle, seen / 2), length - seen / 2)


Draw = Callable[[torch.Generator, Sequence[float], int, int], Scene]
