"""What names say: ids that can be printed, paths that are safe, splits, images, tables. Text in, text out, no files."""

import hashlib
import posixpath
import re
import unicodedata

IMAGE_ENDINGS = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif",
))  # fmt: skip
FOREIGN_ENDINGS = frozenset((
    ".heic", ".heif", ".svg", ".psd", ".pdf", ".eps", ".ps", ".ico", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".dng",
    ".dcm", ".exr", ".hdr", ".jxl", ".tga", ".mp4", ".mov", ".avi",
))  # fmt: skip
"""Pictures and films that people will miss if they are silently left out, so they are refused with a reason."""

TABLE_ENDINGS = frozenset((".csv", ".tsv", ".jsonl", ".ndjson"))

#: Names stand in indexes, which take no more than twice that.
NAME_BYTES_MAX = 1000

_SPLITS = {
    **dict.fromkeys(("train", "training", "trainval"), "train"),
    **dict.fromkeys(("test", "testing", "val", "valid", "validation", "eval", "evaluation", "dev"), "test"),
}
_BIDI = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_DRIVE = re.compile(r"^[A-Za-z]:")


def printable_name(name: str) -> str:
    """Return the name itself if it is clean text, else one that is: odd characters as \\xNN and a hash to stay unique.

    So is one above NAME_BYTES_MAX, which no file system gives but a forged archive can: its beginning and a hash.

    Odd are bytes that are not UTF-8 (they arrive as lone surrogates), control characters, line breaks and the marks
    that turn the direction of writing (with them a name can pose as another).

    >>> printable_name("cat/é 1.jpg")
    'cat/é 1.jpg'
    >>> printable_name("a\\udcff.jpg")
    'a\\\\xff.jpg~4714c1ab'
    """
    if name.isascii() and name.isprintable() and len(name) <= NAME_BYTES_MAX:
        return name
    shown = "".join(_escape(character) if _is_odd(character) else character for character in name)
    if shown == name and len(name.encode()) <= NAME_BYTES_MAX:
        return name
    shown = shown.encode()[:NAME_BYTES_MAX].decode(errors="ignore")
    return f"{shown}~{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def storable_text(text: str) -> str:
    """Return the text so that any database takes it: lone surrogates escaped, NUL gone; line breaks stay."""
    return text.replace("\0", "").encode("utf-8", "backslashreplace").decode("utf-8")


def split_name(word: str) -> str | None:
    """Return "train" or "test" for the many words people use for them, in any case; None for other words."""
    return _SPLITS.get(word.strip().lower())


def ending(path: str) -> str:
    """Return the last dot and what follows, lower case; "" without one."""
    return posixpath.splitext(path)[1].lower()


def is_hidden(path: str) -> bool:
    """Return True if any part begins with a dot or is what macOS and Windows leave behind."""
    return any(part.startswith(".") or part in ("__MACOSX", "Thumbs.db", "desktop.ini") for part in path.split("/"))


def unsafe_reason(name: str) -> str | None:
    """Return why an archive member's name may not be used, or None: absolute, climbing out with "..", or empty."""
    if name.startswith(("/", "\\")) or _DRIVE.match(name):
        return "its path is absolute: only paths inside the archive are taken"
    if ".." in re.split(r"[\\/]", name):
        return 'its path contains "..": only paths inside the archive are taken'
    if not relative_path(name):
        return "it has no name"
    return None


def relative_path(name: str) -> str:
    """Return the path without empty and "." parts.

    >>> relative_path("./train//cat/1.jpg")
    'train/cat/1.jpg'
    """
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _is_odd(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in _BIDI


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # the raw byte behind surrogateescape
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
