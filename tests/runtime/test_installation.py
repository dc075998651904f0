"""A torchvision of another torch is named before either is imported."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version

import pytest

from tris_core.runtime.errors import InputError
from tris_core.runtime.installation import _version, check_torch_pair


@pytest.mark.parametrize(
    ("torch", "vision"),
    [
        ("2.13.0", "0.28.0"),
        ("2.6.0+cpu", "0.21.0+cpu"),
        ("2.13.0+cu130", "0.28.0"),
        ("2.9.1", "0.24.1"),
        ("2.8.0+git1a2b3c", "0.23.0"),
        ("3.0.0", "1.0.0"),
    ],
)
def test_matching_pairs_pass(torch: str, vision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(
        "tris_core.runtime.installation._version",
        {"torch": torch, "torchvision": vision}.__getitem__,
    )
    check_torch_pair()


@pytest.mark.parametrize(
    ("torch", "vision", "fix"),
    [
        ("2.13.0", "0.27.0", r"pip install 'torchvision==0\.28\.\*'$"),
        (
            "2.12.1+cpu",
            "0.28.0",
            r"'torchvision==0\.27\.\*' --index-url https://download\.pytorch\.org/whl/cpu$",
        ),
        (
            "2.13.0+cpu",
            "0.28.0",
            r"'torchvision==0\.28\.\*' --index-url https://download\.pytorch\.org/whl/cpu$",
        ),
        ("2.13.0", "0.28.0+cpu", r"'torchvision==0\.28\.\*'$"),
        (
            "2.13.0+cpu",
            "0.28.0+cu130",
            r"'torchvision==0\.28\.\*' --index-url https://download\.pytorch\.org/whl/cpu$",
        ),
    ],
)
def test_other_pairs_are_named_with_a_fix(
    torch: str, vision: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr(
        "tris_core.runtime.installation._version",
        {"torch": torch, "torchvision": vision}.__getitem__,
    )
    with pytest.raises(InputError, match=fix) as error:
        check_torch_pair()
    assert f"torch {torch} and torchvision {vision} do not belong together" in str(error.value)


def test_versions_equal_those_of_importlib() -> None:
    assert [_version(name) for name in ("torch", "torchvision")] == [
        version(name) for name in ("torch", "torchvision")
    ]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("tris_core.runtime.installation._version", none)
    with pytest.raises(InputError, match="torch is not installed"):
        check_torch_pair()


def test_the_installed_pair_passes_and_neither_is_imported() -> None:
    check = "from tris_core.runtime.installation import check_torch_pair as check; check()"
    code = f"import sys; {check}; print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"
