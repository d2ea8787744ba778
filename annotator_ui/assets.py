"""Files for the browser: our own static files under a path that carries their version, and plotly from its package.

`/static/v-<hash>/label.js` imports `./api.js` from the same versioned folder, so everything may be cached for good and
a new release never mixes with old files. The same files without version (`/static/label.js`) are revalidated each time.
"""

import gzip
import hashlib
import importlib.util
import mimetypes
import re
from functools import lru_cache
from pathlib import Path

from flask import Blueprint, Response, abort, request, url_for
from werkzeug.security import safe_join

from al_service.api.access import open_to

STATIC_DIR = Path(__file__).parent / "static"
PLOTLY_NAME = "vendor/plotly.min.js"
IMPORT_PATTERN = re.compile(r"""^import .* from "\./([\w.]+)";$""", re.MULTILINE)
VERSION_PATTERN = re.compile(r"v-[0-9a-f]{12}/")
INNER_TYPE = re.compile(r"/\*\* [^*]*\*/ ?")
FOR_GOOD = "public, max-age=31536000, immutable"
COMPRESSIBLE = ("text/", "application/json", "image/svg")
COMPRESS_MIN_BYTES = 1024


def make_assets() -> Blueprint:
    """The blueprint with `/static/…` and the template function `asset(name)`."""
    assets = Blueprint("assets", __name__)
    version = static_version()

    @assets.get("/static/<path:name>")
    @open_to(None)
    def static_file(name: str) -> Response:
        return _serve(VERSION_PATTERN.sub("", name, count=1), is_versioned=name.startswith(f"v-{version}/"))

    @assets.app_template_global("asset")
    def asset(name: str) -> str:
        if name == PLOTLY_NAME:
            return url_for("assets.static_file", name=name, v=_plotly_version())
        return url_for("assets.static_file", name=f"v-{version}/{name}")

    @assets.app_template_global("modules_of")
    def modules_of(name: str) -> list[str]:
        return sorted(imported_modules(name) - {name})

    return assets


def imported_modules(name: str, known: frozenset[str] = frozenset()) -> frozenset[str]:
    """That module and all that it imports, directly or not: what a page preloads so that they do not wait in turn."""
    known |= {name}
    for imported in IMPORT_PATTERN.findall((STATIC_DIR / name).read_text(encoding="utf-8")):
        if imported not in known:
            known = imported_modules(imported, known)
    return known


def static_version() -> str:
    """Twelve hex digits that change when any of our static files changes."""
    digest = hashlib.sha256()
    for path in sorted(STATIC_DIR.rglob("*")):
        if path.is_file():
            digest.update(path.relative_to(STATIC_DIR).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def plotly_path() -> Path:
    """Where the installed plotly package keeps its JavaScript (found without importing plotly, which is slow)."""
    spec = importlib.util.find_spec("plotly")
    if spec is None or spec.origin is None:
        abort(404)
    return Path(spec.origin).parent / "package_data" / "plotly.min.js"


def _plotly_version() -> str:
    stat = plotly_path().stat()
    return f"{stat.st_size:x}{int(stat.st_mtime):x}"


def _serve(name: str, *, is_versioned: bool) -> Response:
    found = str(plotly_path()) if name == PLOTLY_NAME else safe_join(str(STATIC_DIR), name)
    try:
        is_there = found is not None and Path(found).is_file()
    except OSError:
        # A name too long for the file system is a name we do not have.
        is_there = False
    if found is None or not is_there:
        abort(404)
    path = Path(found)
    stat = path.stat()
    mime = _mime(path)
    can_compress = mime.startswith(COMPRESSIBLE) and stat.st_size >= COMPRESS_MIN_BYTES
    use_gzip = can_compress and "gzip" in request.headers.get("Accept-Encoding", "")
    response = Response(_body(path, stat.st_mtime_ns, use_gzip), mimetype=mime)
    if use_gzip:
        response.headers["Content-Encoding"] = "gzip"
    if can_compress:
        response.headers["Vary"] = "Accept-Encoding"
    is_for_good = is_versioned or (name == PLOTLY_NAME and request.args.get("v") == _plotly_version())
    response.headers["Cache-Control"] = FOR_GOOD if is_for_good else "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.set_etag(f"{stat.st_mtime_ns:x}-{stat.st_size:x}-{'z' if use_gzip else 'p'}")
    response.make_conditional(request)
    return response


def _mime(path: Path) -> str:
    # Some systems register .js as text/plain, which browsers refuse for modules.
    if path.suffix == ".js":
        return "text/javascript"
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


@lru_cache(maxsize=128)
def _body(path: Path, changed_ns: int, use_gzip: bool) -> bytes:
    data = path.read_bytes()
    if path.suffix in (".js", ".css") and path.is_relative_to(STATIC_DIR):
        data = without_comments(data.decode()).encode()
    return gzip.compress(data, 6, mtime=0) if use_gzip else data


def without_comments(source: str) -> str:
    """Our JavaScript or CSS without indentation, lines that are only a comment, and `/** … */` in front of something;
    line numbers stay the same.

    Knows just the forms that our files use: `// …` and `/* … */` that begin a line, and types before a name.

    >>> without_comments("/** Two. */\\n  /** @type {number} */ let two = 2; // stays\\n  // gone\\n")
    '\\nlet two = 2; // stays\\n\\n'
    """
    lines = []
    is_inside = False
    for line in source.split("\n"):
        text = line.strip()
        starts = not is_inside and text.startswith("/*")
        is_comment = is_inside or text.startswith("//") or (starts and ("*/" not in text or text.endswith("*/")))
        is_inside = (is_inside or starts) and "*/" not in text
        lines.append("" if is_comment else INNER_TYPE.sub("", text))
    return "\n".join(lines)
