"""Whether ordinary pictures are still read, to the bit, and as fast: this version beside another checkout.

    python benchmarks/decoding.py --checkout BEFORE [--json FILE]

Draws 1,000 faces and saves each with every encoder below, all of them as sRGB. Both sides decode every file
from memory in one process, one after the other, and the order turns round each time. Printed for each
encoder: how many files each side reads, how many are refused now that were read before (must be 0), the
largest difference of a pixel (must be 0), and the speed (now / before; above 1 is faster), the median over
the files.
"""

import argparse
import io
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import simplejpeg
from PIL import Image, ImageCms

from benchmarks import machine
from xgan_jax.data import synthetic

ROOT = Path(__file__).parents[1]
Decode = Callable[[bytes], np.ndarray]
Encode = Callable[[Image.Image], bytes]

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def pillow(kind: str, mode: str = "RGB", **options: Any) -> Encode:
    """Pillow's encoder of a format."""

    def encode(image: Image.Image) -> bytes:
        buffer = io.BytesIO()
        image.convert(mode).save(buffer, kind, **options)
        return buffer.getvalue()

    return encode


def turned(kind: str, **options: Any) -> Encode:
    """Pillow's encoder, with EXIF that says lying on its side."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "xgan_jax"
    return pillow(kind, exif=exif.tobytes(), **options)


def turbo(subsampling: str) -> Encode:
    """libjpeg-turbo's own interface."""
    return lambda image: simplejpeg.encode_jpeg(
        np.ascontiguousarray(image), quality=90, colorsubsampling=subsampling
    )


def transparent(kind: str, mode: str = "RGBA", **options: Any) -> Encode:
    """With an alpha channel that rises from left to right."""

    def encode(image: Image.Image) -> bytes:
        alpha = np.linspace(0, 255, image.width).astype(np.uint8)
        image = image.convert("RGBA")
        image.putalpha(Image.fromarray(np.broadcast_to(alpha, image.size[::-1]).copy()))
        return pillow(kind, mode, **options)(image)

    return encode


def sixteen_bits(kind: str) -> Encode:
    """16-bit grey."""

    def encode(image: Image.Image) -> bytes:
        grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
        buffer = io.BytesIO()
        Image.fromarray(grey).save(buffer, kind)
        return buffer.getvalue()

    return encode


def opencv(suffix: str) -> Encode:
    """OpenCV's encoder."""
    import cv2

    return lambda image: cv2.imencode(suffix, np.asarray(image)[..., ::-1])[1].tobytes()


def encoders() -> dict[str, Encode]:
    """By the names that are printed; OpenCV's where it is installed."""
    found = {
        "JPEG, Pillow": pillow("JPEG"),
        "JPEG 4:4:4": pillow("JPEG", quality=95, subsampling=0),
        "JPEG 4:2:2": pillow("JPEG", quality=90, subsampling=1),
        "JPEG optimised": pillow("JPEG", optimize=True),
        "JPEG progressive": pillow("JPEG", progressive=True),
        "JPEG with restart markers": pillow("JPEG", restart_marker_rows=1),
        "JPEG grey": pillow("JPEG", "L"),
        "JPEG CMYK": pillow("JPEG", "CMYK"),
        "JPEG, RGB stored": pillow("JPEG", keep_rgb=True),
        "JPEG with EXIF": turned("JPEG"),
        "JPEG with sRGB's profile": pillow("JPEG", icc_profile=SRGB),
        "JPEG, simplejpeg 4:2:0": turbo("420"),
        "JPEG, simplejpeg 4:4:4": turbo("444"),
        "PNG": pillow("PNG"),
        "PNG RGBA": transparent("PNG"),
        "PNG grey": pillow("PNG", "L"),
        "PNG grey and alpha": transparent("PNG", "LA"),
        "PNG palette": pillow("PNG", "P"),
        "PNG palette, one transparent": pillow("PNG", "P", transparency=1),
        "PNG 1 bit": pillow("PNG", "1"),
        "PNG 16 bits": sixteen_bits("PNG"),
        "PNG with EXIF": turned("PNG"),
        "PNG with sRGB's profile": pillow("PNG", icc_profile=SRGB),
        "WebP lossy": pillow("WEBP"),
        "WebP lossless": pillow("WEBP", lossless=True, method=0),
        "WebP RGBA": transparent("WEBP", lossless=True, method=0),
        "WebP with sRGB's profile": pillow("WEBP", icc_profile=SRGB),
        "GIF": pillow("GIF"),
        "BMP": pillow("BMP"),
        "TIFF": pillow("TIFF"),
        "TIFF, LZW": pillow("TIFF", compression="tiff_lzw"),
        "TIFF CMYK": pillow("TIFF", "CMYK"),
        "TIFF 16 bits": sixteen_bits("TIFF"),
        "TIFF with EXIF": turned("TIFF"),
        "PPM": pillow("PPM"),
        "TGA": pillow("TGA"),
        "JPEG 2000": pillow("JPEG2000"),
    }
    Image.init()
    if "AVIF" in Image.SAVE:
        found["AVIF"] = pillow("AVIF", speed=10)
    try:
        found |= {f"{suffix[1:].upper()}, OpenCV": opencv(suffix) for suffix in (".jpg", ".png", ".webp")}
    except ImportError:
        print("OpenCV is not installed: its encoders are left out")
    return found


def decoder_of(checkout: Path) -> tuple[Decode, type[Exception]]:
    """`pictures.decode` of a checkout, and its refusal; beside that of another in the same process."""
    ours = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "xgan_jax"}
    sys.path.insert(0, str(checkout))
    try:
        from xgan_jax.data import pictures

        assert pictures.__file__ is not None and Path(pictures.__file__).is_relative_to(checkout)
        return pictures.decode, pictures.PictureError
    finally:
        sys.path.remove(str(checkout))
        for name in [name for name in sys.modules if name.split(".")[0] == "xgan_jax"]:
            del sys.modules[name]
        sys.modules |= ours


def draw(count: int, size: int) -> Iterator[Image.Image]:
    """`count` faces, every other one an anime face."""
    rng = np.random.default_rng(0)
    for i in range(count):
        style = synthetic.STYLES[i % 2]
        yield Image.fromarray(synthetic.draw(synthetic.sample_attributes(rng, style), style, size, i))


def timed(side: tuple[Decode, type[Exception]], data: bytes) -> tuple[np.ndarray | None, float]:
    """The pixels, None where the file is refused, and seconds."""
    decode, refusal = side
    start = time.perf_counter()
    try:
        pixels = decode(data)
    except refusal:
        pixels = None
    return pixels, time.perf_counter() - start


def compare(files: list[bytes], before: Any, now: Any) -> dict[str, Any]:
    """Both sides on the files of one encoder."""
    found = {"files": len(files), "read_before": 0, "read_now": 0, "refused_now": 0, "largest_difference": 0}
    seconds: tuple[list[float], list[float]] = ([], [])
    for side in (before, now):
        timed(side, files[0])  # Pillow imports its plugins on first use
    for i, data in enumerate(files):
        results: list[Any] = [None, None]
        for k in (0, 1) if i % 2 else (1, 0):
            results[k], spent = timed((before, now)[k], data)
            seconds[k].append(spent)
        was, is_now = results
        found["read_before"] += was is not None
        found["read_now"] += is_now is not None
        found["refused_now"] += was is not None and is_now is None
        if was is not None and is_now is not None:
            same = was.shape == is_now.shape
            difference = int(np.abs(was.astype(int) - is_now).max()) if same else 256
            found["largest_difference"] = max(found["largest_difference"], difference)
    return found | {
        "ms_before": round(1000 * statistics.median(seconds[0]), 4),
        "ms_now": round(1000 * statistics.median(seconds[1]), 4),
        "speed": round(statistics.median(a / b for a, b in zip(*seconds, strict=True)), 3),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--checkout", type=Path, required=True, help="the version that is compared with")
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--count", type=int, default=1000, help="pictures")
    parser.add_argument("--size", type=int, default=256, help="side, pixels")
    options = parser.parse_args()

    before, now = decoder_of(options.checkout.resolve()), decoder_of(ROOT)
    pictures = list(draw(options.count, options.size))
    print(
        f"{'':30} {'files':>6} {'before':>6} {'now':>6} {'refused now':>12} {'difference':>11} {'speed':>6}"
    )
    figures: dict[str, Any] = {}
    for name, encode in encoders().items():
        found = compare([encode(picture) for picture in pictures], before, now)
        figures[name] = found
        print(
            f"{name:30} {found['files']:6,} {found['read_before']:6,} {found['read_now']:6,} "
            f"{found['refused_now']:12} {found['largest_difference']:11} {found['speed']:6.2f}",
            flush=True,
        )
    rows = figures.values()
    counts = ("files", "read_before", "read_now", "refused_now")
    total = {key: sum(row[key] for row in rows) for key in counts}
    total["largest_difference"] = max(row["largest_difference"] for row in rows)
    print(
        f"{total['files']:,} files: {total['read_before']:,} read before, {total['read_now']:,} now, "
        f"{total['refused_now']} refused now; largest difference {total['largest_difference']}"
    )
    commit = machine.commit_of(options.checkout)
    settings = {"size": options.size, "compared_with": commit}
    machine.write(options.json, {**settings, "total": total, "encoders": figures})
    sys.exit(1 if total["refused_now"] or total["largest_difference"] else 0)


if __name__ == "__main__":
    main()
