"""`Predictor` and `tris predict`: the pipeline's numbers for any picture and sentence."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner, Result

from tests.support.tiny_models import MAX_TOKENS, SIZE, write_tiny_models
from tris_core.annotations.index import build_index
from tris_core.cli.main import app
from tris_core.clip.tokenizer import Tokenizer
from tris_core.data.images import as_displayed, read_image
from tris_core.data.packed import PackedImages, pack_images
from tris_core.data.rle import decode
from tris_core.evaluation.records import by_image
from tris_core.predict.files import STEM_BYTES, names, slug
from tris_core.predict.predictor import DEMO, Predictor, default_models, mask_of
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import write_sealed_json
from tris_core.shapes.dataset import write_shapes
from tris_core.step1.inference import response_maps
from tris_core.step1.network import build_step1
from tris_core.step2.inference import predict_by_image, to_rows
from tris_core.step2.network import build_step2
from tris_core.weights.configs import Step1Config, Step2Config
from tris_core.weights.model_folder import load_model

TEXTS = ["man on the left", "red dog", "a dog, right of the red man"]
CPU = torch.device("cpu")
SEED = 7  # the response maps of most random models are zero everywhere; here none is


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    torch.manual_seed(SEED)
    return write_tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def predictor(folders: tuple[Path, Path]) -> Predictor:
    return Predictor.load(*folders, device="cpu")


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    """Blocks of colour, large enough to survive resizing."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.NEAREST)


def test_numbers_are_the_pipelines(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """The pipeline packs images, batches sentences and stores rows; the predictor takes a file."""
    sizes = {"a.png": (60, 90), "b.png": (131, 47)}
    for seed, (file, (height, width)) in enumerate(sizes.items()):
        noise(height, width, seed).save(tmp_path / file)
    images = pd.DataFrame(
        {"image_id": [0, 1], "path": list(sizes), "height": [60, 131], "width": [90, 47]}
    )
    manifest = pack_images(images, tmp_path, SIZE, tmp_path / "scratch", workers=1)
    write_sealed_json(tmp_path / "packed.json", manifest)
    packed = PackedImages(
        tmp_path / "packed.json", images, tmp_path, tmp_path / "scratch", workers=1
    )
    step1, config = load_model(folders[0], Step1Config, build_step1)
    step2, _ = load_model(folders[1], Step2Config, build_step2)
    image_of = np.repeat([0, 1], len(TEXTS))
    tokens = Tokenizer(config.clip.vocabulary)(TEXTS * 2, MAX_TOKENS)
    raw = np.concatenate(
        [m for _, m in response_maps(step1, packed, image_of, tokens, device=CPU, precision="fp32")]
    )
    small = {
        rows[0]: logits
        for rows, logits in predict_by_image(
            step2, packed, image_of, tokens, lambda *made: made, device=CPU, precision="fp32"
        )
    }

    predictor = Predictor.load(*folders, device="cpu")
    for number, (file, (height, width)) in enumerate(sizes.items()):
        # With random weights, a threshold of 0 would give empty or full masks.
        threshold = small[number * len(TEXTS)].median().item()
        ours = predictor.predict(tmp_path / file, TEXTS, threshold=threshold)
        ids = np.arange(len(TEXTS))
        stored = to_rows(
            ids, small[number * len(TEXTS)], height=height, width=width, threshold=threshold
        )
        maps = raw[number * len(TEXTS) :][: len(TEXTS)]
        frame = pd.DataFrame(
            {
                "expression_id": ids,
                "ref_id": 0,
                "image_id": 0,
                "height": maps.shape[1],
                "width": maps.shape[2],
            }
        ).assign(map=list(maps.reshape(len(TEXTS), -1)))
        truth = pd.DataFrame({"height": [height], "width": [width]})
        ((_, responses),) = by_image([frame], truth, SIZE, lambda *made: made)
        for one, row, response in zip(ours, stored.itertuples(), responses.numpy(), strict=True):
            mask = decode(row.counts, height, width)
            assert 0.02 < mask.mean() < 0.98
            # Another batch size may round a logit at the threshold to the other side.
            assert (one.mask != mask).mean() < 1e-3
            assert one.score == pytest.approx(row.score, abs=1e-6)
            assert one.point == (row.x, row.y)
            np.testing.assert_allclose(one.response, response, atol=1e-5)
            assert one.response.max() > 0.99
            assert np.ptp(one.response) > 0.01


def test_a_sentence_does_not_depend_on_its_neighbours(
    predictor: Predictor,
) -> None:
    photo = noise(50, 80)
    together = predictor.predict(photo, TEXTS)
    alone = [predictor.predict(photo, [text])[0] for text in TEXTS]
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(one.response, other.response)
        assert (one.mask == other.mask).all()
        assert one.score == other.score
    assert not np.allclose(together[0].response, together[1].response)


def test_confidences_are_the_highest_and_the_mean_probability(predictor: Predictor) -> None:
    never = predictor.predict(noise(30, 30), ["man"], threshold=1e9)[0]
    assert not never.mask.any()
    assert never.mask_score == 0
    always = predictor.predict(noise(30, 30), ["man"], threshold=-1e9)[0]
    assert always.mask.all()
    assert 0 < always.mask_score < always.score == never.score < 1
    highest = np.log(always.score / (1 - always.score))
    near = predictor.predict(noise(30, 30), ["man"], threshold=highest - 1e-4)[0]
    assert near.mask[near.point[1], near.point[0]]
    assert near.mask_score == pytest.approx(near.score, abs=1e-3)


def test_another_threshold_needs_no_network(predictor: Predictor) -> None:
    once = predictor.predict(noise(30, 50), TEXTS)
    for one in once:
        threshold = float(np.median(one.logits))
        again = predictor.predict(noise(30, 50), [one.text], threshold=threshold)[0]
        assert 0.1 < again.mask.mean() < 0.9
        mask, mask_score = mask_of(one.logits, height=30, width=50, threshold=threshold)
        assert np.array_equal(mask, again.mask)
        assert mask_score == again.mask_score


def test_half_precision_weights_become_float32(folders: tuple[Path, Path], tmp_path: Path) -> None:
    torch.manual_seed(SEED)
    halves = write_tiny_models(tmp_path, torch.float16)
    assert {t.dtype for t in load_file(halves[1] / "model.safetensors").values()} >= {torch.float16}
    half, whole = (
        Predictor.load(*pair, device="cpu").predict(noise(40, 40), ["man"])[0]
        for pair in (halves, folders)
    )
    assert half.response.dtype == np.float32
    np.testing.assert_allclose(half.response, whole.response, atol=0.05)
    assert half.score == pytest.approx(whole.score, abs=0.02)


def test_a_long_sentence_is_cut_and_says_so(predictor: Predictor) -> None:
    words = ["man", "on", "the", "left"] * 15
    long, kept, other = predictor.predict(
        noise(40, 40), [" ".join(words), " ".join(words[: MAX_TOKENS - 2]), "dog 😀"]
    )
    assert long.cut
    assert (long.tokens, long.max_tokens) == (62, MAX_TOKENS)
    assert "cut from 62 to 8 tokens" in long.in_words()
    assert not kept.cut
    assert np.array_equal(long.response, kept.response)
    assert long.score == kept.score
    assert 0 < other.unknown < 1
    assert kept.unknown == 0
    assert (long.words_read, kept.words_read, other.words_read) == (6, 6, 2)
    assert (kept.unknown_words, other.unknown_words) == ((), ("😀",))


def colours(image: Image.Image) -> np.ndarray:
    return np.asarray(as_displayed(image))[0, 0]


def test_any_mode_becomes_what_is_displayed() -> None:
    half_red = Image.new("RGBA", (4, 4), (255, 0, 0, 51))
    assert colours(half_red).tolist() == [255, 204, 204]
    assert colours(Image.new("LA", (4, 4), (0, 0))).tolist() == [255] * 3
    assert colours(Image.new("CMYK", (4, 4), (255, 0, 0, 0))).tolist() == [0, 255, 255]
    assert colours(Image.new("L", (4, 4), 77)).tolist() == [77] * 3
    assert colours(Image.new("1", (4, 4), 1)).tolist() == [255] * 3
    assert colours(Image.fromarray(np.full((4, 4), 0x8001, np.uint16))).tolist() == [0x80] * 3
    assert colours(Image.fromarray(np.array([[2.5, 0.5]], np.float32))).tolist() == [255] * 3
    assert colours(Image.fromarray(np.full((1, 1), 7.0, np.float32))).tolist() == [0] * 3
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([9, 9, 9, 10, 20, 30])
    assert colours(palette).tolist() == [10, 20, 30]
    palette.info["transparency"] = 1
    assert colours(palette).tolist() == [255] * 3


def test_sixteen_bits_and_palettes_survive_the_file(tmp_path: Path) -> None:
    ramp = np.linspace(0, 0xFFFF, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    assert np.array_equal(read_image(tmp_path / "deep.png")[..., 0], (ramp >> 8).astype(np.uint8))
    noise(10, 20).quantize(16).save(tmp_path / "palette.gif")
    assert read_image(tmp_path / "palette.gif").shape == (10, 20, 3)


@pytest.mark.parametrize(("orientation", "turn"), [(3, 2), (6, 3), (8, 1)])
def test_exif_turns_the_image_and_its_masks(
    predictor: Predictor, tmp_path: Path, orientation: int, turn: int
) -> None:
    photo, exif = noise(30, 50), Image.Exif()
    exif[0x0112] = orientation
    photo.save(tmp_path / "turned.png", exif=exif)
    upright = Image.fromarray(np.rot90(np.asarray(photo), turn))
    assert np.array_equal(read_image(tmp_path / "turned.png"), np.asarray(upright))
    found, expected = (
        predictor.predict(image, ["man"])[0] for image in (tmp_path / "turned.png", upright)
    )
    assert found.mask.shape == upright.size[::-1]
    assert np.array_equal(found.response, expected.response)


def test_a_photo_of_one_pixel(predictor: Predictor) -> None:
    assert predictor.predict(Image.new("RGB", (1, 1)), ["man"])[0].mask.shape == (1, 1)


@pytest.mark.parametrize("texts", [[], ["man", "  "], "man"])
def test_unusable_sentences_are_refused(predictor: Predictor, texts: list[str]) -> None:
    with pytest.raises(InputError, match="sentence"):
        predictor.predict(noise(9, 9), texts)


def test_unusable_images_are_refused(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    noise(90, 90).save(tmp_path / "whole.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    for name, word in (
        ("text.jpg", "cannot be read"),
        ("half.jpg", "truncated"),
        ("none.jpg", "not found"),
    ):
        with pytest.raises(InputError, match=f"{name}: .*{word}"):
            predictor.predict(tmp_path / name, ["man"])


def test_unusable_models_are_refused(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "tris_core.predict.predictor.DEMO", (tmp_path / "demo1", tmp_path / "demo2")
    )
    with pytest.raises(InputError, match=r"models/step1 and models/step2: no models"):
        Predictor.load()
    with pytest.raises(InputError, match="name both"):
        Predictor.load(step2=folders[1])
    with pytest.raises(InputError, match=r"config\.json: not found"):
        Predictor.load(tmp_path, folders[1])
    with pytest.raises(InputError, match="holds Step-2, not Step-1"):
        Predictor.load(folders[1], folders[1])
    torch.manual_seed(0)
    one, two = write_tiny_models(tmp_path / "models")
    assert [folder.resolve() for folder in default_models()] == [one, two]
    (two / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"step2/model\.safetensors: damaged or of another model"):
        Predictor.load()


def test_without_a_run_the_demo_models_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    demo = write_tiny_models(tmp_path / "assets")
    monkeypatch.setattr("tris_core.predict.predictor.DEMO", demo)
    assert default_models() == demo


def test_the_demo_of_the_package_marks_what_is_said(tmp_path: Path) -> None:
    """On scenes it has never seen. Its model card has the numbers."""
    write_shapes(tmp_path, train=1, val=16, test=1, seed=2026)
    index = build_index(tmp_path, "shapes", "demo", "refer/shapes")
    path_of = dict(
        zip(index.images["image_id"].to_pylist(), index.images["path"].to_pylist(), strict=True)
    )
    truth, refs = index.truth.to_pandas().set_index("ref_id"), index.refs.to_pandas()
    texts = index.expressions.to_pandas().groupby("ref_id")["text"].first()
    predictor, ious, hits = Predictor.load(*DEMO, device="cpu"), [], []
    for image_id, part in refs[refs["split"] == "val"].groupby("image_id"):
        found = predictor.predict(tmp_path / path_of[image_id], texts[part["ref_id"]].tolist())
        for ref_id, made in zip(part["ref_id"], found, strict=True):
            true = decode(*truth.loc[ref_id, ["counts", "height", "width"]])
            ious.append((made.mask & true).sum() / (made.mask | true).sum())
            hits.append(true[made.point[::-1]])
    assert np.mean(ious) > 0.55
    assert np.mean(hits) > 0.7


@given(st.text(max_size=80))
def test_a_slug_names_no_path(text: str) -> None:
    made = slug(text)
    assert made
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not made.startswith("-")
    assert len(made) <= 40


def test_names_never_collide() -> None:
    photos = [Path("a/x.jpg"), Path("b/x.png"), Path("c/X.png"), Path("ü" * 100 + ".png")]
    made = list(names({photo: ["man", "Man!", "mán", "../..", "😀"] for photo in photos}))
    assert len({name.lower() for name in made}) == len(made) == 20
    assert made[0] == "x_001_man"
    assert made[3] == "x_004_sentence"
    assert all("/" not in name and len(name.encode()) < STEM_BYTES + 60 for name in made)


@pytest.fixture
def run(folders: tuple[Path, Path], tmp_path: Path) -> Callable[..., Result]:
    def call(*arguments: str | Path) -> Result:
        models = [
            "--step1",
            str(folders[0]),
            "--step2",
            str(folders[1]),
            "--out",
            str(tmp_path / "out"),
        ]
        return CliRunner().invoke(app, ["predict", *map(str, arguments), *models])

    return call


def test_command_writes_three_pictures_per_sentence(
    run: Callable[..., Result], predictor: Predictor, tmp_path: Path
) -> None:
    noise(31, 47).save(tmp_path / "photo.png")
    result = run("--image", tmp_path / "photo.png", "--text", "man, on the left", "--text", "../😀")
    assert result.exit_code == 0, result.output
    made = {path.name: np.asarray(Image.open(path)) for path in (tmp_path / "out").iterdir()}
    beginnings = ("photo_001_man-on-the-left", "photo_002_sentence")
    assert made.keys() == {
        f"{name}_{kind}.png" for name in beginnings for kind in ("mask", "response", "overlay")
    }
    expected = predictor.predict(tmp_path / "photo.png", ["man, on the left"])[0]
    assert np.array_equal(made["photo_001_man-on-the-left_mask.png"], expected.mask * np.uint8(255))
    assert (
        np.abs(made["photo_001_man-on-the-left_response.png"] / 255 - expected.response).max()
        <= 0.5 / 255 + 1e-6
    )
    assert made["photo_002_sentence_overlay.png"].shape == (31, 47, 3)
    assert f"confidence {expected.score:.3f}" in result.output


def test_command_takes_folders_and_tables(run: Callable[..., Result], tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("b.png", "a.JPG"):
        noise(20, 20).save(folder / name)
    (folder / "notes.txt").write_text("")
    result = run("--image", folder, "--text", "dog")
    assert result.exit_code == 0, result.output
    assert "skipped, not images: notes.txt" in result.output
    assert {p.name for p in (tmp_path / "out").glob("*_mask.png")} == {
        "a_001_dog_mask.png",
        "b_002_dog_mask.png",
    }
    table = tmp_path / "table.csv"
    table.write_text(
        '\ufeffid,text,image\n1,"left, red",photos/b.png\n2,NA,photos/a.JPG\n3,man,photos/b.png\n',
        "utf-8",
    )
    result = run("--csv", table)
    assert result.exit_code == 0, result.output
    expected = {"b_001_left-red_mask.png", "b_002_man_mask.png", "a_003_na_mask.png"}
    assert {p.name for p in (tmp_path / "out").glob("*_mask.png")} >= expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,text\nphoto.png,man\nphoto.png,\n", "row 2: text is empty"),
        ("image,text\nphoto.png,man, left\n", "row 1: has 3 cells, the header 2"),
        ("image,text\nmissing.png,man\n", "row 1: .*missing.png: not found"),
        ("image,said\nphoto.png,man\n", "needs columns image and text"),
        ("image,sentence\nphoto.png,\n", "row 1: sentence is empty"),
        ("image,text\n", "0 rows"),
        ('image,text\n"photo.png,man\n', "row 1: cannot be read"),
    ],
)
def test_unusable_tables_are_refused(
    run: Callable[..., Result], tmp_path: Path, content: str, message: str
) -> None:
    noise(9, 9).save(tmp_path / "photo.png")
    (tmp_path / "table.csv").write_text(content)
    refused(run("--csv", tmp_path / "table.csv"), message)
    assert not (tmp_path / "out").exists()


def test_the_command_refuses_wrong_input(run: Callable[..., Result], tmp_path: Path) -> None:
    noise(9, 9).save(tmp_path / "photo.png")
    refused(run("--image", tmp_path / "none.png", "--text", "man"), "none.png: not found")
    refused(run("--image", tmp_path / "photo.png", "--text", " "), "sentence 1 is empty")
    refused(run("--image", tmp_path / "photo.png"), "give --image and --text")
    refused(
        run("--image", tmp_path / "photo.png", "--text", "man", "--csv", tmp_path / "t.csv"),
        "or --csv alone",
    )
    (tmp_path / "empty").mkdir()
    refused(run("--image", tmp_path / "empty", "--text", "man"), "no image file")
    assert not (tmp_path / "out").exists()


def test_the_command_checks_folders_before_it_loads_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise(9, 9).save(tmp_path / "photo.png")
    ask = ["predict", "--image", str(tmp_path / "photo.png"), "--text", "man"]
    none = ["--step1", str(tmp_path / "none"), "--step2", str(tmp_path / "none")]
    wanted = rf"{tmp_path}/none must be a model folder .*dvc repro.*tris import-weights"
    refused(CliRunner().invoke(app, [*ask, "--out", str(tmp_path / "out"), *none]), wanted)
    (tmp_path / "file").touch()
    monkeypatch.setattr(Predictor, "load", lambda *folders: pytest.fail("loaded"))
    for out in ("/proc/x", tmp_path / "file" / "x"):
        refused(CliRunner().invoke(app, [*ask, "--out", str(out)]), f"{out}: cannot be created")


def refused(result: Result, message: str) -> None:
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert re.search(message, result.output), result.output
