"""What comes out of every odd kind of picture file."""

import io
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from xgan_jax.data.pictures import (
    MENDED,
    PictureError,
    crop_box,
    crop_resize,
    decode,
    dimensions,
    encode,
    has_celeba_aspect,
    read,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::RuntimeWarning:PIL")


def smooth(height: int = 40, width: int = 30) -> np.ndarray:
    """Something without fine detail, so that JPEG changes it little."""
    y, x = np.mgrid[:height, :width]
    channels = [255 * x / width, 255 * y / height, 255 * (x + y) / (width + height)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg_of_size(width: int, height: int) -> bytes:
    """A small JPEG whose header claims another size."""
    data = bytearray(encode(smooth(), "jpeg"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def png_of_size(width: int, height: int) -> bytes:
    data = bytearray(encode(smooth(), "png"))
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def test_plain_pictures():
    image = smooth()
    assert np.array_equal(decode(encode(image, "png")), image)
    assert np.array_equal(decode(saved(Image.fromarray(image), "webp", lossless=True)), image)
    assert np.array_equal(decode(saved(Image.fromarray(image), "bmp")), image)
    assert np.abs(decode(encode(image, "jpeg")).astype(int) - image).max() <= 6


def test_jpeg_pixels_are_pillows():
    for subsampling in (0, 1, 2):
        data = saved(Image.fromarray(smooth(53, 37)), "jpeg", quality=80, subsampling=subsampling)
        with Image.open(io.BytesIO(data)) as image:
            assert np.array_equal(decode(data), np.asarray(image))


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_grey_is_repeated(kind):
    grey = Image.fromarray(smooth()).convert("L")
    image = decode(saved(grey, kind, **({"quality": 100} if kind == "jpeg" else {})))
    assert image.shape == (40, 30, 3)
    assert np.array_equal(image[..., 0], image[..., 1]) and np.array_equal(image[..., 1], image[..., 2])
    assert np.abs(image[..., 0].astype(int) - np.asarray(grey)).max() <= 2


def test_transparency_is_laid_over_white():
    pixels = np.dstack([smooth(), np.full((40, 30), 255, np.uint8)])
    pixels[:20, :, 3] = 0
    pixels[20, 0] = (0, 0, 0, 128)
    image = decode(saved(Image.fromarray(pixels), "png"))
    assert (image[:20] == 255).all()
    assert np.array_equal(image[21:], pixels[21:, :, :3])
    assert image[20, 0].tolist() == [127, 127, 127]
    grey_alpha = Image.fromarray(pixels).convert("LA")
    assert (decode(saved(grey_alpha, "png"))[:20] == 255).all()


def test_palette_with_and_without_transparency():
    palette = Image.fromarray(np.tile(np.arange(4, dtype=np.uint8), (20, 5)), "P")
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    expected = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]
    assert decode(saved(palette, "png"))[0, :4].tolist() == expected
    expected[1] = [255, 255, 255]
    assert decode(saved(palette, "png", transparency=1))[0, :4].tolist() == expected


def test_sixteen_bits_are_scaled():
    ramp = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    image = decode(saved(Image.fromarray(np.repeat(ramp, 4, axis=0)), "png"))
    assert image[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]
    image = decode(saved(Image.fromarray(ramp), "tiff"))
    assert image[0, :, 2].tolist() == [0, 0, 1, 1, 128, 255]


def tiff(bits: int, photometric: int, pixels: bytes) -> bytes:
    """Grey of 8x2 pixels."""
    tags = {256: 8, 257: 2, 258: bits, 259: 1, 262: photometric, 273: 122, 277: 1, 278: 2, 279: len(pixels)}
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4) + pixels


def test_grey_tiffs_mean_what_their_tags_say():
    """Where zero is white, and where a pixel has 12 bits."""
    ramp = np.array([0, 257, 32768, 65535] * 4, "<u2").tobytes()
    assert decode(tiff(16, 1, ramp))[0, :4, 0].tolist() == [0, 1, 128, 255]
    assert decode(tiff(16, 0, ramp))[0, :4, 0].tolist() == [255, 254, 127, 0]
    assert decode(tiff(12, 1, bytes.fromhex("000fff") * 8))[0, :2, 0].tolist() == [0, 255]


def test_pixels_without_a_range_are_refused():
    with pytest.raises(PictureError, match="mode F, whose range"):
        decode(saved(Image.fromarray(np.ones((20, 20), np.float32)), "tiff"))
    with pytest.raises(PictureError, match="32-bit integers"):
        decode(saved(Image.fromarray(np.full((20, 20), 70_000, np.int32)), "tiff"))


def test_cmyk():
    image = Image.fromarray(smooth())
    for kind in ("jpeg", "tiff"):
        data = saved(image.convert("CMYK"), kind, **({"quality": 95} if kind == "jpeg" else {}))
        assert np.abs(decode(data).astype(int) - smooth()).max() <= 12, kind


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_animations_give_their_first_frame(kind):
    frames = [Image.new("RGB", (32, 24), colour) for colour in ((200, 30, 30), (0, 0, 255), (0, 255, 0))]
    options = {"lossless": True} if kind == "webp" else {}
    image = decode(saved(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert image.shape == (24, 32, 3) and (image == (200, 30, 30)).all()


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind, orientation):
    image = Image.fromarray(smooth())
    exif = image.getexif()
    exif[0x0112] = orientation
    data = saved(image, kind, exif=exif, **({"lossless": True} if kind == "webp" else {}))
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
    assert np.array_equal(decode(data), expected)
    assert dimensions(data) == expected.shape[1::-1]


def test_a_broken_exif_block_does_not_matter():
    image = Image.fromarray(smooth())
    data = saved(image, "jpeg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff rubbish")
    assert decode(data).shape == (40, 30, 3)


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()[6:]


def raw_profile(orientation: int) -> bytes:
    """As ImageMagick writes EXIF into a text chunk."""
    content = b"Exif\0\0" + exif_of(orientation)
    return b"\nexif\n%8d\n" % len(content) + content.hex().encode() + b"\n"


XMP = b'<rdf:Description tiff:Orientation="6"/>'
TURNED = {
    "eXIf": png_chunk(b"eXIf", exif_of(6)),
    "text": png_chunk(b"tEXt", b"Raw profile type exif\0" + raw_profile(6)),
    "packed text": png_chunk(b"zTXt", b"Raw profile type APP1\0\0" + zlib.compress(raw_profile(6))),
    "XMP": png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
    "packed XMP": png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0en\0\0" + zlib.compress(XMP)),
}


@pytest.mark.parametrize("kind", TURNED)
@pytest.mark.parametrize("after", [False, True])
def test_orientation_of_a_png_wherever_it_stands(kind, after):
    """Before the pixels (33) or after them (12 bytes before the end)."""
    data = encode(smooth(), "png")
    at = len(data) - 12 if after else 33
    turned = data[:at] + TURNED[kind] + data[at:]
    assert np.array_equal(decode(turned), np.rot90(smooth(), -1))
    assert dimensions(turned) == (40, 30)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "gif", "bmp", "avif", "jpeg2000"])
def test_dimensions_are_those_of_what_is_decoded(kind):
    rng = np.random.default_rng(0)
    for turn in (0, *range(1, 10)):
        width, height = (int(side) for side in rng.integers(16, 60, 2))
        image = Image.fromarray(smooth(height, width))
        data = saved(image, kind, exif=b"Exif\0\0" + exif_of(turn))
        assert dimensions(data) == decode(data).shape[1::-1], (kind, turn)


BOMB = zlib.compress(bytes(200_000_000))


@pytest.mark.parametrize(
    "chunk",
    [
        png_chunk(b"zTXt", b"Comment\0\0" + BOMB),
        png_chunk(b"zTXt", b"Raw profile type exif\0\0" + BOMB),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BOMB),
        png_chunk(b"iCCP", b"name\0\0" + BOMB),
        png_chunk(b"tEXt", b"Comment\0" + bytes(3_000_000)),
    ],
)
def test_bombs_in_what_is_no_pixel_take_little_memory(chunk):
    data = encode(smooth(), "png")
    tracemalloc.start()
    assert np.array_equal(decode(data[:33] + chunk + data[33:]), smooth())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50_000_000


def test_a_png_is_refused_only_for_damage_that_touches_pixels():
    data = encode(smooth(), "png")
    comment = bytearray(png_chunk(b"tEXt", b"Comment\0hello"))
    comment[-1] ^= 1
    pixels, remarks = read(data[:33] + bytes(comment) + data[33:])
    assert np.array_equal(pixels, smooth()) and remarks == (MENDED,)
    with pytest.raises(PictureError, match="IDAT is not whole"):
        decode(flipped(data, 60, 1))
    with pytest.raises(PictureError, match="ends before its last chunk"):
        decode(data[:-12])


def raw_tiff() -> bytes:
    """The preview of a raw file: a TIFF whose first picture says that it is a small one of another."""
    return saved(Image.fromarray(smooth()), "tiff", tiffinfo={254: 1, 330: 8})


def dng() -> bytes:
    return saved(Image.fromarray(smooth()), "tiff", tiffinfo={50706: b"\1\4\0\0"})


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(999), "a HEIC picture"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(999), "a HEIC picture"),
        (b"\0\0\0\x1cftypavif\0\0\0\0mif1avif" + bytes(999), "an AVIF picture"),
        (b"\xff\x0a" + bytes(99), "a JPEG XL picture"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(99), "raw file .Canon CR2."),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "raw file .Canon CR3."),
        (b"FUJIFILMCCD-RAW 0201", "raw file .Fujifilm RAF."),
        (raw_tiff(), "raw file"),
        (dng(), "raw file .DNG."),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "a video .QuickTime."),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "a video .MP4."),
        (b"\x1a\x45\xdf\xa3" + bytes(40), "a video .WebM"),
        (b"RIFF\0\0\0\0AVI LIST", "a video .AVI."),
        (b"\0\0\1\xba" + bytes(99), "a video .MPEG."),
        (b"\0\0\1\xb3\x14\0\xf0\x13" + bytes(99), "a video .MPEG."),
        (b"8BPS\0\1" + bytes(20), "a Photoshop file"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "PostScript"),
        (b'<?xml version="1.0"?>\n<!-- a -->\n<svg xmlns="x"></svg>', "an SVG drawing"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n", "git lfs pull"),
        (b"\x1f\x8b\x08\0" + bytes(40), "gzip"),
        (b"PK\3\4" + bytes(40), "a zip archive"),
        (tiff(7, 1, bytes(14)), "a TIFF of grey pixels with 7 bits, which are not read"),
        (tiff(8, 5, bytes(16)), "a TIFF of CMYK pixels with 8 bits"),
        (b"MM\0*" + bytes(40), "a TIFF that is damaged or of a kind"),
    ],
)
def test_what_holds_no_picture_is_named(data, reason):
    with pytest.raises(PictureError, match=reason):
        decode(data)


def test_heic_is_read_where_the_extra_is_installed():
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    for turn in (1, 6):
        data = saved(Image.fromarray(smooth(48, 64)), "heif", quality=95, exif=b"Exif\0\0" + exif_of(turn))
        expected = smooth(48, 64) if turn == 1 else np.rot90(smooth(48, 64), -1)
        assert np.abs(decode(data).astype(int) - expected).max() <= 16
        assert dimensions(data) == expected.shape[1::-1]


def test_transparency_of_sixteen_bits():
    grey = np.full((8, 8), 30_000, np.uint16)
    grey[:4] = 1000
    data = saved(Image.fromarray(grey), "png")
    data = data[:33] + png_chunk(b"tRNS", struct.pack(">H", 30_000)) + data[33:]
    assert decode(data)[:, 0, 0].tolist() == [4] * 4 + [255] * 4


def keyed(depth: int, colours: int, row: bytes, key: bytes) -> bytes:
    """A PNG of 4 equal rows, one colour of which is transparent."""
    header = struct.pack(">IIBBBBB", 4, 4, depth, colours, 0, 0, 0)
    chunks = {b"IHDR": header, b"tRNS": key, b"IDAT": zlib.compress((b"\0" + row) * 4), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(name, content) for name, content in chunks.items())


def test_a_transparent_colour_of_any_depth():
    """Held against all bits, and none but those."""
    for depth, row, key, left in (
        (4, "7733", 7, 51),
        (2, "a5", 2, 85),
        (8, "09090303", 9, 3),
        (1, "c0", 1, 0),
    ):
        image = decode(keyed(depth, 0, bytes.fromhex(row), struct.pack(">H", key)))
        assert image[0, :, 0].tolist() == [255, 255, left, left], depth
    colour, near = (0x1234, 0x5678, 0x9ABC), (0x1235, 0x5678, 0x9ABC)
    row = struct.pack(">12H", *colour, *near, *colour, *near)
    image = decode(keyed(16, 2, row, struct.pack(">3H", *colour)))
    assert image[0].tolist() == [[255] * 3, [0x12, 0x56, 0x9A]] * 2


def noise(kind: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return encode(pixels, kind)


def flipped(data: bytes, start: int, count: int) -> bytes:
    damaged = bytearray(data)
    for at in np.random.default_rng(1).integers(start, len(data) - 8, count):
        damaged[at] ^= 1 << (at % 8)
    return bytes(damaged)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>404</html>", "HTML"),
        (b"\xef\xbb\xbf  <svg></svg>", "XML"),
        (b"just some text that is no picture", "not a picture"),
        (b"\xff\xd8\xff", "JPEG is damaged"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (noise("jpeg")[:3000], "JPEG is damaged"),
        (noise("png")[:3000], "PNG is damaged"),
        (flipped(noise("jpeg"), 700, 20), "JPEG is damaged"),
        (flipped(noise("png"), 100, 1), "PNG is damaged"),
        (saved(Image.fromarray(smooth()), "webp")[:60], "damaged|not a picture"),
        (saved(Image.fromarray(smooth()), "bmp")[:900], "BMP is damaged"),
    ],
)
def test_what_is_no_whole_picture_is_refused(data, reason):
    with pytest.raises(PictureError, match=reason):
        decode(data)


@pytest.mark.parametrize(
    "data",
    [
        jpeg_of_size(65500, 65500),
        jpeg_of_size(20000, 20000),
        png_of_size(65500, 65500),
        png_of_size(12000, 12000),
    ],
)
def test_decompression_bombs_are_refused_by_their_header(data):
    with pytest.raises(PictureError):
        decode(data)  # warm: Pillow imports its plugins on first use
    tracemalloc.start()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        with pytest.raises(PictureError, match="pixels"):
            decode(data)
        seconds.append(time.perf_counter() - start)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert min(seconds) < 0.010
    assert peak < 1_000_000


def test_the_cap_can_be_set():
    data = encode(smooth(), "png")
    assert decode(data, max_pixels=1200).shape == (40, 30, 3)
    with pytest.raises(PictureError, match="30x40 pixels, more than the 1,199"):
        decode(data, max_pixels=1199)


def test_crop_boxes():
    assert crop_box(178, 218, "celeba") == (15, 35, 163, 183)
    assert crop_box(89, 109, "celeba") == (7, 17, 81, 91)
    assert crop_box(356, 436, "celeba") == (30, 70, 326, 366)
    assert crop_box(178, 218, "center") == (0, 20, 178, 198)
    assert crop_box(300, 200, "center") == (50, 0, 250, 200)
    assert crop_box(300, 200, "none") == (0, 0, 300, 200)
    with pytest.raises(ValueError, match="'round' is unknown"):
        crop_box(10, 10, "round")
    # A selfie of another aspect: cut as if its central 178:218 were CelebA's frame.
    for width, height in ((1000, 600), (600, 1000), (1, 1), (3, 500)):
        left, top, right, bottom = crop_box(width, height, "celeba")
        assert right - left == bottom - top >= 1
        assert 0 <= left < right <= width and 0 <= top < bottom <= height


def test_celebas_aspect():
    assert all(has_celeba_aspect(*size) for size in ((178, 218), (89, 109), (356, 436), (128, 157)))
    assert not any(has_celeba_aspect(*size) for size in ((96, 96), (218, 178), (178, 216), (400, 500)))


def test_crop_resize_is_antialiased():
    checks = np.tile(np.array([[0, 255], [255, 0]], np.uint8), (128, 128))
    small = crop_resize(np.repeat(checks[..., None], 3, axis=2), 32, "center")
    assert small.shape == (32, 32, 3) and small.dtype == np.uint8
    # Picking single pixels would give 0 or 255; averaging gives grey.
    assert np.abs(small.astype(int) - 127).max() <= 2


def test_crop_resize_of_the_right_size_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert np.array_equal(crop_resize(image, 64, "center"), image)
    wide = np.concatenate([image, image], axis=1)
    assert np.array_equal(crop_resize(wide, 64, "center"), wide[:, 32:96])
    assert crop_resize(wide, 16, "none").shape == (16, 16, 3)


def test_encode_round_trips():
    image = smooth(64, 64)
    assert np.array_equal(decode(encode(image, "png")), image)
    assert np.abs(decode(encode(image[:, ::-1], "jpeg")).astype(int) - image[:, ::-1]).max() <= 4
    with pytest.raises(ValueError, match="gif"):
        encode(image, "gif")
