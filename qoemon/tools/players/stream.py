"""Makes the test stream: a test picture and a tone, in segments of 2 s, as HLS and as DASH."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from qoemon.tools.cache import MissingError, kept

SEGMENT_S = 2
LENGTH_S = 240
HLS, DASH = "master.m3u8", "stream.mpd"
"""The manifests; both name the same segments."""

_RATE = 25
"""Pictures per second."""

_LONGEST_S = 600
"""Limit for making it, which takes some ten seconds."""


def stream() -> Path:
    """The folder with the manifests and the segments, made if it is not there; MissingError without ffmpeg."""
    return kept("stream-1", _make)  # Another number for another stream.


def is_segment(name: str) -> bool:
    """Whether a file of the stream holds media, which players need again and again."""
    return name.startswith("chunk-")


def _make(folder: Path) -> None:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise MissingError("ffmpeg is not installed, which makes the test stream: apt-get install ffmpeg")
    made = subprocess.run(
        [ffmpeg, *_arguments()], cwd=folder, capture_output=True, text=True, timeout=_LONGEST_S, check=False
    )
    if made.returncode:
        raise MissingError(
            f"ffmpeg did not make the test stream; it needs libx264, aac and the dash muxer, as Debian's has "
            f"them. Its output:\n{made.stderr.strip()[-2000:]}"
        )


def _arguments() -> list[str]:
    picture = ["-f", "lavfi", "-i", f"testsrc2=size=480x270:rate={_RATE}"]
    tone = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]
    key_frames = ["-g", str(SEGMENT_S * _RATE), "-keyint_min", str(SEGMENT_S * _RATE), "-sc_threshold", "0"]
    rate = ["-b:v", "300k", "-maxrate", "300k", "-bufsize", "600k"]
    video = ["-c:v", "libx264", "-preset", "veryfast", "-profile:v", "main", "-pix_fmt", "yuv420p"]
    audio = ["-c:a", "aac", "-b:a", "48k"]
    segments = ["-f", "dash", "-seg_duration", str(SEGMENT_S), "-use_template", "1", "-use_timeline", "0"]
    tracks = ["-adaptation_sets", "id=0,streams=v id=1,streams=a"]
    quiet = ["-hide_banner", "-loglevel", "error", "-nostdin"]
    coded = [*picture, *tone, "-t", str(LENGTH_S), *video, *rate, *key_frames, *audio]
    # The HLS playlists are named by the muxer: master.m3u8.
    return [*quiet, *coded, *segments, "-hls_playlist", "1", *tracks, DASH]
