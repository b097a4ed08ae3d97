from __future__ import annotations

from dataclasses import replace

import av
from media import CLIPS, even, write

from refilm.video import frames, probe
from refilm.video.encoder import EncoderSettings, encoder_options
from refilm.video.piece_writer import PieceWriter


def test_equal_frames_give_equal_packets(tmp_path):
    source = write(tmp_path / "film.mp4", replace(CLIPS["b-frames"], times=even(40, 24))).path
    info, pictures = probe(source), list(frames(source))
    options = encoder_options("libx264", None, "medium", info)
    settings = EncoderSettings(
        "libx264", "yuv420p", info.width, info.height, info.time_base, info.frame_rate, info.sample_aspect_ratio,
        info.tags, threads=2, options=options,
    )  # fmt: skip
    made = set()
    for _ in range(3):
        writer = PieceWriter(tmp_path / "piece", settings)
        for picture in pictures:
            writer.write(picture)
        writer.close()
        with av.open(str(tmp_path / "piece")) as piece:
            made.add(tuple(bytes(packet) for packet in piece.demux(video=0)))
    assert len(made) == 1
