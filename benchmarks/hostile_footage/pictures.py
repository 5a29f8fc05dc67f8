"""Picture files made to do harm."""

import io
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy
from PIL import Image

from benchmarks.hostile_footage.files import SECRET, Make, make_sparse, write


def _picture(side: int = 96, mode: str = "RGB") -> Image.Image:
    pixels = numpy.random.default_rng(5).integers(0, 256, (side, side, 3), dtype=numpy.uint8)
    return Image.fromarray(pixels).convert(mode)


def encode(name: str, picture: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (picture or _picture()).save(buffer, name, **options)
    return buffer.getvalue()


def make_strangers(folder: Path) -> Iterator[tuple[str, Make]]:
    """Other formats named as pictures; some run programs or name files where they are opened."""
    secret = str(folder / SECRET)
    box = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90 90\n%%EndComments\n"
    reads = f"({secret}) (r) file 100 string readstring pop pop showpage\n"
    ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    link = f'<image href="file://{secret}" width="9" height="9"/>'
    contents = {
        "eps-loop.png": f"{box}{{}} loop\n",
        "eps-reads.jpg": box + reads,
        "eps-deletes.jpg": f"{box}({secret}) deletefile showpage\n",
        "eps-without-suffix": box + reads,
        "eps-named-gif.gif": box + reads,
        "eps-after-mark.jpg": b"\xef\xbb\xbf" + (box + reads).encode("ascii"),
        "eps-dos.tif": b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 30, 200) + b"\0" * 220,
        "ps-pipe.webp": "%!PS\n(%pipe%touch pwned) (w) file closefile\n",
        "pdf.jpg": b"%PDF-1.7\n1 0 obj<</Type/Catalog/OpenAction 2 0 R>>endobj\n",
        "svg-link.png": f'<svg xmlns="http://www.w3.org/2000/svg">{link}</svg>',
        "svg-entity.png": f'<!DOCTYPE s [<!ENTITY x SYSTEM "file://{secret}">]><svg>&x;</svg>',
        "laughs.xml.png": '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><svg>&b;</svg>',
        "mvg.png": f"push graphic-context\nimage over 0,0 9,9 '{secret}'\npop graphic-context\n",
        "msl.jpg": f'<?xml version="1.0"?><image><read filename="{secret}"/></image>',
        "xbm.png": "#define a_width 60000\n#define a_height 60000\nstatic char a_bits[] = {0};",
        "xpm.png": '/* XPM */\nstatic char *a[] = {"60000 60000 1 1", "a c red"};',
        "psd.jpg": b"8BPS\0\1" + b"\0" * 6 + struct.pack(">HIIHH", 3, 30000, 30000, 8, 3),
        "wmf.png": b"\xd7\xcd\xc6\x9a" + b"\0" * 40,
        "emf.png": b"\x01\0\0\0" + b"\0" * 36 + b" EMF" + b"\0" * 80,
        "fpx.jpg": ole + b"\0" * 1016,
        "mic.png": ole + b"\xff" * 1016,
        "ppm.png": b"P6\n60000 60000\n255\n",
        "pfm.tif": b"PF\n60000 60000\n-1.0\n",
        "hdr.png": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 60000 +X 60000\n",
        "exr.png": b"\x76\x2f\x31\x01\x02\0\0\0" + b"\0" * 100,
        "sun.jpg": b"\x59\xa6\x6a\x95" + struct.pack(">7I", 60000, 60000, 24, 0, 1, 0, 0),
        "jp2.jpg": b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 100,
        "j2k.heic": b"\xff\x4f\xff\x51" + b"\0" * 100,
        "jxl.jpg": b"\xff\x0a" + b"\0" * 100,
        "ico.png": b"\0\0\1\0\1\0\0\0\0\0\1\0\x20\0\xff\xff\xff\x7f\x16\0\0\0",
        "icns.png": b"icns" + struct.pack(">I4sI", 2**31, b"ic10", 2**31 - 16),
        "dds.png": b"DDS " + struct.pack("<7I", 124, 7, 60000, 60000, 0, 0, 0) + b"\0" * 96,
        "tga.png": struct.pack("<3B2HB4H2B", 0, 0, 10, 0, 0, 0, 0, 0, 60000, 60000, 24, 0),
        "pcx.bmp": b"\x0a\x05\x01\x08" + struct.pack("<4H", 0, 0, 60000, 60000) + b"\0" * 120,
        "sgi.tif": b"\x01\xda\x01\x01\x00\x03" + struct.pack(">3H", 60000, 60000, 3) + b"\0" * 500,
        "fits.png": b"SIMPLE  =                    T" + b" " * 2850,
        "tar.png": b"a.png".ljust(257, b"\0") + b"ustar" + b"\0" * 250,
        "zip.jpg": b"PK\x03\x04" + b"\0" * 100,
        "pickle.png": b"cos\nsystem\n(S'touch pwned'\ntR.",
        "elf.jpg": b"\x7fELF" + b"\0" * 60,
        "page.jpg": "<!DOCTYPE html><html><script>1</script></html>",
        "playlist.jpg": f"#EXTM3U\n#EXTINF:1,\nfile://{secret}\n",
        "concat.png": f"ffconcat version 1.0\nfile {secret}\n",
    }
    for name, content in contents.items():
        yield name, write(content.encode("utf-8") if isinstance(content, str) else content)


def make_polyglots(folder: Path) -> Iterator[tuple[str, Make]]:
    """Pictures that are something else as well."""
    eps = f"%!PS-Adobe-3.0 EPSF-3.0\n({folder / SECRET}) (r) file showpage\n".encode("ascii")
    jpeg, png, gif = encode("JPEG"), encode("PNG"), encode("GIF")
    comment = b"\xff\xfe" + struct.pack(">H", len(eps) + 2) + eps
    yield "jpeg-comment-eps.jpg", write(jpeg[:2] + comment + jpeg[2:])
    yield "jpeg-then-eps.eps", write(jpeg + eps)
    yield "jpeg-then-zip.jpg", write(jpeg + b"PK\x03\x04" + b"\0" * 100)
    yield "png-then-pdf.pdf", write(png + b"%PDF-1.7\n")
    yield "png-as-eps.eps", write(png)
    yield "gif-script.gif", write(gif[:6] + b"/*" + gif[8:])
    yield "gif-then-playlist.m3u8", write(gif + b"\n#EXTM3U\n")
    yield "bitmap-start.bmp", write(b"BM" + eps)
    yield "riff-both.webp", write(b"RIFF" + struct.pack("<I", 100) + b"WEBPAVI LIST" + b"\0" * 90)
    yield "heic-brand-on-mp4.heic", write(b"\0\0\0\x18ftypheic\0\0\0\0isommp41" + b"\0" * 200)
    yield "tiff-then-eps.tif", write(encode("TIFF") + eps)
    yield "mpo-far-offset.jpg", write(encode("MPO", save_all=True).replace(b"MPF\0", b"MPF\xff"))


def make_bombs(folder: Path) -> Iterator[tuple[str, Make]]:
    """Small files that ask for much time or memory."""
    for side in (10_480, 16_000, 60_000, 2**31 - 1):
        yield f"png-{side}.png", write(_png(_header(side, side), _zeros(side * 3 + 1, 10_480)))
    profile = b"a\0\0" + zlib.compress(b"\0" * 200_000_000)
    yield "png-profile.png", write(_png(_header(9, 9), _zeros(28, 9), (b"iCCP", profile)))
    text = b"a\0\0" + zlib.compress(b" " * 200_000_000)
    texts = [(b"zTXt", text)] * 20
    yield "png-text.png", write(_png(_header(9, 9), _zeros(28, 9), *texts))
    empty = [(b"teXt", b"")] * 400_000
    yield "png-chunks.png", write(_png(_header(9, 9), _zeros(28, 9), *empty))
    frames = (b"acTL", struct.pack(">II", 2**31 - 1, 0))
    yield "apng-endless.png", write(_png(_header(9, 9), _zeros(28, 9), frames))
    screen = struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + b"\0" * 6
    frame = b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0"
    yield "gif-screen.gif", write(b"GIF89a" + screen + frame + b";")
    small = struct.pack("<HHBBB", 10_000, 10_000, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    yield "gif-frames.gif", write(b"GIF89a" + small + frame * 50_000 + b";")
    tiny = struct.pack("<HHBBB", 8, 8, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    yield "gif-many.gif", write(b"GIF89a" + tiny + frame * 500_000 + b";")
    yield "gif-comment.gif", write(b"GIF89a" + tiny + b"!\xfe" + (b"\xff" + b"a" * 255) * 200_000)
    canvas = Image.new("RGB", (16_383, 6_700))
    yield "webp-large.webp", write(encode("WEBP", canvas, lossless=True, method=0, quality=0))
    yield "jpeg-65500.jpg", write(_jpeg_size(encode("JPEG"), 65_500))
    yield "jpeg-10480.jpg", write(_jpeg_size(encode("JPEG"), 10_480))
    for side, scans in ((10_000, 5_000), (2_000, 100_000)):
        yield f"jpeg-scans-{side}.jpg", write(_progressive(side, scans))
    yield "jpeg-segments.jpg", write(b"\xff\xd8" + (b"\xff\xe1\xff\xff" + b"\0" * 65_533) * 500)
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + struct.pack("<HHII", 0x0112, 2, 2**31, 8) * 4_000
    yield "jpeg-exif.jpg", write(encode("JPEG", exif=exif))
    yield "bmp-size.bmp", write(_bitmap(2**31 - 1, 2**31 - 1))
    yield "bmp-large.bmp", write(_bitmap(10_480, 10_480))
    for name, entries in {
        "tile": {322: 60_000, 323: 60_000, 324: 400, 325: 20},
        "strip": {256: 60_000, 257: 60_000, 278: 60_000, 273: 400, 279: 20},
        "samples": {277: 65_535, 273: 400, 279: 20},
        "far": {273: 2**31, 279: 2**31 - 1},
        "large": {256: 10_480, 257: 10_480, 278: 10_480, 273: 400, 279: 2_000},
    }.items():
        yield f"tiff-{name}.tif", write(_tiff(entries))
    yield "tiff-loop.tif", write(b"II*\0\x08\0\0\0" + b"\0\0" + struct.pack("<I", 8) * 3)
    tags = b"".join(struct.pack("<HHII", 40_000 + n % 20_000, 7, 2**28, 8) for n in range(65_535))
    yield "tiff-tags.tif", write(b"II*\0\x08\0\0\0\xff\xff" + tags + b"\0" * 4)
    yield "big-tiff.tif", write(b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 2**60))
    for name in ("AVIF",):
        content = encode(name)
        where = content.index(b"ispe") + 8
        size = struct.pack(">II", 60_000, 60_000)
        yield f"{name.lower()}-size.avif", write(content[:where] + size + content[where + 8 :])
    yield "heic-size.heic", write(_heic(60_000))
    yield "sparse.png", lambda path: make_sparse(path, encode("PNG"), 10**12)
    yield "sparse.jpg", lambda path: make_sparse(path, encode("JPEG"), 4 * 10**8)


def make_broken(folder: Path) -> Iterator[tuple[str, Make]]:
    """Pictures that break off, or with bytes changed."""
    generator = numpy.random.default_rng(9)
    for name in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP", "AVIF"):
        content = encode(name)
        for share in (0.01, 0.5, 0.98):
            cut = content[: max(int(len(content) * share), 12)]
            yield f"cut-{share}.{name.lower()}", write(cut)
        changed = bytearray(content)
        for place in generator.integers(12, len(content), 40):
            changed[place] ^= int(generator.integers(1, 256))
        yield f"changed.{name.lower()}", write(bytes(changed))
        yield f"junk.{name.lower()}", write(content[:12] + generator.bytes(50_000))


def make_odd_files(folder: Path) -> Iterator[tuple[str, Make]]:
    """What is no regular file, or not of its own."""
    yield "empty.jpg", write(b"")
    yield "pipe.jpg", os.mkfifo
    yield "zero.jpg", lambda path: path.symlink_to("/dev/zero")
    yield "loop.jpg", lambda path: path.symlink_to(path.name)
    yield "folder.jpg", lambda path: path.mkdir()


def _zeros(row: int, rows: int) -> bytes:
    """Compressed zeros, at most 400 MB of them."""
    packer, packed = zlib.compressobj(1), []
    for _ in range(min(rows, 400_000_000 // row)):
        packed.append(packer.compress(bytes(min(row, 400_000))))
    return b"".join(packed) + packer.flush()


def _header(width: int, height: int) -> bytes:
    return struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)


def _png(header: bytes, data: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, content in ((b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")):
        check = struct.pack(">I", zlib.crc32(name + content))
        parts += [struct.pack(">I", len(content)), name, content, check]
    return b"".join(parts)


def _jpeg_size(content: bytes, side: int) -> bytes:
    """The same JPEG with another size in its header."""
    place = content.index(b"\xff\xc0") + 5
    return content[:place] + struct.pack(">HH", side, side) + content[place + 4 :]


def _progressive(side: int, scans: int) -> bytes:
    """A progressive JPEG of many empty scans, each of which goes over all blocks."""
    quantisation = b"\xff\xdb\0\x43\0" + b"\x01" * 64
    frame = b"\xff\xc2" + struct.pack(">HBHHBBBB", 11, 8, side, side, 1, 1, 0x11, 0)
    tables = b"".join(
        b"\xff\xc4" + struct.pack(">H", 20) + kind + b"\x01" + b"\0" * 15 + b"\0"
        for kind in (b"\0", b"\x10")
    )
    first = b"\xff\xda\0\x08\x01\x01\0\0\0\0"
    scan = b"\xff\xda\0\x08\x01\x01\0\x01\x3f\0"
    return b"\xff\xd8" + quantisation + frame + tables + first + scan * scans + b"\xff\xd9"


def _bitmap(width: int, height: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 1, 1, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + header + b"\0" * 1_000


def _tiff(changes: dict[int, int]) -> bytes:
    """A small deflated grey TIFF with some tags changed."""
    tags = {256: 10, 257: 10, 258: 8, 259: 8, 262: 1, 277: 1, 278: 10} | changes
    content = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    content += b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    return content.ljust(400, b"\0") + zlib.compress(b"\0" * 1_000_000)


def _heic(side: int) -> bytes:
    """The boxes of a HEIC that claims a size, without a picture."""

    def box(name: bytes, *content: bytes) -> bytes:
        joined = b"".join(content)
        return struct.pack(">I", len(joined) + 8) + name + joined

    zero = b"\0" * 4
    size = box(b"ispe", zero, struct.pack(">II", side, side))
    association = box(b"ipma", zero, struct.pack(">IHBB", 1, 1, 1, 1))
    properties = box(b"iprp", box(b"ipco", size), association)
    item = box(b"infe", b"\x02\0\0\0", struct.pack(">HH", 1, 0), b"hvc1\0")
    items = box(b"iinf", zero, struct.pack(">H", 1), item)
    handler = box(b"hdlr", zero, zero, b"pict", b"\0" * 13)
    primary = box(b"pitm", zero, struct.pack(">H", 1))
    meta = box(b"meta", zero, handler, primary, items, properties)
    return box(b"ftyp", b"heic", zero, b"mif1heic") + meta + box(b"mdat", b"\0" * 100)
