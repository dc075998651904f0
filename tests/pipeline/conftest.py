"""The tiny pipeline, run once by DVC for all tests that look at it or disturb it."""

from collections.abc import Iterator

import pytest

from tests.support.project import Project
from tests.support.stages import STAGES


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("pipeline") / "project")
    assert project.repro() == set(STAGES)
    project.commit("first run")
    return project


@pytest.fixture
def clean(project: Project) -> Iterator[None]:
    """A test finds and leaves the first run, as committed."""
    yield
    project.run("git", "checkout", "-qf", "main")
    project.run("git", "clean", "-qfd")
    project.run("dvc", "checkout", "-q", "-f")
