"""Video files made to do harm: those that refer to other files, bombs and broken ones."""

import os
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy

from benchmarks.hostile_footage.files import SECRET_VIDEO, Make, make_sparse, write
from benchmarks.hostile_footage.pictures import encode
from tests.support.playlists import DASH

HLS = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:3\n{}\n#EXT-X-ENDLIST\n"
SMOOTH = (
    '<SmoothStreamingMedia MajorVersion="2" Duration="1"><StreamIndex Type="video" Url="{}"/>'
    "</SmoothStreamingMedia>"
)
IMF = """<?xml version="1.0"?><CompositionPlaylist
xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"><Id>urn:uuid:0</Id><EditRate>24 1</EditRate>
<SegmentList><Segment><SequenceList/><FileName>{}</FileName></Segment></SegmentList>
</CompositionPlaylist>"""
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns={}\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"


def make_playlists(folder: Path) -> Iterator[tuple[str, Make]]:
    """Files that only name another one, which is a video that would be read."""
    secret = str(folder / SECRET_VIDEO)
    segment = "#EXTINF:1,\n{}"
    contents = {
        "hls.mp4": HLS.format(segment.format(secret)),
        "hls-relative.mkv": HLS.format(segment.format(SECRET_VIDEO)),
        "hls-up.ts": HLS.format(segment.format(f"../{folder.name}/{SECRET_VIDEO}")),
        "hls-file.mov": HLS.format(segment.format(f"file://{secret}")),
        "hls-file-short.avi": HLS.format(segment.format(f"file:{secret}")),
        "hls-http.webm": HLS.format(segment.format("http://127.0.0.1:9/a.ts")),
        "hls-variant.mp4": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1280000\n{secret}\n",
        "hls-key.mp4": HLS.format(
            f'#EXT-X-KEY:METHOD=AES-128,URI="{secret}"\n' + segment.format(secret)
        ),
        "hls-map.mp4": HLS.format(f'#EXT-X-MAP:URI="{secret}"\n' + segment.format(secret)),
        "hls-media.mp4": f'#EXTM3U\n#EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID="a",NAME="a",URI="{secret}"\n'
        f'#EXT-X-STREAM-INF:BANDWIDTH=1,VIDEO="a"\n{secret}\n',
        "hls-subfile.mp4": HLS.format(segment.format(f"subfile,,start,0,end,0,,:{secret}")),
        "hls-concat.mp4": HLS.format(segment.format(f"concat:{secret}|{secret}")),
        "hls-crypto.mp4": HLS.format(segment.format(f"crypto+file:{secret}")),
        "hls-pipe.mp4": HLS.format(segment.format("pipe:0")),
        "hls-data.mp4": HLS.format(segment.format("data:video/mp2t;base64,AAAA")),
        "hls-after-mark.mp4": "\ufeff" + HLS.format(segment.format(secret)),
        "hls-padded.ts": HLS.format(segment.format(secret)) + "\0" * 4096,
        "hls-itself.mp4": HLS.format(segment.format("hls-itself.mp4")),
        "hls-wide.mp4": HLS.format("\n".join([segment.format(secret)] * 20_000)),
        "hls.m3u8": HLS.format(segment.format(secret)),
        "hls-without-suffix": HLS.format(segment.format(secret)),
        "concat.mp4": f"ffconcat version 1.0\nfile '{secret}'\n",
        "concat-relative.mkv": f"ffconcat version 1.0\nfile {SECRET_VIDEO}\n",
        "concat-options.mov": f"ffconcat version 1.0\nfile {SECRET_VIDEO}\noption safe 0\n",
        "concat-stream.avi": f"ffconcat version 1.0\nstream\nfile {SECRET_VIDEO}\nduration 9\n",
        "concat-old.webm": f"file '{secret}'\n",
        "dash.mp4": DASH.format(secret),
        "dash-file.webm": DASH.format(f"file://{secret}"),
        "dash-relative.mkv": DASH.format(SECRET_VIDEO),
        "smooth.mp4": SMOOTH.format(secret),
        "imf.mxf": IMF.format(secret),
        "imf-map.mxf": f'<AssetMap xmlns="http://www.smpte-ra.org/schemas/429-9/2007/AM">{secret}',
        "sdp.mp4": SDP.format("a"),
        "sdp-file.wmv": SDP.format(secret) + f"a=control:file://{secret}\n",
        "rtsp.mov": "rtsptext\nrtsp://127.0.0.1:9/a\n",
        "pls.avi": f"[playlist]\nFile1={secret}\nNumberOfEntries=1\n",
        "asx.wmv": f'<asx version="3.0"><entry><ref href="file://{secret}"/></entry></asx>',
        "asf-reference.wmv": f"[Reference]\nRef1=file://{secret}\nRef2=http://127.0.0.1:9/a\n",
        "wpl.wmv": f'<?wpl version="1.0"?><smil><body><media src="{secret}"/></body></smil>',
        "smil.mp4": f'<smil><body><video src="{secret}"/></body></smil>',
        "xspf.mp4": f'<playlist version="1"><trackList><location>{secret}</location></trackList>',
        "qtl.mov": '<?quicktime type="application/x-quicktime-media-link"?>'
        f'<embed src="{secret}"/>',
        "ram.rm": f"file://{secret}\n",
        "m3u.mp4": f"{secret}\n",
        "vobsub.idx.mp4": "# VobSub index file, v7\nsize: 720x576\nlangidx: 0\nid: en, index: 0\n"
        "timestamp: 00:00:00:000, filepos: 000000000\n",
        "avisynth.avi": f'AVISource("{secret}")\n',
        "vapoursynth.mp4": f'import vapoursynth\nvapoursynth.core.ffms2.Source("{secret}")\n',
        "lavfi.mp4": f"movie={secret}\n",
        "ffmetadata.mp4": ";FFMETADATA1\ntitle=a\n",
        "tedcaptions.mp4": '{"captions":[{"duration":1,"content":"a","startTime":0}]}',
        "kux.mp4": b"KDK\0" + secret.encode("utf-8"),
        "subtitles.mkv": "1\n00:00:00,000 --> 00:00:09,000\n<font face='x'>a</font>\n",
        "ass.mkv": f"[Script Info]\nVideo File: {secret}\n[Events]\nDialogue: 0,0:00:00.00,0\n",
        "zip.mp4": b"PK\x03\x04" + b"\0" * 2000,
        "torrent.mp4": b"d8:announce9:127.0.0.14:infod4:name1:aee",
        "shell.mp4": "#!/bin/sh\ntouch pwned\n",
    }
    for name, content in contents.items():
        yield name, write(content)
    for number in (1, 2):
        yield f"{number}-numbered.png", write(encode("PNG"))
    yield "%d-numbered.mp4", write(encode("PNG"))
    for kind in (b"url ", b"alis"):
        yield f"reference-{kind.decode('ascii').strip()}.mov", write(_refer(secret, kind))
    box = struct.pack(">I", len(secret) + 12) + b"rdrf\0\0\0\0" + secret.encode("utf-8")
    movie = b"".join(
        struct.pack(">I", size) + name
        for size, name in ((len(box) + 24, b"moov"), (len(box) + 16, b"rmra"))
    )
    movie += struct.pack(">I", len(box) + 8) + b"rmda" + box
    yield "reference-movie.mov", write(movie)


def make_video_bombs(folder: Path) -> Iterator[tuple[str, Make]]:
    """Small videos that ask for much time or memory."""
    grey = "color=gray"
    yield "pixels.avi", _encode(f"{grey}:size=8192x8192:duration=0.2:rate=10", "-c:v", "mjpeg")
    yield "pixels-grey.mp4", _encode(f"{grey}:size=7680x5120:duration=2:rate=10", *_fast("h264"))
    for seconds in (20, 120):
        source = f"{grey}:size=3840x2160:duration={seconds}:rate=60"
        yield f"time-{seconds}.mp4", _encode(source, *_fast("h264"), "-g", "9999")
    source = f"{grey}:size=640x480:duration=900:rate=100"
    yield "frames.mkv", _encode(source, *_fast("h264"), "-g", "9999")
    tiny = f"{grey}:size=16x16:duration=500:rate=200"
    yield "tiny-frames.mkv", _encode(tiny, *_fast("h264"), "-g", "9999")
    yield "rate.mkv", _encode(f"{grey}:size=64x64:duration=0.001:rate=1000000", *_fast("h264"))
    yield "narrow.avi", _encode(f"{grey}:size=16x32000:duration=0.5:rate=10", "-c:v", "mjpeg")
    yield "flat.avi", _encode(f"{grey}:size=32000x16:duration=0.5:rate=10", "-c:v", "mjpeg")
    aspect = ("-vf", "setsar=1/4000")
    yield "aspect.mkv", _encode(f"{grey}:size=640x480:duration=1:rate=10", *aspect, *_fast("h264"))
    gap = ("-vf", "setpts='PTS+if(gt(N,5),100000/TB,0)'", "-vsync", "passthrough")
    yield "gap.mkv", _encode(f"{grey}:size=64x48:duration=1:rate=10", *gap, *_fast("h264"))
    hidden = ("-vf", "drawbox=w=64:h=64:color=red", "-c:v", "png")
    yield "png-in.mov", _encode(f"{grey}:size=6000x6000:duration=1:rate=5", *hidden)
    yield "streams.mkv", _encode_streams(200)
    yield "size-claimed.mp4", _claim(b"avc1", 60_000)
    yield "samples-claimed.mp4", _count_samples
    yield "elst-claimed.mp4", write(_ftyp() + _nest(b"moov", 200))
    yield "depth.mp4", write(_ftyp() + _nest(b"moov", 60_000))
    yield "ebml-depth.mkv", write(b"\x1a\x45\xdf\xa3" + b"\x01\xff\xff\xff\xff\xff\xff\xff" * 9_000)
    yield "sparse.mp4", lambda path: make_sparse(path, _ftyp(), 10**12)
    yield "sparse.ts", lambda path: make_sparse(path, b"\x47" + b"\xff" * 187, 10**11)
    yield "gif.mp4", _encode(f"{grey}:size=4000x4000:duration=60:rate=5", "-f", "gif")
    yield "apng.mkv", _encode(f"{grey}:size=4000x4000:duration=6:rate=5", "-f", "apng")


def make_broken_videos(folder: Path) -> Iterator[tuple[str, Make]]:
    """Videos that break off, or with bytes changed."""
    generator = numpy.random.default_rng(10)
    test = "testsrc2=size=160x120:duration=2:rate=10"
    for suffix, options in {
        "mp4": _fast("h264"),
        "mkv": _fast("hevc"),
        "webm": ("-c:v", "libvpx-vp9", "-cpu-used", "8"),
        "avi": ("-c:v", "mpeg4"),
        "mpg": ("-c:v", "mpeg2video"),
        "ts": _fast("h264"),
        "flv": ("-c:v", "flv1"),
        "wmv": ("-c:v", "wmv2"),
        "ogv": ("-c:v", "libtheora"),
        "mxf": ("-c:v", "mpeg2video", "-r", "25"),
    }.items():
        with tempfile.TemporaryDirectory() as temporary:
            whole = Path(temporary, f"whole.{suffix}")
            _encode(test, *options)(whole)
            content = whole.read_bytes()
        yield f"cut-video.{suffix}", write(content[: len(content) // 2])
        changed = bytearray(content)
        for place in generator.integers(12, len(content), len(content) // 200):
            changed[place] = int(generator.integers(0, 256))
        yield f"changed-video.{suffix}", write(bytes(changed))
        yield f"junk-video.{suffix}", write(content[:64] + generator.bytes(200_000))


def make_odd_videos(folder: Path) -> Iterator[tuple[str, Make]]:
    """What is no regular file, or not of its own."""
    yield "empty.mp4", write(b"")
    yield "pipe.mp4", os.mkfifo
    yield "random.mp4", lambda path: path.symlink_to("/dev/urandom")
    yield "input.mkv", lambda path: path.symlink_to("/dev/stdin")
    yield "folder.mp4", lambda path: path.mkdir()
    yield "file:holiday.mp4", write(HLS.format("#EXTINF:1,\na.ts"))
    yield "-i secret.mp4", write(b"\0" * 100)
    yield "concat:a|b.mp4", write(b"\0" * 100)


def write_video(path: Path) -> None:
    """A video of a few frames."""
    _encode("testsrc2=size=64x48:duration=0.4:rate=10", *_fast("h264"))(path)


def _fast(codec: str) -> tuple[str, ...]:
    encoder = {"h264": "libx264", "hevc": "libx265"}[codec]
    return ("-c:v", encoder, "-preset", "ultrafast", "-pix_fmt", "yuv420p")


def _encode(source: str, *options: str) -> Make:
    def make(path: Path) -> None:
        command = ["ffmpeg", "-v", "fatal", "-y", "-f", "lavfi", "-i", source, *options]
        with tempfile.TemporaryDirectory() as temporary:
            made = Path(temporary, path.name)
            subprocess.run([*command, f"file:{made}"], check=True)
            path.write_bytes(made.read_bytes())

    return make


def _encode_streams(count: int) -> Make:
    options = [part for _ in range(count) for part in ("-map", "0:v")]
    return _encode("color=size=1920x1080:duration=0.2:rate=10", *options, *_fast("h264"))


def _claim(entry: bytes, side: int) -> Make:
    """A video whose sample description claims another size than its pictures have."""

    def make(path: Path) -> None:
        write_video(path)
        content = path.read_bytes()
        place = content.index(entry) + 4 + 24
        path.write_bytes(content[:place] + struct.pack(">HH", side, side) + content[place + 4 :])

    return make


def _count_samples(path: Path) -> None:
    """A video that claims two thousand million samples."""
    write_video(path)
    content = path.read_bytes()
    place = content.index(b"stsz") + 12
    path.write_bytes(content[:place] + struct.pack(">I", 2**31 - 1) + content[place + 4 :])


def _refer(target: str, kind: bytes) -> bytes:
    """A QuickTime video whose pictures are in another file."""
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "whole.mov")
        write_video(path)
        content = path.read_bytes()
    place = content.index(b"dref") - 4
    (length,) = struct.unpack_from(">I", content, place)
    name = target.encode("utf-8") + b"\0"
    entry = struct.pack(">I", 12 + len(name)) + kind + b"\0\0\0\0" + name
    table = struct.pack(">I", 16 + len(entry)) + b"dref\0\0\0\0\0\0\0\1" + entry
    changed = bytearray(content[:place] + table + content[place + length :])
    for box in (b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        where = changed.index(box) - 4
        (size,) = struct.unpack_from(">I", changed, where)
        struct.pack_into(">I", changed, where, size + len(table) - length)
    return bytes(changed)


def _ftyp() -> bytes:
    return b"\0\0\0\x18ftypisom\0\0\2\0isommp41"


def _nest(name: bytes, depth: int) -> bytes:
    return b"".join(struct.pack(">I", 8 * (depth - level)) + name for level in range(depth))
