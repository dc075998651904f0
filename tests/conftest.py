"""Settings shared by all tests."""

import os
from pathlib import Path

import pytest
import torch

# Tests that take seconds each: the pipeline, killed runs, several processes, browsers, packages,
# documents that are run, networks of the released size. `pytest -m "not slow"` leaves them out.
SLOW = (
    "attack", "cli/test_verify.py", "demo", "fuzz", "pipeline", "reports/test_browser.py",
    "reports/test_page.py", "reports/test_provenance.py", "runtime/test_device.py", "security",
    "step1/test_network.py", "step2/test_network.py", "test_contributing.py", "test_packaging.py",
    "weights/test_model_folder.py", "weights/test_released.py",
)  # fmt: skip
FAST = ("pipeline/test_contract.py",)
TESTS = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests; with `-n 2`, keep a file's tests, and those of one pipeline, together."""
    for item in items:
        path = str(item.path.relative_to(TESTS))
        if path.startswith(SLOW) and path not in FAST:
            item.add_marker(pytest.mark.slow)
        shared = "project" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("project" if shared else path))


if "PYTEST_XDIST_WORKER" in os.environ:  # each of the workers has one core
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests out of the user's scratch folder."""
    monkeypatch.setenv("TRIS_SCRATCH", str(tmp_path_factory.mktemp("scratch")))
