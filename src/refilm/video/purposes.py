"""What a film may be made for, and what each purpose chooses of container, codec, quality and sound.

Why each is as it is: docs/choices.md#purposes. What the user says expressly wins over the purpose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from refilm.errors import UsageError

if TYPE_CHECKING:
    from refilm.video.encoder import EncoderSettings


@dataclass(frozen=True)
class Purpose:
    """What is chosen where the user says nothing else. The defaults leave all to the source and to the container.

    endings     of the file; empty: any
    codec       FFmpeg's name of the encoder
    pix_fmt     of the output; None: the source's, or the closest that the encoder takes
    crf         of `codec`; None: as without a purpose
    intra       whether each frame stands alone, so that any can be cut at and shown at once
    options     FFmpeg's options of `codec`
    profiles    the profiles of encoders, by the pixel format
    audio       as `--audio`
    most        pixels of the longer and the shorter side that all its players show; None: any number
    """

    endings: tuple[str, ...] = ()
    codec: str | None = None
    pix_fmt: str | None = None
    crf: float | None = None
    intra: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    profiles: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    audio: str = "copy"
    most: tuple[int, int] | None = None

    def options_of(self, codec: str, pix_fmt: str) -> dict[str, str]:
        """FFmpeg's options for an encoder, which need not be the purpose's own."""
        options = {"g": "1"} if self.intra else {}
        if codec == self.codec:
            options |= self.options
        if (profile := self.profiles.get(codec, {}).get(pix_fmt)) is not None:
            options["profile"] = profile
        return options


PURPOSES: Mapping[str, Purpose] = {
    "browser": Purpose((".mp4", ".m4v"), "libx264", "yuv420p", 20, audio="aac"),
    "editing": Purpose(
        (".mov",),
        "prores_ks",
        intra=True,
        profiles={
            "prores_ks": {"yuv422p10le": "hq", "yuv444p10le": "4444"},
            "dnxhd": {"yuv422p": "dnxhr_hq", "yuv422p10le": "dnxhr_hqx", "yuv444p10le": "dnxhr_444"},
        },
        audio="pcm",
    ),
    "archive": Purpose(
        (".mkv",),
        "ffv1",
        intra=True,
        options={"level": "3", "slices": "16", "slicecrc": "1", "coder": "1", "context": "1"},
    ),
    "phone": Purpose(
        (".mp4", ".m4v"),
        "libx264",
        "yuv420p",
        23,
        options={"maxrate": "8000000", "bufsize": "16000000"},
        audio="aac",
        most=(1920, 1080),
    ),
}
_ANY = Purpose()


def purpose_of(name: str | None) -> Purpose:
    """The purpose of this name; without a name, one that chooses nothing."""
    return _ANY if name is None else PURPOSES[name]


def misfits(name: str | None, settings: EncoderSettings) -> Iterator[str]:
    """What of an encoding not every player shows that the purpose is for, in words for the user."""
    purpose = purpose_of(name)
    sides = max(settings.width, settings.height), min(settings.width, settings.height)
    if purpose.most is not None and (sides[0] > purpose.most[0] or sides[1] > purpose.most[1]):
        most = "x".join(map(str, purpose.most))
        yield (
            f"pictures of {settings.width}x{settings.height} are larger than the {most} that every {name} shows; "
            f"refilm does not change the size by itself: ffmpeg -i OUT -vf scale=-2:{purpose.most[1]} SMALLER.mp4"
        )
    if purpose.pix_fmt is not None and (settings.codec, settings.format) != (purpose.codec, purpose.pix_fmt):
        yield (
            f"not every {name} plays {settings.codec} in {settings.format}; "
            f"without your own choice it would be {purpose.codec} in {purpose.pix_fmt}"
        )


def check_ending(path: Path, name: str | None) -> None:
    """Raises UsageError, with the name to use, if a file for this purpose has another ending."""
    endings = purpose_of(name).endings
    if endings and path.suffix.lower() not in endings:
        other = f"frames{endings[0]}" if "%" in path.name else path.with_suffix(endings[0])
        raise UsageError(
            f"{path}: a film for {name} is written as {endings[0]}; name {other}, or leave out --for {name}"
        )
