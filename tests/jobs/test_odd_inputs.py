"""Inputs that are not plain progressive 8-bit 4:2:0: each comes through unharmed, or is refused with the way out."""

from __future__ import annotations

import re
import shlex
import struct
from dataclasses import replace
from fractions import Fraction

import pytest
from media import (
    CLIPS,
    COVER_PNG,
    Clip,
    box,
    even,
    ffprobe,
    frame_hashes,
    insert_box,
    probed,
    probed_tags,
    probed_times,
    tool,
    write,
)  # fmt: skip

import refilm
from refilm.video.pixel_format import held_format

FASTEST = {"libx265": "ultrafast", "libsvtav1": "13"}


def smooth(source, output, **options):
    warnings = []
    report = refilm.interpolate(
        source, output, **{"times": 2, "model": "flow-blend", "warn": warnings.append} | options
    )
    return report, warnings


def hdr10_of(path):
    """Mastering display and content light of the first frame, as ffprobe reads them."""
    found = ffprobe(path, "-select_streams", "v:0", "-read_intervals", "%+#1", "-show_frames")["frames"][0]
    wanted = ("Mastering display metadata", "Content light level metadata")
    return {
        data["side_data_type"]: {key: Fraction(value) for key, value in data.items() if key != "side_data_type"}
        for data in found.get("side_data_list", ())
        if data["side_data_type"] in wanted
    }


def nearly(value):
    """AV1 counts in powers of two."""
    return pytest.approx(float(value), rel=2e-3)


@pytest.mark.parametrize(
    ("codec", "suffix"), [("libx265", ".mp4"), ("libx265", ".mkv"), ("libsvtav1", ".mkv"), ("libsvtav1", ".mp4")]
)
def test_hdr10_passes_with_its_metadata_and_bits(media, tmp_path, codec, suffix):
    source, output = media("hdr10"), tmp_path / f"out{suffix}"
    _, warnings = smooth(source.path, output, codec=codec, preset=FASTEST[codec])
    before, after = hdr10_of(source.path), hdr10_of(output)
    assert len(before) == 2
    assert after == {kind: {key: nearly(value) for key, value in data.items()} for kind, data in before.items()}
    assert probed_tags(output) == probed_tags(source.path)
    assert probed(output).video["pix_fmt"] == "yuv420p10le"
    assert warnings == []


def test_hdr10_in_h264_is_written_too(media, tmp_path):
    smooth(media("hdr10").path, tmp_path / "out.mp4", codec="libx264")
    before, after = refilm.probe(media("hdr10").path), refilm.probe(tmp_path / "out.mp4")
    assert before.mastering_display is not None
    assert (after.mastering_display, after.content_light) == (before.mastering_display, before.content_light)


def test_an_encoder_without_place_for_hdr10_is_told_with_the_way_out(media, tmp_path):
    _, warnings = smooth(media("hdr10").path, tmp_path / "out.mkv", codec="ffv1")
    assert warnings == ["the source's HDR10 metadata is not carried over: ffv1 takes none; --codec libx265 does"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_hlg_passes_in_ten_bits(media, tmp_path, suffix):
    smooth(media("hlg").path, tmp_path / f"out{suffix}", preset="ultrafast")
    assert probed_tags(tmp_path / f"out{suffix}") == probed_tags(media("hlg").path)
    assert probed_tags(media("hlg").path)["color_transfer"] == "arib-std-b67"
    assert probed(tmp_path / f"out{suffix}").video["pix_fmt"] == "yuv420p10le"


@pytest.mark.parametrize(("number", "location"), [(1, "left"), (2, "center"), (3, "topleft")])
@pytest.mark.parametrize(("codec", "suffix"), [("libx264", ".mp4"), ("libx265", ".mkv"), ("ffv1", ".mkv")])
def test_the_place_of_chroma_is_used_and_carried(tmp_path, number, location, codec, suffix):
    options = {"preset": "ultrafast", "chroma_sample_location": str(number)}
    source = write(tmp_path / "in.mp4", replace(CLIPS["cfr-24"], times=even(4, 24), options=options)).path
    assert refilm.probe(source).colour.chroma_location == location
    smooth(source, tmp_path / f"out{suffix}", codec=codec)
    found = probed(tmp_path / f"out{suffix}").video.get("chroma_location", "unspecified")
    # ffprobe reads "unspecified" where a stream says nothing, which all players take for left
    assert found.replace("unspecified", "left") == location


@pytest.mark.parametrize("name", ["interlaced", "interlaced-mkv"])
def test_interlaced_input_is_refused_unless_forced(media, tmp_path, name):
    source, output = media(name), tmp_path / "out.mkv"
    with pytest.raises(refilm.VideoError, match=r"is interlaced.*ffmpeg -i .* -vf bwdif OUT\.mkv; or add --force"):
        smooth(source.path, output)
    assert list(tmp_path.iterdir()) == []
    assert refilm.probe(source.path).interlaced
    report, _ = smooth(source.path, output, force=True)
    assert report.frames_in == 6


def test_interlaced_mpeg2_is_recognised(media, tmp_path):
    source = tmp_path / "in.ts"
    encoding = ["-c:v", "mpeg2video", "-flags", "+ilme+ildct"]
    tool("ffmpeg", "-v", "error", "-i", str(media("interlaced").path), *encoding, str(source))
    with pytest.raises(refilm.VideoError, match="is interlaced"):
        smooth(source, tmp_path / "out.mp4")


def test_the_way_out_of_interlacing_works(tmp_path):
    folder = tmp_path / "it's here; $(no)"
    folder.mkdir()
    source = write(folder / "in.mp4", replace(CLIPS["interlaced"], audio=("eng",))).path
    with pytest.raises(refilm.VideoError) as caught:
        smooth(source, tmp_path / "out.mkv")
    command = str(caught.value).partition("Deinterlace first: ")[2].partition(" OUT.mkv; or")[0]
    program, *arguments = shlex.split(command)
    tool(program, "-v", "error", *arguments, str(tmp_path / "whole.mkv"))
    report, _ = smooth(tmp_path / "whole.mkv", tmp_path / "out.mkv")
    assert report.frames_in == 12  # six frames of two moments each
    assert ("audio", "aac", "eng") in probed(tmp_path / "out.mkv").streams


def joined_streams(tmp_path, *clips):
    """MPEG-TS files one after the other, as when a broadcast changes its mind."""
    source = tmp_path / "in.ts"
    parts = [write(tmp_path / f"{n}.ts", replace(clip, suffix=".ts")).path for n, clip in enumerate(clips)]
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    return source


def test_frames_that_turn_interlaced_later_are_told(tmp_path):
    source = joined_streams(tmp_path, CLIPS["cfr-24"], CLIPS["interlaced"])
    report, warnings = smooth(source, tmp_path / "out.mkv", times=1)
    assert report.frames_in == 30
    assert "6 frames are interlaced, unlike the first; their fields were taken as one" in warnings


def test_a_size_that_changes_in_mid_stream_is_scaled_to_the_first_and_told(tmp_path):
    source = joined_streams(tmp_path, CLIPS["cfr-24"], replace(CLIPS["cfr-24"], width=48, height=80))
    report, warnings = smooth(source, tmp_path / "out.mp4", times=1)
    assert report.frames_in == len(probed_times(tmp_path / "out.mp4")) == 48
    assert "24 frames of another size than the first were scaled to it" in warnings
    found = ffprobe(tmp_path / "out.mp4", "-show_entries", "frame=width,height")["frames"]
    assert {(frame["width"], frame["height"]) for frame in found} == {(96, 64)}


FORMATS = [
    "yuv444p", "yuv422p", "yuv411p", "yuv410p", "yuv440p", "yuv422p10le", "yuv444p12le", "yuv420p16le", "gray",
    "gray10le", "gbrp12le",
]  # fmt: skip


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_samples_of_every_layout_survive_where_the_codec_takes_them(tmp_path, pix_fmt):
    clip = replace(CLIPS["gray"], times=even(3, 24), pix_fmt=pix_fmt, width=50, height=38)
    source, output = write(tmp_path / "in.mkv", clip).path, tmp_path / "out.mkv"
    _, warnings = smooth(source, output, codec="ffv1")
    assert frame_hashes(output)[::2] == frame_hashes(source)
    assert probed(output).video["pix_fmt"] == probed(source).video["pix_fmt"] == pix_fmt
    assert warnings == []


@pytest.mark.parametrize("pix_fmt", ["yuv444p", "yuv422p10le", "gray", "gbrp10le"])
def test_the_default_codec_takes_what_comes(tmp_path, pix_fmt):
    source = write(tmp_path / "in.mkv", replace(CLIPS["gray"], times=even(3, 24), pix_fmt=pix_fmt)).path
    report, _ = smooth(source, tmp_path / "out.mp4")
    assert report.encoder["pix_fmt"] == pix_fmt
    assert len(probed_times(tmp_path / "out.mp4")) == 5


def test_what_lies_under_transparency_is_kept_and_its_loss_told(tmp_path):
    source = write(tmp_path / "in.mkv", replace(CLIPS["gray"], times=even(3, 24), pix_fmt="yuva444p")).path
    _, warnings = smooth(source, tmp_path / "out.mkv", codec="ffv1")
    assert warnings == ["the transparency of the source is not carried over"]
    assert frame_hashes(tmp_path / "out.mkv")[::2] == frame_hashes(source, "yuv444p")


def test_a_gif_keeps_its_times_and_colours(tmp_path):
    source, output = tmp_path / "in.gif", tmp_path / "out.mkv"
    tool("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=20:duration=0.5", str(source))
    smooth(source, output, codec="ffv1")
    assert probed_times(output) == [Fraction(round(25 * k), 1000) for k in range(19)]
    assert frame_hashes(output, "rgb24")[::2] == frame_hashes(source, "rgb24")


def test_pictures_too_small_for_x265_are_refused_with_the_way_out(tmp_path):
    source, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
    tool("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x48:duration=0.2", "-c:v", "ffv1", str(source))
    with pytest.raises(refilm.VideoError, match="below 64 pixels a side, got 64x48; take another codec: --codec libx2"):
        smooth(source, output, codec="libx265")
    assert not output.exists()
    smooth(source, output, codec="libx264")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_survives(tmp_path, rotation, suffix):
    source = write(tmp_path / "in.mp4", replace(CLIPS["rotated"], times=even(3, 24), rotation=rotation)).path
    smooth(source, tmp_path / f"out{suffix}")
    turned = side_data(source)["rotation"]
    assert side_data(tmp_path / f"out{suffix}")["rotation"] == turned != 0


def test_mirroring_survives(tmp_path):
    import av

    plain, source = write(tmp_path / "plain.mp4", CLIPS["cfr-24"]).path, tmp_path / "in.mp4"
    with av.open(str(plain)) as original, av.open(str(source), "w") as output:
        video = output.add_stream_from_template(original.streams.video[0], opaque=True)
        video.set_display_rotation(90, hflip=True)
        for packet in original.demux(video=0):
            if packet.size:
                packet.stream = video
                output.mux(packet)
    smooth(source, tmp_path / "out.mp4")
    assert side_data(tmp_path / "out.mp4")["displaymatrix"] == side_data(source)["displaymatrix"]


def side_data(path):
    return ffprobe(path, "-select_streams", "v:0", "-show_streams")["streams"][0]["side_data_list"][0]


def test_the_first_picture_stream_is_worked_on_and_the_others_are_carried(media, tmp_path):
    source, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
    inputs = ["-i", str(media("companions-mkv").path), "-i", str(media("odd-420").path)]
    maps = ["-map", "0:v:0", "-map", "1:v:0", "-map", "0:a"]
    tool("ffmpeg", "-v", "error", *inputs, *maps, "-c", "copy", str(source))
    smooth(source, output)
    assert probed(output).streams == [
        ("video", "h264", None), ("video", "ffv1", None), ("audio", "aac", "eng"), ("audio", "aac", "deu"),
    ]  # fmt: skip
    assert len(probed_times(output)) == 95
    hashes = [("-select_streams", "v:1", "-show_data_hash", "md5", "-show_entries", "packet=data_hash")] * 2
    before, after = (ffprobe(path, *options) for path, options in zip((source, output), hashes, strict=True))
    assert before["packets"] == after["packets"] != []


def test_a_cover_picture_that_comes_first_is_not_taken_for_the_film(media, tmp_path):
    (tmp_path / "cover.png").write_bytes(COVER_PNG)
    source, output = tmp_path / "in.mp4", tmp_path / "out.mp4"
    arguments = ["-i", str(tmp_path / "cover.png"), "-i", str(media("cfr-24").path), "-map", "0", "-map", "1"]
    tool("ffmpeg", "-v", "error", *arguments, "-c", "copy", "-disposition:v:0", "attached_pic", str(source))
    report, _ = smooth(source, output)
    assert report.frames_in == 24
    assert sorted(kind for kind, *_ in probed(output).streams) == ["video", "video"]


@pytest.mark.parametrize(
    ("codec", "suffix", "packed", "mode"),
    [
        ("libx264", ".mp4", True, None),
        ("libx264", ".mkv", True, "left_right"),
        ("libx265", ".mkv", False, "left_right"),
        ("libx265", ".mp4", False, None),
    ],
)
def test_the_mark_of_a_stereoscopic_video_is_carried_or_named(tmp_path, codec, suffix, packed, mode):
    options = {"preset": "ultrafast", "x264-params": "frame-packing=3"}
    source = write(tmp_path / "in.mp4", Clip(times=even(3, 24), options=options)).path
    _, warnings = smooth(source, tmp_path / f"out{suffix}", codec=codec)
    found = ffprobe(tmp_path / f"out{suffix}", "-select_streams", "v:0", "-show_streams", "-show_frames")
    told = ["the source has the mark of a stereoscopic video, which is not carried over"]
    assert warnings == ([] if packed or mode else told)
    beside = [data["side_data_type"] for data in found["frames"][0].get("side_data_list", ())]
    assert ("Stereo 3D" in beside) == packed
    assert found["streams"][0]["tags"].get("stereo_mode") == mode


def test_a_stereo_mode_of_matroska_is_kept_without_a_word(tmp_path):
    plain, source = write(tmp_path / "plain.mkv", replace(CLIPS["cfr-24"], suffix=".mkv")).path, tmp_path / "in.mkv"
    mode = ("-metadata:s:v:0", "stereo_mode=bottom_top")
    tool("ffmpeg", "-v", "error", "-i", str(plain), "-c", "copy", *mode, str(source))
    for output, told in (("out.mkv", 0), ("out.webm", 0), ("out.mp4", 1)):
        _, warnings = smooth(source, tmp_path / output)
        assert len([line for line in warnings if "stereoscopic" in line]) == told
    for output in ("out.mkv", "out.webm"):
        assert ffprobe(tmp_path / output, "-show_streams")["streams"][0]["tags"]["stereo_mode"] == "bottom_top"


def test_transparency_beside_vp9_is_told_and_no_longer_claimed(tmp_path):
    source, output = tmp_path / "in.webm", tmp_path / "out.webm"
    picture = "testsrc2=size=64x48:duration=0.3,format=yuva420p"
    tool("ffmpeg", "-v", "error", "-f", "lavfi", "-i", picture, "-c:v", "libvpx-vp9", str(source))

    def claim(path):
        tags = ffprobe(path, "-show_streams")["streams"][0]["tags"]
        return {key.lower(): value for key, value in tags.items()}.get("alpha_mode")

    assert claim(source) == "1"
    _, warnings = smooth(source, output)
    assert warnings == ["the transparency of the source is not carried over"]
    assert claim(output) is None


def with_captions(folder, first):
    """A film with closed captions (CTA-708 in ATSC A/53) from frame `first` on."""
    plain, source = write(folder / "plain.mp4", CLIPS["cfr-24"]).path, folder / "in.mp4"
    tool("ffmpeg", "-v", "error", "-i", str(plain), "-c", "copy", str(folder / "plain.h264"))
    captions = bytes.fromhex("0000000106 04 0e b500314741393403 41ff fc9420 ff 80")
    # a picture is one unit here, of type 1 or, where decoding can begin, 5
    begins = [
        found.start() for found in re.finditer(rb"\0\0\0?\x01[\x41\x61\x65]", (folder / "plain.h264").read_bytes())
    ]
    data = bytearray((folder / "plain.h264").read_bytes())
    for begin in reversed(begins[first:]):
        data[begin:begin] = captions
    (folder / "captions.h264").write_bytes(data)
    tool("ffmpeg", "-v", "error", "-framerate", "24", "-i", str(folder / "captions.h264"), "-c", "copy", str(source))
    return source


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (0, "the source has closed captions inside the picture stream, which is not carried over"),
        (10, "14 frames have closed captions, unlike the first; these are not carried over"),
    ],
)
def test_closed_captions_are_named_wherever_they_begin(tmp_path, first, told):
    _, warnings = smooth(with_captions(tmp_path, first), tmp_path / "out.mp4", times=1)
    assert warnings == [told]


SPHERICAL = box(b"svhd", bytes(5)) + box(b"proj", box(b"prhd", bytes(16)) + box(b"equi", bytes(20)))


@pytest.mark.parametrize(
    ("entry", "mark", "told"),
    [
        (b"hvc1", box(b"dvcC", bytes([1, 0, 5 << 1, 13, 0]) + bytes(19)),
         r"Dolby Vision metadata of profile 5 \(its colours are wrong without it: make HDR10 of it first"),
        (b"hvc1", box(b"dvvC", bytes([1, 0, 8 << 1, 13, 1 << 4]) + bytes(19)),
         r"Dolby Vision metadata of profile 8 \(what remains is HDR10\)"),
        (b"hvc1", box(b"sv3d", SPHERICAL), "the mark of a 360 degree video"),
        (b"mp4a", box(b"SA3D", struct.pack(">BBIBBI4I", 0, 0, 1, 0, 0, 4, 0, 1, 2, 3)),
         "the mark of ambisonic sound"),
    ],
)  # fmt: skip
def test_marks_of_the_container_that_cannot_be_carried_are_named(tmp_path, entry, mark, told):
    options = {"preset": "ultrafast", "x265-params": "log-level=error"}
    clip = Clip(times=even(3, 24), codec="libx265", options=options, audio=("eng",), width=64)
    source = write(tmp_path / "in.mp4", clip).path
    source.write_bytes(source.read_bytes().replace(b"hev1", b"hvc1"))
    insert_box(source, entry, mark)
    _, warnings = smooth(source, tmp_path / "out.mp4")
    assert len(warnings) == 1
    assert re.fullmatch(rf"the source has {told}.*, which is not carried over", warnings[0])


@pytest.mark.parametrize("pix_fmt", ["bayer_rggb8", "xyz12le", "gbrpf32le", "vaapi"])
def test_samples_that_cannot_be_held_are_refused_with_the_way_out(pix_fmt):
    with pytest.raises(refilm.VideoError, match=rf"{pix_fmt} is not supported; convert first: ffmpeg -i IN"):
        held_format(pix_fmt)
