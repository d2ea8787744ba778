"""The one place that turns bytes into pixels: decoding, checking, thumbnails, squares for networks.

Every image of the service passes through here once, so a file that `verify` accepts is a file that training, inference
and the page can read. Pillow is used quietly: its process-wide settings are left as they are, its warnings never show.
Holds no storage and no torch. Called by ingest, workers, learning and the thumbnail route.
(libtiff's C remarks on broken TIFF still reach stderr.)

The colours, in words: upright by EXIF; see-through parts lie on white; palettes are resolved; CMYK becomes RGB without
a colour profile; deep grey is scaled to 8 bit (see `_deep_grey`); of an animation only the first frame counts.
"""

import hashlib
import io
import math
import re
import struct
import warnings
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

from al_service.errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PIXELS_MAX = 64_000_000
"""Width times height; at 4 bytes a pixel and three copies about 0.8 GB at the worst moment."""

TINY_PX = 64
"""Up to this longest side an image is shown losslessly: compression would smear what little there is."""

SQUARE_VERSION = "square-1"
"""Names what `square_pixels` does to an image. Stored pixels carry it: change it whenever the same bytes would give
other pixels."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""What we read, by Pillow's names. Nothing here starts another program, as EPS and PDF would."""

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MAGIC_JPEG2000 = (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")
_FOREIGN = (
    (b"%PDF", "PDF"), (b"%!PS", "PostScript"), (b"8BPS", "Photoshop"), (b"PK\x03\x04", "zip archive"),
    (b"\0\0\1\0", "icon (ICO)"), (b"<svg", "SVG"), (b"<?xml", "XML or SVG"), (b"<!DOCTYPE", "web page"),
)  # fmt: skip

_JPEG_SCAN = 0xDA
_JPEG_FRAMES = (0xC0, 0xC2)  # baseline and progressive
_JPEG_PLAIN = (0xE0, 0xDB, 0xC4, 0xDD, 0xFE)  # JFIF, tables, restart interval, comment

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_ORIENTATION = 0x0112
_PILLOW_MODULES = re.compile(r"PIL\.")
# What Pillow's readers let through on hostile bytes; named one by one, not "everything".
_PILLOW_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError, EOFError,
    MemoryError, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip


class UnreadableImageError(InvalidInputError):
    """The bytes are no image that we can show and learn from.

    `reason` is one of: empty, not_an_image, unsupported_format, truncated, damaged, too_many_pixels.
    """

    code = "unreadable_image"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message, reason=reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What `verify` found: hash and length of the bytes, size of the upright image, format and mode as stored."""

    sha256: str
    width: int
    height: int
    format: str
    mode: str
    byte_count: int


def decode(data: bytes, *, pixels_max: int = PIXELS_MAX) -> Image.Image:
    """Return the image as RGB, upright, see-through parts on white, first frame of an animation.

    Raises:
        UnreadableImageError: empty, cut short, damaged, no image, a format outside FORMATS, or above pixels_max.
    """
    return _finish(_open(data, pixels_max))


def verify(data: bytes, *, pixels_max: int = PIXELS_MAX) -> ImageFacts:
    """Return hash, upright size, format, mode and byte count after one full decode; raises as `decode`.

    What passes here also passes `decode`, `thumbnail` and `square_pixels` with the same pixels_max.
    """
    return verify_and_decode(data, pixels_max=pixels_max)[0]


def verify_and_decode(data: bytes, *, pixels_max: int = PIXELS_MAX) -> tuple[ImageFacts, Image.Image]:
    """Return the facts and the RGB image from one single decode; raises as `decode`."""
    image = _open(data, pixels_max)
    stored_format, stored_mode = image.format or "", image.mode
    rgb = _finish(image)
    facts = ImageFacts(
        sha256=hashlib.sha256(data).hexdigest(),
        width=rgb.width,
        height=rgb.height,
        format="JPEG" if stored_format == "MPO" else stored_format,  # MPO: a phone's JPEG with more pictures behind it
        mode=stored_mode,
        byte_count=len(data),
    )
    return facts, rgb


def thumbnail(data: bytes, size_px: int, *, pixels_max: int = PIXELS_MAX) -> tuple[bytes, str]:
    """Return encoded bytes and their content type for the page: longest side at most size_px, never enlarged.

    WebP; a lossless PNG where the original's longest side is at most TINY_PX and needs no shrinking. Carries no EXIF.

    Raises:
        UnreadableImageError: as `decode`.
        InvalidInputError: size_px below 1.
    """
    _check_size("size_px", size_px)
    image = _open(data, pixels_max)
    longest = max(image.size)
    if longest <= min(TINY_PX, size_px):
        return _encode(_finish(image), "PNG"), "image/png"
    _draft(image, longest / size_px)
    rgb = _finish(image)
    rgb.thumbnail((size_px, size_px), Image.Resampling.LANCZOS)
    return _encode(rgb, "WEBP"), "image/webp"


def square_pixels(data: bytes, image_px: int, *, pixels_max: int = PIXELS_MAX) -> "NDArray[np.uint8]":
    """Return (image_px, image_px, 3) uint8 RGB: short side resized to image_px, then the centre.

    Bilinear with antialiasing; smaller images are enlarged. Large JPEG files are decoded at a fraction of their size,
    never below twice what is needed. The same bytes give the same pixels.

    Raises:
        UnreadableImageError: as `decode`.
        InvalidInputError: image_px below 1.

    Source: torchvision Resize + CenterCrop, in one step (no rounding of the middle size).
    """
    import numpy as np  # here alone, so that the web process can make thumbnails without loading numpy

    _check_size("image_px", image_px)
    ready = plain_jpeg_bytes(data, image_px) if image_px * image_px <= pixels_max else None
    if ready is not None:
        return np.frombuffer(ready, np.uint8).reshape(image_px, image_px, 3).copy()
    image = _open(data, pixels_max)
    _draft(image, min(image.size) / image_px)
    rgb = _finish(image)
    side = min(rgb.size)
    left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
    box = (left, top, left + side, top + side)
    square = rgb.resize((image_px, image_px), Image.Resampling.BILINEAR, box=box)
    return np.array(square, dtype=np.uint8)  # (image_px, image_px, 3)


def plain_jpeg_bytes(data: bytes, image_px: int) -> bytes | None:
    """Return the RGB bytes of a plain JPEG of exactly that square size, row by row; None for any other or damaged file.

    Plain: three components of 8 bits, and no block in the header that could hold an orientation or another colour
    space. Such files go straight to Pillow's decoder, in a third of the time that `Image.open` takes for 32 px; pixels
    are the same, since decoder and settings are.
    """
    if not _is_plain_jpeg(data, image_px):
        return None
    try:
        return Image.frombytes("RGB", (image_px, image_px), data, "jpeg", ("RGB", "")).tobytes()
    except _PILLOW_ERRORS:
        return None  # the slow way says what is wrong


def _is_plain_jpeg(data: bytes, image_px: int) -> bool:
    if data[:2] != b"\xff\xd8":
        return False
    at, frames = 2, 0
    while data[at : at + 1] == b"\xff" and at + 10 <= len(data):
        marker = data[at + 1]
        if marker == _JPEG_SCAN:
            return frames == 1
        if marker in _JPEG_FRAMES:
            frames += 1
            height, width = data[at + 5] << 8 | data[at + 6], data[at + 7] << 8 | data[at + 8]
            if (data[at + 4], height, width, data[at + 9]) != (8, image_px, image_px, 3):
                return False
        elif marker not in _JPEG_PLAIN:
            return False
        at += 2 + (data[at + 2] << 8 | data[at + 3])
    return False


def looks_like_image(head: bytes) -> bool:
    """Return True if the first 16 bytes are those of a format that we read; for files whose name does not say."""
    if head.startswith(_MAGIC + _MAGIC_JPEG2000) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return True
    is_ppm = head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace()
    return is_ppm or head[4:12] in (b"ftypavif", b"ftypavis")


def _open(data: bytes, pixels_max: int) -> Image.Image:
    """Read the header only, and refuse before any pixel is unpacked."""
    if not data:
        raise UnreadableImageError("empty", "the file is empty (0 bytes): copy or export it again")
    _silence_pillow()
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except Image.DecompressionBombError as error:
        raise _too_large(f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels", pixels_max) from error
    except _PILLOW_ERRORS as error:
        raise _damaged(error) from error
    width, height = image.size
    if width < 1 or height < 1:
        raise UnreadableImageError("damaged", f"the image is {width} x {height}: it has no pixels")
    if width * height > pixels_max:
        raise _too_large(f"{width} x {height} = {width * height:,} pixels", pixels_max)
    return image


def _finish(image: Image.Image) -> Image.Image:
    """Unpack, bring to RGB, turn upright. The result owns its pixels and holds no file."""
    try:
        image.load()
        rgb = _rgb(image)
    except _PILLOW_ERRORS as error:
        raise _damaged(error) from error
    turn = _TURNS.get(_orientation(image))
    return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except _PILLOW_ERRORS:
        return 1  # a damaged note beside good pixels: shown as stored, as browsers do
    return value if isinstance(value, int) else 1


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey(image).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    return image.convert("RGB")


def _deep_grey(image: Image.Image) -> Image.Image:
    """Scale more than 8 bit to 8, by the range that the numbers are written in.

    Whole numbers 0..65535 are taken as 16-bit (65535 is white); floats within 0..1 as shares of white, within 0..255 as
    8-bit. Anything else has no known white: its own least and greatest value become black and white.
    """
    import numpy as np  # Pillow's own conversions clip at 255 instead of scaling

    values = np.asarray(image)  # (H, W)
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise UnreadableImageError("damaged", "the image holds NaN or infinite values: export it as 8- or 16-bit PNG")
    if image.mode != "F" and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0
    elif image.mode == "F" and low >= 0 and high <= 255:
        low, high = 0.0, 1.0 if high <= 1 else 255.0
    scaled: NDArray[np.floating] = values.astype(np.float64 if image.mode == "I" else np.float32)
    np.subtract(scaled, low, out=scaled)  # in place: these arrays are the largest that one image needs
    np.multiply(scaled, 255.0 / (high - low if high > low else 1.0), out=scaled)
    grey = np.rint(scaled, out=scaled).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey[values == clear] = 255  # PNG may name one grey as see-through
    return Image.fromarray(grey)


def _draft(image: Image.Image, shrink: float) -> None:
    """Let a JPEG be unpacked at 1/2, 1/4 or 1/8 where that leaves at least twice the size wanted; others: nothing."""
    if shrink >= 4:
        width, height = (max(1, round(side * 2 / shrink)) for side in image.size)
        image.draft(None, (width, height))


def _encode(rgb: Image.Image, to_format: str) -> bytes:
    out = io.BytesIO()
    rgb.save(out, to_format, **({"quality": 82, "method": 4} if to_format == "WEBP" else {}))
    return out.getvalue()


def _check_size(name: str, size_px: int) -> None:
    if size_px < 1:
        raise InvalidInputError(f"{name} is {size_px}, expected 1 or more")


def _unidentified(data: bytes) -> UnreadableImageError:
    found = next((name for magic, name in _FOREIGN if data[:64].lstrip().startswith(magic)), None)
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"hevc", b"mif1", b"msf1"):
        found = "HEIC (a phone's format)"
    if found:
        return UnreadableImageError("unsupported_format", f"this is {found}; expected {', '.join(FORMATS)}: convert it")
    if looks_like_image(data[:16]):
        return UnreadableImageError("damaged", "the beginning of the image is damaged or cut short: copy it again")
    message = f"not an image: the file begins with {data[:24]!r}; expected {', '.join(FORMATS)}"
    return UnreadableImageError("not_an_image", message)


def _damaged(error: Exception) -> UnreadableImageError:
    text = str(error) or type(error).__name__
    if isinstance(error, EOFError) or "truncated" in text:
        return UnreadableImageError("truncated", f"the image is cut short ({text}): copy or download it again")
    return UnreadableImageError(
        "damaged", f"the image is damaged or of a rare kind ({text}): open it and save it again"
    )


def _too_large(found: str, pixels_max: int) -> UnreadableImageError:
    return UnreadableImageError("too_many_pixels", f"the image has {found}, at most {pixels_max:,} are read: shrink it")


def _silence_pillow() -> None:
    """Keep Pillow's remarks on odd files (broken EXIF, large sizes) out of logs and out of "warnings as errors".

    One filter for Pillow's modules alone, set again whenever it is not in front. `catch_warnings` would swap the whole
    list for all threads at once, and two threads that leave in the wrong order would leave it swapped.
    """
    if not warnings.filters or warnings.filters[0] != ("ignore", None, Warning, _PILLOW_MODULES, 0):
        warnings.filterwarnings("ignore", category=Warning, module=_PILLOW_MODULES.pattern)
