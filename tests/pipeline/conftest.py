"""The tiny pipeline, run once by DVC for all tests that inspect or disturb it."""

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
    """Restore the committed first run after a test."""
    yield
    project.run("git", "checkout", "-qf", "main")
    project.run("git", "clean", "-qfd")
    project.run("dvc", "checkout", "-q", "-f")
