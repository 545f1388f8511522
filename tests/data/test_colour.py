"""What pixels mean: profiles of every kind come out as sRGB, and sRGB as it is."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageCms

from xgan_jax.data import colour
from xgan_jax.data.pictures import CONVERTED, IGNORED, PictureError, decode, encode, read

D65 = (0.3127, 0.3290)
P3 = (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *D65)
ADOBE = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *D65)
SRGB = (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, *D65)
COLOURS = np.array(
    [[(220, 60, 40), (40, 180, 90), (60, 80, 200), (128, 128, 128), (255, 255, 255), (0, 0, 0)]], np.uint8
)
MEANT = Image.fromarray(np.repeat(np.repeat(COLOURS, 8, axis=0), 8, axis=1))


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def to_linear(image: np.ndarray) -> np.ndarray:
    x = image / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def to_srgb_curve(x: np.ndarray) -> np.ndarray:
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 0) ** (1 / 2.4) - 0.055)


def xyz(primaries: tuple[float, ...]) -> np.ndarray:
    """RGB to XYZ, by the textbook."""
    x, y = np.array(primaries[::2]), np.array(primaries[1::2])
    columns = np.stack([x / y, np.ones(4), (1 - x - y) / y])
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])


def written_in(primaries: tuple[float, ...], gamma: float | None = None) -> Image.Image:
    """`MEANT` as the numbers of another space with the white D65; `gamma` None is sRGB's curve."""
    linear = to_linear(np.asarray(MEANT)) @ xyz(SRGB).T @ np.linalg.inv(xyz(primaries)).T
    numbers = to_srgb_curve(linear) if gamma is None else np.maximum(linear, 0) ** (1 / gamma)
    return Image.fromarray(np.clip(numbers * 255, 0, 255).round().astype(np.uint8))


def near(found: np.ndarray, image: Image.Image = MEANT, most: int = 2) -> bool:
    return int(np.abs(found.astype(int) - np.asarray(image.convert("RGB"))).max()) <= most


def profile(primaries: tuple[float, ...], gamma: float | None = None, mode: str = "RGB") -> bytes:
    return colour._profile(mode, colour._srgb_curve() if gamma is None else colour._gamma(gamma), primaries)


def with_chunks(image: Image.Image, **chunks: bytes) -> bytes:
    """A PNG with chunks before its pixels."""
    data = saved(image, "png")
    return data[:33] + b"".join(chunk(name.encode(), said) for name, said in chunks.items()) + data[33:]


def chunk(name: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum


def chrm(primaries: tuple[float, ...]) -> bytes:
    return struct.pack(">8I", *(round(v * 100_000) for v in (*primaries[6:], *primaries[:6])))


def gama(gamma: float) -> bytes:
    return struct.pack(">I", round(gamma * 100_000))


def iccp(content: bytes) -> bytes:
    return b"name\0\0" + zlib.compress(content)


@pytest.mark.parametrize(("primaries", "gamma"), [(P3, None), (ADOBE, 563 / 256), (SRGB, 1.8)])
@pytest.mark.parametrize("kind", ["png", "tiff", "webp", "jpeg", "avif"])
def test_profiles_are_converted(kind, primaries, gamma):
    options = {"jpeg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}.get(kind, {})
    if kind == "avif":
        options = {"quality": 100, "subsampling": "4:4:4"}
    # A long one takes several segments in a JPEG.
    long = profile(primaries, gamma) + bytes(150_000)
    data = saved(written_in(primaries, gamma), kind, icc_profile=long, **options)
    pixels, remarks = read(data)
    assert near(pixels, most={"jpeg": 6, "avif": 8}.get(kind, 2))
    assert remarks == (CONVERTED,)


def test_srgb_is_recognised_by_what_it_computes():
    """Whatever wrote it, pixels stay as they are; curves as tables are a little off."""
    x = np.arange(26) / 25
    table = (to_linear(255 * x) * 65535).round().astype(">u2")
    curve = b"curv\0\0\0\0" + struct.pack(">I", len(table)) + table.tobytes()
    rough = colour._profile("RGB", curve, SRGB)
    ours = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for content in (ours, rough, profile(SRGB)):
        pixels, remarks = read(saved(image, "png", icc_profile=content))
        assert np.array_equal(pixels, np.asarray(image)) and remarks == ()
        jpeg = saved(image, "jpeg", icc_profile=content)
        assert (
            np.array_equal(decode(jpeg), np.asarray(Image.open(io.BytesIO(jpeg)))) and not read(jpeg).remarks
        )
    assert read(saved(image, "png", icc_profile=profile(SRGB, 2.2))).remarks == (CONVERTED,)


def test_grey_profiles():
    ramp = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
    expected = (255 * to_srgb_curve((ramp / 255) ** 1.8)).round()
    for kind in ("png", "tiff"):
        data = saved(Image.fromarray(ramp), kind, icc_profile=profile(SRGB, 1.8, "L"))
        assert np.abs(decode(data)[..., 1] - expected).max() <= 1
    data = saved(Image.fromarray(ramp), "jpeg", quality=100, icc_profile=profile(SRGB, 1.8, "L"))
    assert np.abs(decode(data)[..., 0] - expected).max() <= 3
    # Sixteen bits are converted before they become eight: dark linear values are not lost.
    deep = np.tile(np.arange(0, 4096, 16, dtype=np.uint16), (16, 1))
    found = decode(with_chunks(Image.fromarray(deep), gAMA=gama(1.0)))
    assert np.abs(found[..., 0] - 255 * to_srgb_curve(deep / 65535)).max() <= 1
    same = saved(Image.fromarray(ramp), "png", icc_profile=profile(SRGB, None, "L"))
    assert np.array_equal(decode(same)[..., 0], ramp) and not read(same).remarks


def cmyk_profile() -> bytes:
    """Inks like sRGB's cube, whose black is a dark grey: a table of 2^4 Lab values."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    inks = np.stack(np.meshgrid(*[[0, 255]] * 4, indexing="ij"), axis=-1).reshape(1, 16, 4)
    light = (255 - inks[..., :3]) * (1 - inks[..., 3:] / 255) * 0.8 + 40
    picture = Image.fromarray(light.round().astype(np.uint8))
    srgb = ImageCms.createProfile("sRGB")
    values = np.asarray(ImageCms.profileToProfile(picture, srgb, lab, outputMode="LAB")).reshape(16, 3).copy()
    values[:, 1:] += 128  # Pillow keeps a and b signed
    linear = bytes(range(256))
    identity = struct.pack(">9i", *(65536 * v for v in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    table = b"mft1\0\0\0\0\4\3\2\0" + identity + linear * 4 + values.tobytes() + linear * 3
    data = bytearray(colour._icc(b"CMYK", {b"A2B0": table, b"A2B1": table}))
    data[8:12], data[12:16], data[20:24] = b"\2\x40\0\0", b"spac", b"Lab "
    return bytes(data)


def test_cmyk_goes_by_its_profile():
    inks = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    for kind, options in (("tiff", {}), ("jpeg", {"quality": 100})):
        plain, remarks = read(saved(inks, kind, **options))
        assert near(plain, Image.new("RGB", (32, 32), (255, 0, 0))) and remarks == ()
        pixels, remarks = read(saved(inks, kind, icc_profile=cmyk_profile(), **options))
        assert remarks == (CONVERTED,)
        assert not near(pixels, Image.fromarray(plain), most=10) and pixels[0, 0, 0] > 200
    # Black point compensation: the darkest that there is becomes sRGB's black, the paper sRGB's white.
    for ink, meant in (((255, 255, 255, 255), 0), ((0, 0, 0, 0), 255)):
        data = saved(Image.new("CMYK", (8, 8), ink), "tiff", icc_profile=cmyk_profile())
        assert near(decode(data), Image.new("RGB", (8, 8), (meant,) * 3), most=6)


def test_lab():
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    image = ImageCms.profileToProfile(MEANT, ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
    image.info.clear()
    for options in ({}, {"icc_profile": lab.tobytes()}):
        assert near(decode(saved(image, "tiff", **options)), most=12)  # 8 bits of Lab are coarse


@pytest.mark.parametrize(
    "broken",
    [b"junk", b"", profile(P3)[:100], profile(SRGB, 2.2, "L"), cmyk_profile(), bytes(1000)],
    ids=["junk", "empty", "cut", "grey", "cmyk", "zeros"],
)
def test_a_broken_profile_or_one_of_other_pixels_is_ignored(broken):
    pixels, remarks = read(with_chunks(MEANT, iCCP=iccp(broken)))
    assert near(pixels, most=0) and remarks == (IGNORED,)
    if broken:
        data = saved(MEANT, "webp", lossless=True, icc_profile=broken)
        assert near(decode(data), most=0) and read(data).remarks == (IGNORED,)
        plain = saved(MEANT, "jpeg")
        data = saved(MEANT, "jpeg", icc_profile=broken)
        assert np.array_equal(decode(data), decode(plain)) and read(data).remarks == (IGNORED,)
    grey = saved(MEANT.convert("L"), "png", icc_profile=profile(P3))
    assert near(decode(grey), MEANT.convert("L"), most=0) and read(grey).remarks == (IGNORED,)


P3_CODES, ADOBE_ICC = bytes([12, 13, 0, 1]), iccp(profile(ADOBE, 563 / 256))


@pytest.mark.parametrize(
    ("image", "chunks"),
    [
        (written_in(P3), {"cICP": P3_CODES}),
        (written_in(P3), {"iCCP": ADOBE_ICC, "cICP": P3_CODES, "gAMA": gama(1.0), "sRGB": b"\0"}),
        (written_in(ADOBE, 2.2), {"iCCP": ADOBE_ICC, "sRGB": b"\0", "gAMA": gama(1.0)}),
        (written_in(ADOBE, 2.2), {"gAMA": gama(1 / 2.2), "cHRM": chrm(ADOBE)}),
        (written_in(SRGB, 1.8), {"gAMA": gama(1 / 1.8)}),
        (written_in(SRGB, 1.8), {"iCCP": b"broken", "gAMA": gama(1 / 1.8)}),
        (written_in(P3), {"cHRM": chrm(P3)}),
        (written_in((0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *D65)), {"cICP": bytes([9, 14, 0, 1])}),
    ],
)
def test_png_chunks_and_their_precedence(image, chunks):
    pixels, remarks = read(with_chunks(image, **chunks))
    assert near(pixels, most=3) and remarks[0] == CONVERTED
    assert (IGNORED in remarks) == (chunks.get("iCCP") == b"broken")


@pytest.mark.parametrize(
    "chunks",
    [
        {"gAMA": gama(0.45455)},
        {"gAMA": gama(0.45455), "cHRM": chrm(SRGB)},
        {"sRGB": b"\0", "gAMA": gama(1.0), "cHRM": chrm(P3)},
        {"cHRM": chrm(SRGB)},
        {"cICP": bytes([1, 13, 0, 1]), "iCCP": ADOBE_ICC},
        {"mDCV": bytes(24), "cLLI": bytes(8)},
    ],
)
def test_png_chunks_of_srgb_change_nothing(chunks):
    pixels, remarks = read(with_chunks(MEANT, **chunks))
    assert near(pixels, most=0) and remarks == ()


@pytest.mark.parametrize(
    "chunks",
    [
        {"gAMA": gama(0)},
        {"cHRM": bytes(32)},
        {"cHRM": chrm((0.3,) * 8)},
        {"gAMA": b"1"},
        {"cICP": bytes([12, 13, 0, 0])},
        {"cICP": bytes([99, 13, 0, 1])},
        {"iCCP": b"name\0\0" + zlib.compress(bytes(100_000_000))},  # a bomb
    ],
)
def test_chunks_that_cannot_be_are_ignored(chunks):
    pixels, remarks = read(with_chunks(MEANT, **chunks))
    assert near(pixels, most=0) and remarks == (IGNORED,)


def test_hdr_is_refused():
    for transfer, name in ((16, "PQ"), (18, "HLG")):
        with pytest.raises(PictureError, match=f"HDR picture .{name}"):
            decode(with_chunks(MEANT, cICP=bytes([9, transfer, 0, 1])))


def test_transparency_and_palettes_are_converted_first():
    image = written_in(P3)
    image.putalpha(Image.new("L", image.size, 128))
    pixels = decode(saved(image, "png", icc_profile=profile(P3)))
    half = np.asarray(MEANT).astype(float) * 128 / 255 + 255 * 127 / 255
    assert np.abs(pixels - half).max() <= 2
    palette = written_in(P3).quantize(16)
    assert near(decode(saved(palette, "png", icc_profile=profile(P3))), most=3)


@pytest.mark.parametrize(
    ("space", "index", "converted"),
    [(65535, "R03", True), (2, None, True), (1, "R98", False), (65535, None, False)],
)
def test_adobe_rgb_as_cameras_write_it(space, index, converted):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = space
    if index:
        exif.get_ifd(0x8769)[0xA005] = {1: index}
    data = saved(written_in(ADOBE, 563 / 256), "jpeg", quality=100, subsampling=0, exif=exif.tobytes())
    assert read(data).remarks == ((CONVERTED,) if converted else ())
    assert near(decode(data), most=6) == converted
    # A profile says more than a tag.
    data = saved(MEANT, "png", exif=exif.tobytes(), icc_profile=profile(SRGB))
    assert near(decode(data), most=0)


def test_threads_share_a_profile():
    data = saved(written_in(P3), "png", icc_profile=profile(P3))
    expected = decode(data)
    with ThreadPoolExecutor(8) as pool:
        assert all(np.array_equal(found, expected) for found in pool.map(decode, [data] * 200))


def test_plain_pictures_are_not_touched():
    assert near(decode(encode(np.asarray(MEANT), "png")), most=0)
    assert read(encode(np.asarray(MEANT), "jpeg")).remarks == ()
