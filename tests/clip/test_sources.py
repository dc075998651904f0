"""CLIPs by folder, open_clip name, tag and file: the right weights, or a plain refusal."""

import json
import pickle
import socket
import zipfile
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from tests.support.hub import put
from tests.support.tiny_clips import TEXT, TOWERS
from tris_core.clip.imagenet import describe_imagenet, imagenet_tower
from tris_core.clip.names import find_weights
from tris_core.clip.sources import describe_clip, load_clip
from tris_core.clip.towers import (
    at_image_size,
    build_clip,
    pyramid_channels,
    stage_channels,
    stage_features,
)
from tris_core.irn.backbone import backbone_taps, freeze_at_stride_16
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import sha256_of_file
from tris_core.weights.archives import read_checkpoint
from tris_core.weights.clip_spec import ClipConfig, ClipSpec

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning"
)


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Small models under names that open_clip knows, an empty home, and no network."""
    for name, tower in TOWERS.items():
        config = {"embed_dim": 16, "vision_cfg": tower, "text_cfg": TEXT}
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
        monkeypatch.setitem(
            open_clip.factory._MODEL_CONFIGS, f"{name}-quickgelu", {**config, "quick_gelu": True}
        )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))

    def refuse(*_: object) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def architecture(config: dict[str, Any]) -> ClipConfig:
    return ClipConfig.model_validate({"quick_gelu": False, **config})


def clip_of(name: str) -> open_clip.CLIP:
    config = open_clip.get_model_config(name)
    return build_clip(architecture(config)).eval()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    """A TorchScript archive like OpenAI's, in half precision and with sizes, and its weights."""
    config = {"embed_dim": 16, "vision_cfg": TOWERS["tiny"], "text_cfg": TEXT, "quick_gelu": True}
    torch.manual_seed(5)
    clip = build_clip(architecture(config)).eval()
    with torch.no_grad():
        for parameter in clip.parameters():
            parameter.copy_(parameter.half())
    weights = {key: value.clone() for key, value in clip.state_dict().items()}
    for name, value in (("input_resolution", 64), ("context_length", 8), ("vocab_size", 49408)):
        if hasattr(clip, name):
            delattr(clip, name)
        clip.register_buffer(name, torch.tensor(value))
    path = tmp_path_factory.mktemp("archive") / "RN50.pt"
    traced = torch.jit.trace(
        clip, (torch.zeros(1, 3, 64, 64), torch.zeros(1, 8, dtype=torch.int64))
    )
    traced.save(str(path))
    return path, weights


def rewritten(archive: Path, target: Path, pickled: bytes) -> Path:
    """The archive with another `data.pkl`."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickled if name.endswith("/data.pkl") else old.read(name))
    return target


def test_an_archive_gives_what_torchscript_itself_reads(
    archive: tuple[Path, dict[str, Tensor]],
) -> None:
    assert same(read_checkpoint(archive[0]), dict(torch.jit.load(archive[0]).state_dict()))


def test_shared_half_and_empty_tensors_and_typed_lists(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sizes, self.rates = [3, 4], [0.5]
            whole = torch.arange(24, dtype=torch.float16).view(4, 6)
            self.register_buffer("slice", whole[1:3, ::2])
            self.register_buffer("transposed", whole.T)
            self.register_buffer("none", torch.zeros(0, 3))
            self.flag = torch.tensor([True, False])

        def forward(self, x: Tensor) -> Tensor:
            return x + self.sizes[0] + self.rates[0] + self.flag.sum()

    torch.jit.script(Odd()).save(str(tmp_path / "odd.pt"))
    read = read_checkpoint(tmp_path / "odd.pt")
    expected = torch.jit.load(tmp_path / "odd.pt")
    assert same(read, {**expected.state_dict(), "flag": expected.flag})
    assert read["slice"].tolist() == [[6, 8, 10], [12, 14, 16]]


def test_an_archive_is_a_clip_in_float32(archive: tuple[Path, dict[str, Tensor]]) -> None:
    description = describe_clip("tiny-quickgelu", str(archive[0]))
    clip = load_clip(description)
    assert same(clip.state_dict(), archive[1])
    assert all(p.dtype == torch.float32 for p in clip.parameters())
    assert description.config.quick_gelu is True


def test_pictures_are_normalised_as_asked() -> None:
    released, own = (
        describe_clip(name, weights, normalise=how)
        for name, weights, how in (("tiny", "random", "imagenet"), ("tiny", "random", "clip"))
    )
    assert released.pixels is None
    assert "normalise" not in released.content()
    assert own.pixels is not None
    assert own.pixels[0] == pytest.approx([0.4815, 0.4578, 0.4082], abs=1e-4), "OpenAI's"
    assert own.pixels[1] == pytest.approx([0.2686, 0.2613, 0.2758], abs=1e-4)
    assert ClipSpec.model_validate(own.content()).pixels == own.pixels
    demo = describe_clip("demo", None, normalise="clip")
    assert demo.pixels == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]), "as its file says"


class Attack:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.target,)


class Evaluated(Attack):
    def __reduce__(self) -> tuple[object, tuple[str]]:  # type: ignore[override]
        return eval, (f"open({str(self.target)!r}, 'w')",)


@pytest.mark.parametrize("attack", [Attack, Evaluated])
def test_code_in_a_file_is_refused_and_not_run(
    attack: type[Attack], archive: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    pickled = pickle.dumps(attack(tmp_path / "executed"), protocol=2)
    script = rewritten(archive[0], tmp_path / "evil.pt", pickled)
    (tmp_path / "plain.pt").write_bytes(pickled)
    torch.save(
        {"weight": torch.zeros(1), "more": attack(tmp_path / "executed")}, tmp_path / "saved.pt"
    )
    for path, words in (
        (script, "could run code"),
        (tmp_path / "plain.pt", "more than"),
        (tmp_path / "saved.pt", "more than"),
    ):
        with pytest.raises(InputError, match=words) as error:
            read_checkpoint(path)
        assert str(path) in str(error.value)
    assert not (tmp_path / "executed").exists()


def test_a_malformed_archive_is_refused(
    archive: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    head = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n"
    storage = b"(U\x07storagectorch\nFloatStorage\nU\x010U\x03cpuK\x80tQ"  # 128 numbers
    beyond = head + b"(" + storage + b"K\x00(K\x81t(K\x01t\x89NtR."
    changed = head + b"N}U\x08__call__Ns\x86b."
    for pickled in (beyond, changed, b"\x80\x02}.", b"\x80\x02"):
        with pytest.raises(InputError, match=r"bad\.pt"):
            read_checkpoint(rewritten(archive[0], tmp_path / "bad.pt", pickled))


@pytest.mark.parametrize("form", ["safetensors", "state dict", "training checkpoint"])
def test_every_form_of_file_gives_the_same_clip(form: str, tmp_path: Path) -> None:
    weights = clip_of("tiny").state_dict()
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pt")
    if form == "safetensors":
        save_file(weights, path)
    elif form == "state dict":
        torch.save(weights, path)
    else:
        torch.save(
            {"epoch": 3, "state_dict": {f"module.{key}": value for key, value in weights.items()}},
            path,
        )
    assert same(load_clip(describe_clip("tiny", str(path))).state_dict(), weights)


def test_openai_weights_need_quickgelu(
    archive: tuple[Path, dict[str, Tensor]], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="name the model tiny-quickgelu"):
        describe_clip("tiny", str(archive[0]))
    torch.save(read_checkpoint(archive[0]), tmp_path / "converted.pt")
    with pytest.raises(InputError, match="name the model tiny-quickgelu"):
        describe_clip("tiny", str(tmp_path / "converted.pt"))
    with pytest.raises(InputError, match="name the model RN50-quickgelu"):
        describe_clip("RN50", "openai")
    with pytest.raises(InputError, match="laion2b_s34b_b79k are weights of ViT-B-32;"):
        describe_clip("ViT-B-32-quickgelu", "laion2b_s34b_b79k")


def test_a_tag_means_the_downloaded_file_or_says_what_to_download(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing is downloaded unasked") as error:
        describe_clip("RN50-quickgelu", "openai")
    for part in (
        "timm/resnet50_clip.openai",
        "open_clip_model.safetensors",
        "/RN50.pt",
        str(tmp_path / "hub"),
        "or give the path",
    ):
        assert part in str(error.value)
    by_url = tmp_path / ".cache" / "clip" / "RN50.pt"
    by_url.parent.mkdir(parents=True)
    by_url.touch()
    assert find_weights("RN50-quickgelu", "openai") == by_url
    repository = tmp_path / "hub" / "models--timm--resnet50_clip.openai"
    snapshot = repository / "snapshots" / "0123" / "open_clip_model.safetensors"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123")
    snapshot.parent.mkdir(parents=True)
    snapshot.touch()
    assert find_weights("RN50-quickgelu", "openai") == snapshot


def test_weights_of_the_hub_are_read_from_its_cache(
    imagenet: tuple[ResNet, Path], tmp_path: Path
) -> None:
    location, tower = "hf://lab/clip@v1/w.safetensors", "hf://lab/resnet/r.pth"
    with pytest.raises(InputError, match=f"`tris fetch {location}`"):
        describe_clip("wide", location)
    weights = clip_of("wide").state_dict()
    save_file(weights, tmp_path / "w.safetensors")
    file = put(
        tmp_path / "hub",
        "lab/clip",
        "w.safetensors",
        (tmp_path / "w.safetensors").read_bytes(),
        ref="v1",
    )
    description = describe_clip("wide", location)
    assert (description.weights, description.sha256) == (location, sha256_of_file(file))
    assert same(load_clip(description).state_dict(), weights)
    with pytest.raises(InputError, match=f"`tris fetch {tower}`"):
        describe_clip("wide", location, imagenet=tower)
    put(tmp_path / "hub", "lab/resnet", "r.pth", imagenet[1].read_bytes())
    clip = load_clip(describe_clip("wide", location, imagenet=tower))
    assert torch.equal(clip.visual.layer3[0].conv2.weight, imagenet[0].layer3[0].conv2.weight)


@pytest.mark.parametrize(
    ("name", "weights", "words"),
    [
        (
            "RN50-quickgelu",
            None,
            "needs weights: a tag (openai, yfcc15m, cc12m), a file, or `random`",
        ),
        ("RN50-quickgelu", "opnai", "opnai: neither a file nor a tag of RN50-quickgelu"),
        ("demo", "openai", "set its weights (openai) to null"),
        ("nowhere", None, "nowhere: neither `demo`, a CLIP folder nor"),
        ("xlm-roberta-base-ViT-B-32", "random", "the text tower is not CLIP's own"),
        ("ViT-B-16-SigLIP", "random", "not a plain CLIP"),
    ],
)
def test_an_unknown_name_is_refused(name: str, weights: str | None, words: str) -> None:
    with pytest.raises(InputError) as error:
        describe_clip(name, weights)
    assert words in str(error.value)


def test_weights_that_do_not_fit_are_refused_by_key(tmp_path: Path) -> None:
    weights = clip_of("tiny").state_dict()
    renamed = {
        ("visual.conv_1.weight" if key == "visual.conv1.weight" else key): value
        for key, value in weights.items()
    }
    save_file(renamed, tmp_path / "renamed.safetensors")
    with pytest.raises(
        InputError, match=r"missing: visual.conv1.weight; unexpected: visual.conv_1.weight"
    ):
        describe_clip("tiny", str(tmp_path / "renamed.safetensors"))
    save_file({**weights, "ln_final.weight": torch.ones(17)}, tmp_path / "wide.safetensors")
    with pytest.raises(InputError, match=r"of another shape: ln_final.weight"):
        describe_clip("tiny", str(tmp_path / "wide.safetensors"))


def test_a_changed_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(clip_of("tiny").state_dict(), path)
    description = describe_clip("tiny", str(path))
    path.rename(tmp_path / "other.safetensors")
    save_file(clip_of("tiny").state_dict(), path)
    with pytest.raises(InputError, match="not the file that prepare_clip saw"):
        load_clip(description)


def test_a_moved_file_keeps_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(clip_of("tiny").state_dict(), path)
    description = describe_clip("tiny", str(path))
    moved = path.rename(tmp_path / "other.safetensors")
    assert describe_clip("tiny", str(moved)).sha256 == description.sha256


def test_random_weights_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    description = describe_clip("tiny", "random")
    first = load_clip(description).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert same(first, load_clip(description).state_dict())
    assert description.sha256 is None
    assert first["visual.layer4.0.conv1.weight"].std() > 0


@pytest.mark.parametrize(
    ("name", "strides"),
    [("tiny", (4, 4, 8, 16, 32)), ("convnext", (4, 4, 8, 16, 32)), ("vit", (16,))],
)
def test_channels_and_strides_are_those_of_the_maps(name: str, strides: tuple[int, ...]) -> None:
    clip, config = clip_of(name), describe_clip(name, "random").config
    with torch.no_grad():
        maps = stage_features(clip.visual, torch.randn(2, 3, 64, 64))
    assert tuple(m.shape for m in maps) == tuple(
        (2, c, 64 // s, 64 // s) for c, s in zip(stage_channels(config), strides, strict=True)
    )


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("RN50-quickgelu", (64, 256, 512, 1024, 2048)),
        ("RN101-quickgelu", (64, 256, 512, 1024, 2048)),
        ("RN50x4-quickgelu", (80, 320, 640, 1280, 2560)),
        ("convnext_base", (128, 128, 256, 512, 1024)),
    ],
)
def test_channels_of_the_full_size(name: str, channels: tuple[int, ...]) -> None:
    config = architecture(open_clip.get_model_config(name))
    assert pyramid_channels(ClipSpec(name=name, config=config, vocabulary=None)) == channels


def test_the_papers_backbone_at_its_own_size() -> None:
    clip = load_clip(describe_clip("RN50-quickgelu", "random"))
    with torch.no_grad():
        maps = stage_features(clip.visual, torch.zeros(1, 3, 320, 320))
    assert [tuple(m.shape[1:]) for m in maps[1:]] == [
        (256, 80, 80),
        (512, 40, 40),
        (1024, 20, 20),
        (2048, 10, 10),
    ]


def test_maps_of_a_convnext_are_timms_own() -> None:
    visual, image = clip_of("convnext").visual, torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        ours, theirs = (
            stage_features(visual, image),
            visual.trunk.forward_intermediates(image, intermediates_only=True),
        )
        stem = visual.trunk.stem(image)
    for a, b in zip(ours, [stem, *theirs], strict=True):
        torch.testing.assert_close(a, b)


def test_a_frozen_convnext_keeps_stride_16_and_its_even_pixels() -> None:
    visual, plain, image = (
        clip_of("convnext").visual,
        clip_of("convnext").visual,
        torch.randn(1, 3, 64, 96),
    )
    plain.load_state_dict(visual.state_dict())
    taps = backbone_taps(freeze_at_stride_16(visual), image)
    assert [tap.shape[2:] for tap in taps] == [(16, 24), (16, 24), (8, 12), (4, 6), (4, 6)]
    with torch.no_grad():
        torch.testing.assert_close(
            visual.trunk.stages[3].downsample(taps[3])[..., ::2, ::2],
            plain.trunk.stages[3].downsample(taps[3]),
        )


def test_the_map_of_a_vit_is_its_patch_tokens_in_rows() -> None:
    visual, image = clip_of("vit").visual, torch.randn(2, 3, 64, 64)
    seen: list[Tensor] = []
    visual.ln_post.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        visual(image)
        (features,) = stage_features(visual, image)
    tokens = seen[0][:, 1:]
    for row, column in ((0, 0), (0, 3), (2, 1)):
        torch.testing.assert_close(
            features[:, :, row, column], tokens[:, 4 * row + column], rtol=1e-4, atol=1e-5
        )


def test_a_vit_takes_another_image_size_with_interpolated_positions(tmp_path: Path) -> None:
    weights = clip_of("vit").state_dict()
    # grows by 1 from row to row of patches
    ramp = torch.arange(4.0).repeat_interleave(4)[:, None].expand(16, 32)
    weights["visual.positional_embedding"][1:] = ramp
    save_file(weights, tmp_path / "vit.safetensors")
    description = describe_clip("vit", str(tmp_path / "vit.safetensors"))
    assert same(load_clip(at_image_size(description, 64)).state_dict(), weights)
    large = at_image_size(description, 128)
    clip = load_clip(large)
    positions = clip.visual.positional_embedding.detach()
    assert torch.equal(positions[0], weights["visual.positional_embedding"][0])
    grid = positions[1:].view(8, 8, 32)
    assert torch.allclose(grid, grid[:, :1, :1].expand_as(grid), atol=1e-5)
    assert grid[2:6, 0, 0].tolist() == pytest.approx([0.75, 1.25, 1.75, 2.25], abs=0.05)
    with torch.no_grad():
        assert stage_features(clip.visual, torch.zeros(1, 3, 128, 128))[-1].shape == (1, 32, 8, 8)
    with pytest.raises(InputError, match=r"pack_images.side = 72: not a multiple of 16"):
        at_image_size(description, 72)
    resnet = describe_clip("tiny", "random")
    assert at_image_size(resnet, 320) == resnet


def test_a_vit_has_one_scale_only() -> None:
    with pytest.raises(InputError, match="multi-scale features"):
        pyramid_channels(describe_clip("vit", "random"))
    with pytest.raises(InputError, match="no maps are taken from a SwinTransformer tower"):
        stage_channels(architecture(open_clip.get_model_config("swin_base_patch4_window7_224")))


@pytest.fixture
def imagenet(tmp_path: Path) -> tuple[ResNet, Path]:
    net = ResNet(Bottleneck, [1, 1, 1, 1], num_classes=10).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    path = tmp_path / "resnet.pth"
    torch.save(net.state_dict(), path)
    return net, path


def test_an_imagenet_tower_has_torchvisions_stages_and_a_random_stem(
    imagenet: tuple[ResNet, Path], tmp_path: Path
) -> None:
    net, path = imagenet
    save_file(clip_of("wide").state_dict(), tmp_path / "clip.safetensors")
    description = describe_clip("wide", str(tmp_path / "clip.safetensors"), imagenet=str(path))
    clip = load_clip(description).eval()
    plain = load_clip(description.with_own_tower())
    x = torch.randn(2, 64, 8, 8)
    with torch.no_grad():
        # layer1 is the only stage without a stride
        torch.testing.assert_close(clip.visual.layer1(x), net.layer1(x))
    assert torch.equal(
        clip.visual.layer4[0].downsample[2].running_var, net.layer4[0].downsample[1].running_var
    )
    assert torch.equal(clip.token_embedding.weight, plain.token_embedding.weight)
    assert not torch.equal(clip.visual.conv1.weight, plain.visual.conv1.weight)
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(InputError, match="not the file that prepare_clip saw"):
        load_clip(description)


def test_imagenet_weights_are_accounted_for_key_by_key(imagenet: tuple[ResNet, Path]) -> None:
    net, path = imagenet
    clip, state = clip_of("wide"), net.state_dict()
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(old, path)
    tower = imagenet_tower(clip, describe_imagenet(str(path)))
    assert torch.equal(tower["layer3.0.bn2.weight"], state["layer3.0.bn2.weight"])
    for changed, words in (
        (
            {**state, "layer2.0.conv4.weight": torch.zeros(1)},
            "unexpected ['layer2.0.conv4.weight']",
        ),
        (
            {**state, "layer2.1.conv1.weight": torch.zeros(1)},
            "unexpected ['layer2.1.conv1.weight']",
        ),
        (
            {k: v for k, v in state.items() if k != "layer2.0.downsample.0.weight"},
            "missing ['layer2.0.downsample.0.weight']",
        ),
        ({**state, "layer1.0.bn1.bias": torch.zeros(3)}, "of another shape ['layer1.0.bn1.bias']"),
    ):
        torch.save(changed, path)
        with pytest.raises(InputError) as error:
            imagenet_tower(clip, describe_imagenet(str(path)))
        assert words in str(error.value)
    with pytest.raises(InputError, match="needs a ResNet tower"):
        imagenet_tower(clip_of("vit"), describe_imagenet(str(path)))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("RN-50", "did you mean RN50"),
        ("ViT-B/32", "did you mean ViT-B-32"),
        ("vit-b-32-quickgelu", "did you mean ViT-B-32-quickgelu"),
        (
            "hf-hub:timm/resnet50_clip.openai",
            "hf-hub: is not read here: name the open_clip model itself",
        ),
        ("local-dir:theirs", "local-dir: is not read here"),
    ],
)
@pytest.mark.parametrize("weights", [None, "openai"])
def test_a_misspelt_name_is_corrected(name: str, words: str, weights: str | None) -> None:
    with pytest.raises(InputError) as error:
        describe_clip(name, weights)
    assert str(error.value).startswith(
        f"{name}: neither `demo`, a CLIP folder nor one of open_clip's models; "
    )
    assert words in str(error.value)
    assert "null" not in str(error.value)


def clip_folder(folder: Path, config: Any) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    save_file(clip_of("tiny").state_dict(), folder / "model.safetensors")
    return folder


TINY = {"embed_dim": 16, "vision_cfg": TOWERS["tiny"], "text_cfg": TEXT, "quick_gelu": False}


def test_a_plain_folder_is_taken_and_others_are_named(tmp_path: Path) -> None:
    weights = clip_of("tiny").state_dict()
    plain = clip_folder(tmp_path / "plain", TINY)
    save_file(weights, plain / "model.safetensors")
    assert same(load_clip(describe_clip(str(plain), None)).state_dict(), weights)
    theirs = clip_folder(
        tmp_path / "theirs", {"model_type": "clip", "text_config": {}, "vision_config": {}}
    )
    with pytest.raises(
        InputError,
        match=r"theirs: a folder of the transformers library.*ViT-B-32-quickgelu and openai",
    ):
        describe_clip(str(theirs), None)
    saved = clip_folder(tmp_path / "saved", TINY)
    (saved / "config.json").rename(saved / "open_clip_config.json")
    with pytest.raises(
        InputError,
        match=r"saved: a folder as open_clip saves it.*open_clip_model.safetensors as its",
    ):
        describe_clip(str(saved), None)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("{", "config.json: not JSON"),
        ([], "config.json: Input should be a valid dict"),
        ({**TINY, "embed_dim": 10**9}, "config.json: embed_dim = 1000000000"),
        (
            {key: value for key, value in TINY.items() if key != "quick_gelu"},
            "config.json: quick_gelu: Field required",
        ),
        (
            {**TINY, "vision_cfg": {**TOWERS["tiny"], "width": 4096}},
            "model.safetensors: not the weights of the network; ",
        ),
        (
            {**TINY, "text_cfg": {**TEXT, "vocab_size": 50}},
            "text_cfg.vocab_size is 50, but the vocabulary needs 49408",
        ),
        (
            {**TINY, "text_cfg": {**TEXT, "context_length": 10**9}},
            "text_cfg.context_length = 1000000000",
        ),
    ],
)
def test_a_wrong_configuration_is_refused(config: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        describe_clip(str(clip_folder(tmp_path / "folder", config)), None)
    assert words in str(error.value)


@pytest.mark.parametrize("start", ["<!DOCTYPE html>", "\n <html><head>", "<HTML>"])
@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
def test_a_web_page_saved_as_weights_is_recognised(start: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(start + "<p>404</p>" * 50)
    with pytest.raises(InputError, match=f"{name}: is an HTML page, not a file of weights"):
        describe_clip("tiny", str(tmp_path / name))


def test_no_message_advises_to_trust_a_file(tmp_path: Path) -> None:
    torch.save(
        {"weight": torch.zeros(1), "more": Attack(tmp_path / "executed")}, tmp_path / "saved.pt"
    )
    with pytest.raises(
        InputError, match=r"\(it asks for .*getattr\)|\(it asks for .*touch\)|more than tensors"
    ) as error:
        read_checkpoint(tmp_path / "saved.pt")
    assert "weights_only" not in str(error.value)
    torch.save({"state_dict": {"weight": 3}}, tmp_path / "number.pt")
    with pytest.raises(InputError, match="holds weight, which is no tensor"):
        describe_clip("tiny", str(tmp_path / "number.pt"))
