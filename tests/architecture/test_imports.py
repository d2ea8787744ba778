"""Who may import whom, also indirectly: the table of docs/architecture.md as a test that reads every import
statement.
"""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("al_service", "workers", "annotator_ui")


def words(text: str) -> set[str]:
    """The words of a text, as a set."""
    return set(text.split())


#: room -> rooms of ours that its modules may import directly (its own room is always allowed).
ALLOWED = {
    "errors": set(),
    "settings": words("errors"),
    "images": words("errors"),
    "overlay": words("errors"),
    "domain": words("errors"),
    "ingest": words("errors images"),
    "geometry": words("errors"),
    "learning": words("domain errors geometry images"),
    "acquisition": words("domain errors geometry"),
    "insight": words("acquisition domain errors geometry learning"),
    "simulation": words("acquisition domain errors images ingest learning"),
    "loop": words("domain errors"),
    "storage": words("domain errors loop"),
    "job_queue": words("domain errors loop settings"),
    "api": words("domain errors images loop overlay settings"),
    "annotator_ui": words("api domain errors loop settings"),
    "supervisor": words("errors"),
    "rehearsal": words("errors ingest"),
    "bootstrap": words("acquisition annotator_ui api domain errors job_queue learning loop settings storage"),
    "scheduler": words("errors loop"),
    "web_server": words("bootstrap settings"),
    "workers": words(
        "acquisition bootstrap domain errors geometry images ingest insight job_queue learning loop settings "
        "simulation storage supervisor"
    ),
    "cli": words(
        "bootstrap domain errors ingest job_queue learning loop rehearsal scheduler settings simulation supervisor "
        "web_server workers"
    ),
    "__main__": words("cli"),
    "al_service": set(),
}

#: room -> libraries that it must not load, not even through something it imports at module level.
FORBIDDEN = {
    "domain": {"numpy", "torch", "flask", "redis", "rq", "sqlalchemy", "pydantic"},
    "geometry": {"flask", "redis", "rq", "sqlalchemy"},
    "learning": {"flask", "redis", "rq", "sqlalchemy"},
    "acquisition": {"flask", "redis", "rq", "sqlalchemy"},
    "insight": {"flask", "redis", "rq", "sqlalchemy"},
    "simulation": {"flask", "redis", "rq", "sqlalchemy"},
    "loop": {"flask", "redis", "rq", "sqlalchemy", "torch"},
    "storage": {"flask", "torch"},
    "job_queue": {"flask", "torch"},
    "api": {"torch", "redis", "sqlalchemy"},
    "annotator_ui": {"torch", "redis", "sqlalchemy"},
    "scheduler": {"torch"},
    "bootstrap": {"torch"},
    "rehearsal": {"torch", "redis", "sqlalchemy"},
}

NAMES_REFUSED = {"utils", "helpers", "common", "misc", "core", "base", "util", "helper"}


def _modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            if "versions" not in parts and parts[-1] != "env":
                found[name] = path
    return found


MODULES = _modules()


def _room(module: str) -> str:
    parts = module.split(".")
    if parts[0] == "al_service":
        return parts[1] if len(parts) > 1 else "al_service"
    return parts[0]


@cache
def _imports(module: str, *, module_level_only: bool) -> frozenset[str]:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    nodes = _module_level(tree.body) if module_level_only else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} uses a relative import"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(names)


def _module_level(body: list[ast.stmt]) -> list[ast.stmt]:
    nodes: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        nodes.append(node)
        if isinstance(node, ast.If | ast.Try | ast.With):
            nodes += _module_level(node.body)
    return nodes


def _ours(names: frozenset[str]) -> set[str]:
    return {name for name in names if name in MODULES}


@cache
def _closure(module: str) -> frozenset[str]:
    """Every name that importing the module imports at module level, through our own modules."""
    seen: set[str] = set()
    names: set[str] = set()
    waiting = [module]
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        imported = _imports(current, module_level_only=True)
        names |= imported
        waiting += list(_ours(imported))
    return frozenset(names)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_only_rooms_that_the_map_allows(module: str) -> None:
    room = _room(module)
    assert room in ALLOWED, (
        f"{module}: the map does not know the room {room!r}; add it here and to docs/architecture.md"
    )
    targets = {_room(name) for name in _ours(_imports(module, module_level_only=False))} - {room, "al_service"}
    refused = targets - ALLOWED[room]
    assert not refused, f"{module} imports {sorted(refused)}; {room} may import {sorted(ALLOWED[room])}"


@pytest.mark.parametrize("module", sorted(name for name in MODULES if _room(name) in FORBIDDEN))
def test_does_not_load_forbidden_libraries_even_indirectly(module: str) -> None:
    loaded = {name.split(".")[0] for name in _closure(module)}
    assert not loaded & FORBIDDEN[_room(module)]


def test_nobody_imports_the_processes() -> None:
    """workers, cli and scheduler are tops; only cli starts the others, and only bootstrap builds the web app."""
    for module in MODULES:
        targets = {_room(name) for name in _ours(_imports(module, module_level_only=False))} - {_room(module)}
        if _room(module) not in ("cli", "__main__"):
            assert not targets & {"workers", "cli", "scheduler"}, module
        if _room(module) != "bootstrap":
            assert "annotator_ui" not in targets, module


def test_no_import_cycle_between_rooms() -> None:
    edges = {
        room: {
            _room(name)
            for module in MODULES
            if _room(module) == room
            for name in _ours(_imports(module, module_level_only=True))
        }
        - {room}
        for room in {_room(module) for module in MODULES}
    }
    done: set[str] = set()

    def visit(room: str, path: tuple[str, ...]) -> None:
        assert room not in path, f"cycle: {' -> '.join((*path, room))}"
        if room not in done:
            for target in sorted(edges.get(room, ())):
                visit(target, (*path, room))
            done.add(room)

    for room in sorted(edges):
        visit(room, ())


@pytest.mark.parametrize("module", sorted(MODULES))
def test_file_names_say_a_concern(module: str) -> None:
    assert module.split(".")[-1] not in NAMES_REFUSED


@pytest.mark.parametrize(
    "path", sorted(str(p.relative_to(ROOT)) for package in PACKAGES for p in (ROOT / package).rglob("__init__.py"))
)
def test_package_inits_are_empty(path: str) -> None:
    if path not in ("al_service/__init__.py", "annotator_ui/__init__.py"):
        assert (ROOT / path).read_text(encoding="utf-8").strip() == ""


def test_importing_the_web_app_loads_no_torch() -> None:
    """The real thing, in a fresh interpreter."""
    code = "import sys, al_service.bootstrap, annotator_ui, al_service.api.install; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
