"""One real service for each module, and projects on it that live on from test to test while they prove in order."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from al_service.ingest.digits import write_digits
from al_service.rehearsal.labelers import Truth, read_truth
from tests.survival.rehearsed_project import RehearsedProject
from tests.survival.running_service import RunningService

PER_CLASS = 100
#: Below so many a project might run out of images within a test.
UNLABELLED_MIN = 300

NewProject = Callable[..., RehearsedProject]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of the handwritten digits in class folders: 1,000 images, three chunks and a bit for an import."""
    if sys.platform != "linux":
        pytest.skip("these tests read /proc")
    folder = tmp_path_factory.mktemp("digits")
    write_digits(folder)
    for path in folder.glob("*/*.png"):
        if int(path.stem) >= PER_CLASS:
            path.unlink()
    return folder


@pytest.fixture(scope="session")
def truth(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return read_truth(str(images), tmp_path_factory.mktemp("truth"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """`al up`, started and ended as an operator would; nothing that it started may outlive it."""
    folder = tmp_path_factory.mktemp("survival") / "data"
    folder.mkdir()
    running = RunningService(folder)
    try:
        running.start()
        yield running
        running.stop()
        assert running.pids() == []
    finally:
        running.end()


@pytest.fixture(scope="module")
def projects(service: RunningService) -> list[RehearsedProject]:
    """Projects of this module, the newest last."""
    return []


@pytest.fixture
def new_project(service: RunningService, projects: list[RehearsedProject], images: Path, truth: Truth) -> NewProject:
    """Make a project without images; the one before is put away."""

    def make(**more: Any) -> RehearsedProject:
        if projects:
            projects[-1].put_away()
        projects.append(RehearsedProject(service, f"digits-{len(projects) + 1}", images, truth, **more))
        return projects[-1]

    return make


@pytest.fixture
def project(projects: list[RehearsedProject], new_project: NewProject) -> RehearsedProject:
    """A project whose images are in: the one of the test before if that was proven to be in order, else a new one."""
    if not projects or not projects[-1].is_proven or projects[-1].unlabelled() < UNLABELLED_MIN:
        new_project().import_images()
    projects[-1].is_proven = False
    return projects[-1]
