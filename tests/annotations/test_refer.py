"""refer's annotation files: tables in file order, and faults named with file and row."""

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.tiny_refer import TinyRefer, annotation, square
from tris_core.annotations.refer import read_refer
from tris_core.runtime.errors import InputError

FOLDER = "refer/refcocog"


def test_every_table_is_read_in_file_order(tmp_path: Path) -> None:
    tables = read_refer(TinyRefer().write(tmp_path), "refcocog", "umd", FOLDER)
    assert tables.image_root == tmp_path / "train2014"
    assert tables.images.to_dict("list") == {
        "image_id": [70, 7, 700],
        "file_name": ["b.jpg", "grey.jpg", "unused.jpg"],
        "height": [40, 50, 20],
        "width": [60, 30, 20],
    }
    assert tables.refs.to_dict("list") == {
        "ref_id": [12, 10, 11, 13],
        "image_id": [7, 70, 70, 70],
        "ann_id": [3, 1, 2, 4],
        "category_id": [3, 3, 3, 3],
        "split": ["val", "train", "train", "testA"],
    }
    assert tables.sentences[["sent_id", "ref_id"]].to_numpy().tolist() == [
        [5, 12], [4, 12], [0, 10], [2, 11], [1, 11], [3, 13],
    ]  # fmt: skip
    # `sent`, not `raw`
    assert tables.sentences["sent"].tolist()[:2] == ["grey thing", "the only one"]
    assert sorted(tables.annotations) == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["shapes", "refcoco", "refcoco+", "refcocog"])
def test_every_data_set_knows_its_image_folder(tmp_path: Path, name: str) -> None:
    tables = read_refer(TinyRefer().write(tmp_path, name, "x"), name, "x", f"refer/{name}")
    assert (tables.image_root / "grey.jpg").exists()


def test_an_unknown_split_value_is_kept(tmp_path: Path) -> None:
    tiny = TinyRefer()
    tiny.refs[0]["split"] = "bonus"
    assert read_refer(tiny.write(tmp_path), "refcocog", "umd", FOLDER).refs["split"][0] == "bonus"


def test_an_unknown_partition_lists_the_existing_ones(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"refs\(google\)\.p: no such file; choose .* there: refs\(umd\)\.p"
    ):
        read_refer(TinyRefer().write(tmp_path), "refcocog", "google", FOLDER)


def test_a_missing_download_names_the_usual_folder(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"annotations/refcoco: no such folder; .*have it in refer/refcoco$"
    ):
        read_refer(tmp_path, "refcoco", "unc", "annotations/refcoco")
    (tmp_path / "refer/refcoco").mkdir(parents=True)
    with pytest.raises(InputError, match=r"refer/refcoco/instances\.json: no such file; unpack"):
        read_refer(tmp_path, "refcoco", "unc", "refer/refcoco")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "not JSON .*download the file again"),
        ("[]", "has no list 'images'"),
        ('{"annotations": []}', "has no list 'images'"),
        ('{"images": [], "annotations": {}}', "has no list 'annotations'.*download it again"),
    ],
)
def test_a_wrong_instances_file_is_named(tmp_path: Path, content: str, problem: str) -> None:
    root = TinyRefer().write(tmp_path)
    (root / "refer/refcocog/instances.json").write_text(content)
    with pytest.raises(InputError, match=rf"instances\.json: {problem}"):
        read_refer(root, "refcocog", "umd", FOLDER)


class RunsCode:
    def __reduce__(self) -> tuple:
        return os.getcwd, ()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"a": 1}, r"holds \{'a': 1\}, expected a list of refs"),
        ([], r"holds \[\]"),
        ([RunsCode()], "could run code"),
    ],
)
def test_a_wrong_refs_file_is_named(tmp_path: Path, content: object, problem: str) -> None:
    root = TinyRefer().write(tmp_path)
    (root / "refer/refcocog/refs(umd).p").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(InputError, match=rf"refs\(umd\)\.p: .*{problem}"):
        read_refer(root, "refcocog", "umd", FOLDER)


FAULTS: dict[str, tuple[Callable[[TinyRefer], object], str]] = {
    "image twice": (
        lambda tiny: tiny.images.append(dict(tiny.images[1])),
        "instances.json: images row 3 (id 7): repeats the id of row 1; remove one of the two",
    ),
    "annotation twice": (
        lambda tiny: tiny.annotations.append(annotation(2, 7, [square(1, 1)])),
        "instances.json: annotations row 5 (id 2): repeats the id of row 1; remove one of the two",
    ),
    "ref twice": (
        lambda tiny: tiny.refs[2].update(ref_id=12),
        "refs(umd).p: refs row 2 (id 12): repeats the id of row 0; remove one of the two",
    ),
    "sentence twice": (
        lambda tiny: tiny.refs[3]["sentences"][0].update(sent_id=4),
        "refs(umd).p: sentences (counted over all refs) row 5 (id 4): repeats the id of row 1; re",
    ),
    "ref to no image": (
        lambda tiny: tiny.refs[1].update(image_id=99),
        "refs(umd).p: refs row 1 (id 10): image_id '99' is not among the images of",
    ),
    "ref to no annotation": (
        lambda tiny: tiny.refs[1].update(ann_id=99),
        "refs(umd).p: refs row 1 (id 10): ann_id '99' is not among the annotations of",
    ),
    "annotation of no image": (
        lambda tiny: tiny.annotations[2].update(image_id=99),
        "instances.json: annotations row 2 (id 3): image_id 99 is not among the images; correct",
    ),
    "annotation of another image": (
        lambda tiny: tiny.annotations[2].update(image_id=70),
        "refs(umd).p: refs row 0 (id 12): image_id is 7, but its annotation 3 belongs to image 70",
    ),
    "no segmentation": (
        lambda tiny: tiny.annotations[0].pop("segmentation"),
        "instances.json: annotations row 0 (id 1): a ref uses it, but it has no segmentation",
    ),
    "no bbox": (
        lambda tiny: tiny.annotations[0].pop("bbox"),
        "instances.json: annotations row 0 (id 1): bbox is None, expected x, y, width, height",
    ),
    "bbox without numbers": (
        lambda tiny: tiny.annotations[0].update(bbox=[1, 2, float("nan"), 4]),
        "instances.json: annotations row 0 (id 1): bbox is [1, 2, nan, 4], expected",
    ),
    "no split": (
        lambda tiny: tiny.refs[3].pop("split"),
        "refs(umd).p: refs row 3 (id 13): split is missing, expected str; correct the record",
    ),
    "empty split": (
        lambda tiny: tiny.refs[3].update(split=" "),
        "refs(umd).p: refs row 3 (id 13): split ' ' is empty; name the split, such as train or val",
    ),
    "no sentences key": (
        lambda tiny: tiny.refs[3].pop("sentences"),
        "refs(umd).p: refs row 3 (id 13): sentences is missing, expected list; correct the record",
    ),
    "sentence without text": (
        lambda tiny: tiny.refs[0]["sentences"][1].update(sent=None),
        "refs(umd).p: ref 12, sentences row 1 (id 4): sent is None, expected str; correct the",
    ),
    "height as text": (
        lambda tiny: tiny.images[1].update(height="50"),
        "instances.json: images row 1 (id 7): height is '50', expected int; correct the record",
    ),
    "no image id": (
        lambda tiny: tiny.images[1].pop("id"),
        "instances.json: images row 1 (id None): id is missing, expected int; correct the record",
    ),
    "row is no record": (
        lambda tiny: tiny.refs.insert(0, "ref"),  # type: ignore[arg-type]
        "refs(umd).p: refs row 0 (id unknown): is 'ref', expected a dict; correct the record",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_structural_fault_names_file_row_value_and_fix(tmp_path: Path, fault: str) -> None:
    break_it, message = FAULTS[fault]
    tiny = TinyRefer()
    break_it(tiny)
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        read_refer(tiny.write(tmp_path), "refcocog", "umd", FOLDER)
    assert str(raised.value).startswith(str(tmp_path / "refer" / "refcocog"))
    assert "; " in str(raised.value)


def test_an_annotation_that_no_ref_uses_may_be_anything(tmp_path: Path) -> None:
    tiny = TinyRefer()
    tiny.annotations[4] = {"id": 5, "image_id": 12345, "segmentation": "nonsense"}
    assert 5 not in read_refer(tiny.write(tmp_path), "refcocog", "umd", FOLDER).annotations
