"""Attacks on the pickle readers: no code runs, memory stays bounded, errors name the file."""

import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from tests.security.attacks import BOMBS, REFUSED, doubled, running, text
from tris_core.annotations.refer import read_refer
from tris_core.runtime.errors import InputError
from tris_core.runtime.pickles import load_plain_pickle
from tris_core.weights.archives import read_checkpoint

NAMES = sorted(running(Path("marker")))


def in_archive(path: Path, pickled: bytes, *, script: bool) -> Path:
    """Write a PyTorch archive with this pickle, of TorchScript if `script`."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
        if script:
            archive.writestr("archive/constants.pkl", b"\x80\x02).")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_no_attack_runs_code_in_any_pickle_reader(name: str, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    attack = running(marker)[name]
    plain = tmp_path / "refs.p"
    plain.write_bytes(attack)
    with pytest.raises(InputError, match=r"refs\.p"):
        load_plain_pickle(plain)
    for path in (
        in_archive(tmp_path / "saved.pt", attack, script=False),
        in_archive(tmp_path / "script.pt", attack, script=True),
        plain.rename(tmp_path / "legacy.pth"),
    ):
        with pytest.raises(InputError, match=path.name):
            read_checkpoint(path)
    assert not marker.exists()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("runpy", "NEWOBJ")])
def test_the_attacks_are_real(name: str, tmp_path: Path) -> None:
    """Control: Python's own reader does run them. Attacks that never work would prove nothing."""
    marker = tmp_path / "executed"
    pickle.loads(running(marker)[name])
    assert marker.exists()


@pytest.mark.parametrize("name", REFUSED)
def test_opcodes_and_globals_of_other_than_plain_data_are_refused(
    name: str, tmp_path: Path
) -> None:
    attack, words = REFUSED[name]
    (tmp_path / "refs.p").write_bytes(attack)
    with pytest.raises(InputError, match=r"refs\.p") as error:
        load_plain_pickle(tmp_path / "refs.p")
    assert words in str(error.value)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_takes_little_memory_and_time(name: str, tmp_path: Path) -> None:
    bomb, words = BOMBS[name]
    with pytest.raises(InputError, match=r"script\.pt"):
        read_checkpoint(in_archive(tmp_path / "script.pt", bomb, script=True))
    (tmp_path / "refs.p").write_bytes(bomb)
    if words is None:
        assert load_plain_pickle(tmp_path / "refs.p") == 1
        return
    with pytest.raises(InputError, match=words):
        load_plain_pickle(tmp_path / "refs.p")


@pytest.mark.parametrize("key", ["ref_id", "sentences", "split", "image_id"])
def test_a_value_that_is_huge_when_printed_is_shortened(key: str, tmp_path: Path) -> None:
    folder = tmp_path / "refer" / "refcocog"
    folder.mkdir(parents=True)
    (folder / "instances.json").write_text('{"images": [], "annotations": [], "categories": []}')
    nested = doubled(b"]", 60, b"")[2:]  # nested tuples, 2^60 in total
    (folder / "refs(umd).p").write_bytes(b"\x80\x04]}" + text(key) + nested + b"sa.")
    with pytest.raises(InputError, match="refs row 0") as error:
        read_refer(tmp_path, "refcocog", "umd", "refer/refcocog")
    assert len(str(error.value)) < 20_000


def test_a_storage_that_is_used_often_is_read_once(tmp_path: Path) -> None:
    storage = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuJ\x00\x00\x10\x00tQ"  # 4 MB
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00(K\x01t(K\x01t\x89NtR"
    tensors = b"".join(b"U\x04%04d" % n + tensor for n in range(2000))
    pickled = b"\x80\x02c__torch__\nM\n)\x81}(" + tensors + b"ub."
    path = in_archive(tmp_path / "many.pt", pickled, script=True)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data/0", bytes(4 << 20))
    read = read_checkpoint(path)
    assert len(read) == 2000
    assert len({tensor.untyped_storage().data_ptr() for tensor in read.values()}) == 1
    assert torch.equal(read["0000"], torch.zeros(1))


def test_no_folder_name_hides_the_size_of_a_checkpoint(tmp_path: Path) -> None:
    saved, bomb = tmp_path / "saved.pt", tmp_path / "bomb.pt"
    torch.save({"weight": torch.zeros(2_500_000)}, saved)
    with (
        zipfile.ZipFile(saved) as source,
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in source.namelist():
            content = source.read(name).replace(b"X\x01\0\0\x000q", b"X\x09\0\0\0../code/0q")
            archive.writestr(name.replace("data/0", "data/../code/0"), content)
    with pytest.raises(InputError, match="that unpack to 10000"):
        read_checkpoint(bomb)


def test_no_folder_name_hides_the_size_of_a_script(tmp_path: Path) -> None:
    storage = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuJ\xa0\x25\x26\0tQ"  # 10 MB
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0(K\x01t(K\x01t\x89NtR"
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "a/code/data.pkl", b"\x80\x02c__torch__\nM\n)\x81}(U\x06weight" + tensor + b"ub."
        )
        archive.writestr("a/code/data/0", bytes(10_000_000))
        archive.writestr("a/code/constants.pkl", b"\x80\x02).")
    with pytest.raises(InputError, match="that unpack to 10000"):
        read_checkpoint(bomb)
