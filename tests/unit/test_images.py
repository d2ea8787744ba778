"""Decoding: every awkward image a user may have, with the pixels it must give or the reason it must be refused with."""

import hashlib
import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from al_service import images
from al_service.errors import InvalidInputError
from al_service.images import ImageFacts, UnreadableImageError

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def encode(image: Image.Image, to_format: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, to_format, **options)
    return out.getvalue()


def photo(width: int = 48, height: int = 32) -> Image.Image:
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], axis=2).astype(np.uint8))


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(10_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def pixel(data: bytes, x: int = 0, y: int = 0) -> tuple[int, ...]:
    image = images.decode(data)
    assert image.mode == "RGB"
    return image.getpixel((x, y))


def reason(data: bytes, **options: int) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        images.verify(data, **options)
    with pytest.raises(UnreadableImageError):
        images.decode(data, **options)
    assert caught.value.reason == caught.value.details["reason"]
    return caught.value.reason


class TestColours:
    @pytest.mark.parametrize("to_format", ["PNG", "BMP", "TIFF", "PPM", "GIF"])
    def test_lossless_formats_give_back_the_very_colours(self, to_format):
        data = encode(Image.new("RGB", (3, 2), (200, 100, 50)), to_format)
        assert pixel(data, 2, 1) == (200, 100, 50)
        assert images.verify(data).format == to_format

    @pytest.mark.parametrize("to_format", ["JPEG", "WEBP", "AVIF", "JPEG2000"])
    def test_lossy_formats_give_back_nearly_the_colours(self, to_format):
        data = encode(Image.new("RGB", (32, 32), (200, 100, 50)), to_format)
        assert np.abs(np.subtract(pixel(data, 16, 16), (200, 100, 50))).max() <= 4

    def test_cmyk_jpeg(self):
        data = encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100)
        assert np.abs(np.subtract(pixel(data, 8, 8), RED)).max() <= 6
        assert images.verify(data).mode == "CMYK"

    def test_grey_and_one_bit(self):
        assert pixel(encode(Image.new("L", (2, 2), 77))) == (77, 77, 77)
        assert pixel(encode(Image.new("1", (2, 2), 1))) == WHITE
        assert pixel(encode(Image.new("1", (2, 2), 0))) == BLACK

    @pytest.mark.parametrize(("deep", "expected"), [(0, 0), (257, 1), (25_700, 100), (32_896, 128), (65_535, 255)])
    def test_16_bit_grey_is_scaled_and_not_clipped(self, deep, expected):
        image = Image.fromarray(np.full((4, 4), deep, dtype=np.uint16))
        for to_format in ("PNG", "TIFF"):
            data = encode(image, to_format)
            assert images.verify(data).mode == "I;16"
            assert pixel(data) == (expected,) * 3

    def test_16_bit_big_endian_tiff_and_pgm(self):
        raster = np.full((2, 2), 25_700, dtype=">u2")
        assert pixel(b"P5 2 2 65535\n" + raster.tobytes()) == (100, 100, 100)
        assert pixel(encode(Image.frombytes("I;16B", (2, 2), raster.tobytes()), "TIFF")) == (100, 100, 100)

    def test_16_bit_png_may_name_one_grey_as_see_through(self):
        image = Image.fromarray(np.array([[0, 65_535 // 3]], dtype=np.uint16))
        data = encode(image, transparency=0)
        assert (pixel(data, 0, 0), pixel(data, 1, 0)) == (WHITE, (85, 85, 85))

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([0.0, 0.5, 1.0], [0, 128, 255]),
            ([0.0, 100.0, 255.0], [0, 100, 255]),
            ([-1.0, 0.0, 1.0], [0, 128, 255]),
            ([0.0, 1000.0, 2000.0], [0, 128, 255]),
            ([7000.0, 7000.0, 7000.0], [0, 0, 0]),
        ],
    )
    def test_float_grey_by_its_range(self, values, expected):
        data = encode(Image.fromarray(np.array([values], dtype=np.float32)), "TIFF")
        assert [pixel(data, x)[0] for x in range(3)] == expected

    @pytest.mark.parametrize(
        ("values", "expected"), [([0, 25_700, 65_535], [0, 100, 255]), ([-100_000, 0, 100_000], [0, 128, 255])]
    )
    def test_32_bit_grey_by_its_range(self, values, expected):
        data = encode(Image.fromarray(np.array([values], dtype=np.int32)), "TIFF")
        assert [pixel(data, x)[0] for x in range(3)] == expected

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_a_float_image_with_nan_is_refused(self, bad):
        data = encode(Image.fromarray(np.array([[0.0, bad, 1.0]], dtype=np.float32)), "TIFF")
        assert reason(data) == "damaged"

    def test_lab_tiff(self):
        data = encode(Image.new("RGB", (4, 4), RED).convert("LAB"), "TIFF")
        assert images.verify(data).mode == "LAB"
        assert np.abs(np.subtract(pixel(data), RED)).max() <= 8

    def test_ycbcr_tiff(self):
        assert np.abs(np.subtract(pixel(encode(Image.new("YCbCr", (4, 4), (76, 85, 255)), "TIFF")), RED)).max() <= 3


class TestSeeThrough:
    def test_rgba_lies_on_white(self):
        image = Image.new("RGBA", (3, 1))
        image.putdata([(255, 0, 0, 255), (0, 0, 0, 0), (255, 0, 0, 128)])
        data = encode(image)
        assert [pixel(data, x) for x in range(3)] == [RED, WHITE, (255, 127, 127)]

    def test_grey_with_alpha_lies_on_white(self):
        image = Image.new("LA", (3, 1))
        image.putdata([(10, 255), (10, 0), (0, 128)])
        data = encode(image)
        assert [pixel(data, x) for x in range(3)] == [(10,) * 3, WHITE, (127,) * 3]

    def test_palette_with_one_clear_colour(self):
        image = Image.new("P", (2, 1))
        image.putpalette([*RED, *BLUE])
        image.putdata([0, 1])
        data = encode(image, transparency=1)
        assert images.verify(data).mode == "P"
        assert [pixel(data, x) for x in range(2)] == [RED, WHITE]

    def test_palette_with_alpha_per_colour(self):
        image = Image.new("P", (3, 1))
        image.putpalette([*RED, *BLUE, *GREEN])
        image.putdata([0, 1, 2])
        data = encode(image, transparency=bytes([255, 0, 128]))
        assert [pixel(data, x) for x in range(3)] == [RED, WHITE, (127, 255, 127)]

    @pytest.mark.parametrize(("mode", "clear", "other"), [("RGB", RED, BLUE), ("L", 9, 8)])
    def test_one_clear_colour_without_palette(self, mode, clear, other):
        image = Image.new(mode, (2, 1))
        image.putdata([clear, other])
        data = encode(image, transparency=clear)
        assert pixel(data, 0) == WHITE
        assert pixel(data, 1) == (other if mode == "RGB" else (other,) * 3)

    def test_gif_with_clear_colour(self):
        image = Image.new("P", (2, 1))
        image.putpalette([*RED, *BLUE])
        image.putdata([0, 1])
        assert [pixel(encode(image, "GIF", transparency=0), x) for x in range(2)] == [WHITE, BLUE]


class TestUpright:
    @staticmethod
    def stored(upright: Image.Image, orientation: int) -> Image.Image:
        turn = {
            2: Image.Transpose.FLIP_LEFT_RIGHT,
            3: Image.Transpose.ROTATE_180,
            4: Image.Transpose.FLIP_TOP_BOTTOM,
            5: Image.Transpose.TRANSPOSE,
            6: Image.Transpose.ROTATE_90,
            7: Image.Transpose.TRANSVERSE,
            8: Image.Transpose.ROTATE_270,
        }.get(orientation)
        return upright if turn is None else upright.transpose(turn)

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("to_format", ["PNG", "JPEG", "WEBP", "TIFF"])
    def test_all_eight_orientations(self, orientation, to_format):
        upright = Image.new("RGB", (64, 32), WHITE)
        upright.paste(RED, (0, 0, 32, 16))  # red in the upper left, blue in the lower right
        upright.paste(BLUE, (32, 16, 64, 32))
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encode(self.stored(upright, orientation), to_format, exif=exif)
        facts = images.verify(data)
        assert (facts.width, facts.height) == (64, 32)
        for x, y, colour in [(8, 4, RED), (56, 28, BLUE), (56, 4, WHITE), (8, 28, WHITE)]:
            assert np.abs(np.subtract(pixel(data, x, y), colour)).max() <= 12

    def test_thumbnail_and_square_are_upright_too(self):
        exif = Image.Exif()
        exif[0x0112] = 6  # stored lying on its left side
        stored = Image.new("RGB", (800, 400), RED)
        stored.paste(BLUE, (400, 0, 800, 400))
        data = encode(stored, "JPEG", exif=exif)
        shown = Image.open(io.BytesIO(images.thumbnail(data, 100)[0]))
        assert shown.size == (50, 100)
        assert not shown.getexif()
        square = images.square_pixels(data, 16)
        assert square[1, 8].argmax() == 0
        assert square[14, 8].argmax() == 2

    def test_a_damaged_note_does_not_spoil_good_pixels(self):
        good = encode(photo(), "JPEG", exif=b"Exif\0\0" + b"MM\0*\0\0\0\x08\xff\xff" + b"\xee" * 40)
        assert images.verify(good).width == 48


class TestAnimations:
    @pytest.mark.parametrize("to_format", ["GIF", "WEBP", "PNG", "TIFF"])
    def test_first_frame(self, to_format):
        frames = [Image.new("RGB", (20, 10), colour) for colour in (RED, GREEN, BLUE)]
        options = {"lossless": True} if to_format == "WEBP" else {}
        data = encode(frames[0], to_format, save_all=True, append_images=frames[1:], **options)
        assert Image.open(io.BytesIO(data)).n_frames == 3
        assert pixel(data, 5, 5) == RED

    def test_a_phones_jpeg_with_a_second_picture_is_a_jpeg(self):
        data = encode(Image.new("RGB", (20, 10), RED), "MPO", save_all=True, append_images=[Image.new("RGB", (20, 10))])
        assert images.verify(data).format == "JPEG"
        assert pixel(data)[0] > 240


class TestRefused:
    def test_empty(self):
        assert reason(b"") == "empty"

    @pytest.mark.parametrize("text", [b"this is a text file called cat.jpg", b"\0" * 500, b"x"])
    def test_no_image(self, text):
        assert reason(text) == "not_an_image"

    @pytest.mark.parametrize(
        "data",
        [
            b"%PDF-1.7\n",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
            b'<svg xmlns="http://www.w3.org/2000/svg"/>',
            b"\0\0\0\x18ftypheic\0\0\0\0",
            b"PK\x03\x04" + bytes(40),
            b"\n <!DOCTYPE html><title>404</title>",
        ],
    )
    def test_what_it_is_instead_is_named(self, data):
        assert reason(data) == "unsupported_format"

    @pytest.mark.parametrize("to_format", ["TGA", "PCX", "ICO", "EPS", "PDF", "SGI", "ICNS"])
    def test_formats_outside_the_list_are_not_even_tried(self, to_format):
        assert reason(encode(photo(64, 64), to_format)) in ("unsupported_format", "not_an_image")

    @pytest.mark.parametrize("to_format", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "PPM"])
    def test_cut_short(self, to_format):
        data = encode(photo(300, 200), to_format)
        assert reason(data[: len(data) // 2]) in ("truncated", "damaged")

    def test_cut_short_is_said_for_the_usual_formats(self):
        for to_format, options in (("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {})):
            data = encode(photo(300, 200), to_format, **options)
            assert reason(data[: len(data) // 2]) == "truncated"

    def test_a_header_alone_is_damaged(self):
        assert reason(encode(photo(), "PNG")[:20]) == "damaged"
        assert reason(b"\xff\xd8\xff\xe0") == "damaged"

    def test_wrong_checksum_is_damaged(self):
        data = bytearray(encode(photo()))
        data[data.index(b"IDAT") + 10] ^= 0xFF
        assert reason(bytes(data)) in ("damaged", "truncated")

    @pytest.mark.parametrize("side", [10_000, 30_000, 2**31 - 1])
    def test_a_small_file_that_unpacks_to_more_than_the_limit(self, side):
        data = png_header(side, side)
        assert len(data) < 200
        assert reason(data) == "too_many_pixels"

    def test_the_limit_is_inclusive_and_can_be_chosen(self):
        data = encode(Image.new("L", (10, 10)))
        assert images.verify(data, pixels_max=100).width == 10
        assert reason(data, pixels_max=99) == "too_many_pixels"
        for refused in (images.thumbnail, images.square_pixels):
            with pytest.raises(UnreadableImageError):
                refused(data, 8, pixels_max=99)

    def test_messages_say_what_to_do(self):
        with pytest.raises(
            UnreadableImageError, match=r"10000 x 10000 = 100,000,000 pixels, at most 64,000,000 .*shrink"
        ):
            images.verify(png_header(10_000, 10_000))
        with pytest.raises(UnreadableImageError, match=r"HEIC .*convert"):
            images.verify(b"\0\0\0\x18ftypheic\0\0\0\0")


class TestFacts:
    def test_facts_describe_the_bytes(self):
        data = encode(photo(48, 32))
        assert images.verify(data) == ImageFacts(hashlib.sha256(data).hexdigest(), 48, 32, "PNG", "RGB", len(data))

    @pytest.mark.parametrize("size", [(1, 1), (20_000, 2), (2, 20_000)])
    def test_extreme_shapes(self, size):
        data = encode(Image.new("RGB", size, (9, 8, 7)))
        facts, image = images.verify_and_decode(data)
        assert (facts.width, facts.height) == size == image.size
        assert images.square_pixels(data, 8).tolist() == [[[9, 8, 7]] * 8] * 8
        shown, _ = images.thumbnail(data, 100)
        assert max(Image.open(io.BytesIO(shown)).size) == min(100, max(size))

    def test_the_result_is_free_of_its_file(self):
        _, image = images.verify_and_decode(encode(photo(), "JPEG"))
        assert type(image) is Image.Image


class TestThumbnail:
    def test_large_is_shrunk_to_the_longest_side(self):
        shown, content_type = images.thumbnail(encode(photo(1200, 800), "JPEG"), 300)
        image = Image.open(io.BytesIO(shown))
        assert (content_type, image.format, image.size) == ("image/webp", "WEBP", (300, 200))
        assert (
            np.abs(
                np.asarray(image.convert("RGB")).mean(axis=(0, 1)) - np.asarray(photo(1200, 800)).mean(axis=(0, 1))
            ).max()
            < 3
        )

    def test_never_enlarged(self):
        shown, content_type = images.thumbnail(encode(photo(200, 100)), 1000)
        assert (Image.open(io.BytesIO(shown)).size, content_type) == ((200, 100), "image/webp")

    def test_tiny_stays_as_it_is_without_loss(self):
        original = photo(8, 8)
        shown, content_type = images.thumbnail(encode(original), 320)
        assert content_type == "image/png"
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(shown))), np.asarray(original))

    def test_tiny_but_larger_than_asked_is_shrunk(self):
        assert Image.open(io.BytesIO(images.thumbnail(encode(photo(40, 20)), 10)[0])).size == (10, 5)

    def test_the_same_bytes_each_time(self):
        data = encode(photo(500, 300), "JPEG")
        assert images.thumbnail(data, 128) == images.thumbnail(data, 128)

    @pytest.mark.parametrize("size_px", [0, -1])
    def test_size_below_one_is_refused(self, size_px):
        for refused in (images.thumbnail, images.square_pixels):
            with pytest.raises(InvalidInputError, match="expected 1 or more"):
                refused(encode(photo()), size_px)


class TestSquarePixels:
    def test_shape_type_and_centre(self):
        image = Image.new("RGB", (90, 30), RED)
        image.paste(BLUE, (30, 0, 60, 30))
        square = images.square_pixels(encode(image), 10)
        assert (square.shape, square.dtype, square.flags.writeable) == ((10, 10, 3), np.uint8, True)
        assert (square[:, 1:-1] == BLUE).all()

    def test_a_square_of_the_right_size_is_not_touched(self):
        assert np.array_equal(images.square_pixels(encode(photo(32, 32)), 32), np.asarray(photo(32, 32)))

    @pytest.mark.parametrize("size", [(400, 300), (300, 400), (37, 91), (64, 64), (9, 9)])
    def test_close_to_torchvision(self, size):
        from torchvision.transforms import v2

        peer = v2.Compose([v2.Resize(32, interpolation=v2.InterpolationMode.BILINEAR), v2.CenterCrop(32)])
        ours = images.square_pixels(encode(photo(*size)), 32).astype(int)
        assert np.abs(ours - np.asarray(peer(photo(*size))).astype(int)).mean() < 3

    def test_the_fast_way_for_large_jpeg_is_close_to_the_exact_way(self):
        smooth = photo(1600, 1200)
        quick = images.square_pixels(encode(smooth, "JPEG", quality=95), 64).astype(int)
        exact = images.square_pixels(encode(smooth), 64).astype(int)
        assert np.abs(quick - exact).mean() < 2.5

    def test_palette_is_resolved_before_mixing(self):
        image = Image.new("P", (64, 64))
        image.putpalette([*RED, *GREEN, *RED])
        image.paste(2, (0, 0, 32, 64))
        assert (images.square_pixels(encode(image), 8) == RED).all()  # indices 0 and 2 mixed would be green


class TestQuiet:
    def test_pillows_settings_and_the_filters_of_others_stay(self):
        assert Image.MAX_IMAGE_PIXELS == 89_478_485
        assert ImageFile.LOAD_TRUNCATED_IMAGES is False

    def test_no_warning_of_pillow_comes_through(self):
        image = Image.new("P", (2, 2))
        image.putpalette([*RED, *BLUE])
        loud = [encode(image, transparency=bytes([255, 0])), encode(Image.new("1", (10_000, 9_500)))]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for data in loud:
                images.decode(data, pixels_max=100_000_000)
            warnings.warn("ours", UserWarning, stacklevel=1)
        assert [str(one.message) for one in caught] == ["ours"]

    def test_one_filter_however_often(self):
        data = encode(photo())
        images.decode(data)
        before = list(warnings.filters)
        images.decode(data)
        assert list(warnings.filters) == before


def seeds() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    small = photo(12, 9)
    return [
        encode(small, "JPEG", exif=exif),
        encode(small, "JPEG", progressive=True),
        encode(small, "PNG", exif=exif),
        encode(small.convert("P"), "PNG", transparency=3),
        encode(Image.new("I;16", (9, 9), 999), "PNG"),
        encode(small, "GIF", save_all=True, append_images=[small]),
        encode(small, "WEBP"),
        encode(small, "BMP"),
        encode(small, "TIFF"),
        encode(small, "PPM"),
    ]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(seeds())))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["set", "cut", "drop", "put"])):
            case "set" if data:
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at:]
            case "drop":
                del data[at : at + draw(st.integers(1, 8))]
            case _:
                data[at:at] = draw(st.binary(max_size=8))
    return bytes(data)


@settings(max_examples=400, deadline=None)
@given(st.one_of(mutated(), st.binary(max_size=200)))
def test_any_bytes_give_facts_or_a_reason_and_nothing_else(data):
    try:
        facts = images.verify(data, pixels_max=1_000_000)
    except UnreadableImageError as error:
        assert error.reason in {
            "empty",
            "not_an_image",
            "unsupported_format",
            "truncated",
            "damaged",
            "too_many_pixels",
        }
        return
    assert facts.byte_count == len(data)
    assert images.decode(data, pixels_max=1_000_000).size == (facts.width, facts.height)
    assert images.square_pixels(data, 4, pixels_max=1_000_000).shape == (4, 4, 3)
    assert images.thumbnail(data, 16, pixels_max=1_000_000)[1] in ("image/png", "image/webp")
