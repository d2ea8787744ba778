"""The migration scripts can be imported by anybody (a test collector, a packager) without running."""

import importlib
import pkgutil

from al_service.storage import migrations


def test_importing_runs_nothing() -> None:
    names = [module.name for module in pkgutil.walk_packages(migrations.__path__, f"{migrations.__name__}.")]
    assert f"{migrations.__name__}.versions.v0001_initial" in names
    for name in names:
        importlib.import_module(name)
