"""ImageNet ResNets in torchvision's layout: their files, and what the networks take from them.

Step-1's image tower may start from one (Table 2, "Ours*"), and the release's boundary network
reads a frozen ResNet-50. Nothing is downloaded.
"""

import re
from pathlib import Path

import torch
from open_clip.model import CLIP
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn
from torchvision.models import ResNet, ResNet50_Weights, resnet50

from tris_core.clip.names import SUFFIX
from tris_core.runtime.errors import InputError
from tris_core.runtime.files import sha256_of_file
from tris_core.weights.archives import read_checkpoint
from tris_core.weights.clip_spec import ImagenetFile
from tris_core.weights.fitting import as_float32, fitted, no_such_network
from tris_core.weights.hub import local_file

TORCHVISION = "torchvision"
RESNET50_CHANNELS = (64, 256, 512, 1024, 2048)  # of its stem and its four stages
_STAGE = re.compile(r"layer[1-4]\.\d+\.(conv[123]|bn[123]|downsample\.[01])\.")
_UNUSED = ("conv1", "bn1", "fc")  # of the file where CLIP's own stem is kept
_COUNTER = "num_batches_tracked"  # absent from older files


def describe_imagenet(location: str) -> ImagenetFile:
    """A file of weights with its hash.

    Args:
        location: a path, hf://owner/repo/file, or `torchvision`: the first weights of its
            ResNet-50 (IMAGENET1K_V1), in torch's cache.

    Raises:
        InputError: it is not on this machine.
    """
    return ImagenetFile(file=location, sha256=sha256_of_file(_find(location)))


def _find(location: str) -> Path:
    path = local_file(location)
    if location == TORCHVISION:
        name = ResNet50_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1]
        path = Path(torch.hub.get_dir()) / "checkpoints" / name
        if not path.is_file():
            raise InputError(
                f"{path}: no such file, and nothing is downloaded unasked; get it with `python -c "
                "\"from torchvision.models import resnet50; resnet50(weights='IMAGENET1K_V1')\"`, "
                "or set prepare_clip.imagenet_weights to the path of a copy"
            )
    if not path.is_file():
        raise InputError(f"{path}: no such file; download it or correct the path")
    return path


def _unchanged(described: ImagenetFile) -> Path:
    path = _find(described.file)
    if sha256_of_file(path) != described.sha256:
        raise InputError(
            f"{path}: not the file that prepare_clip saw; run `dvc repro -f prepare_clip`"
        )
    return path


def load_resnet50(described: ImagenetFile) -> ResNet:
    """The described ResNet-50 in float32, without its classifier.

    Raises `InputError` if the file has changed or is of another network.
    """
    path = _unchanged(described)
    with torch.device("meta"):
        net = resnet50(weights=None)
    net.fc = nn.Identity()
    state = {key: value for key, value in read_checkpoint(path).items() if key[:3] != "fc."}
    counters = {key: torch.tensor(0) for key in net.state_dict() if key.endswith(_COUNTER)}
    with no_such_network(path):
        net.load_state_dict(fitted({**counters, **state}, net, path), assign=True)
    return net


def imagenet_tower(clip: CLIP, described: ImagenetFile) -> dict[str, Tensor]:
    """State dict of the image tower with the stages of an ImageNet ResNet (Table 2, "Ours*").

    Convolutions and batch norms of layer1 to layer4 are taken from the file. The rest stays
    random, as in `clip`: the stem, three convolutions where torchvision has one, and the attention
    pool, through which no map passes. The file's conv1, bn1 and fc are not used; any other key is
    refused. Older files have no `num_batches_tracked`.

    Strides differ too, which no weight shows: CLIP pools where torchvision's convolutions stride.
    """
    tower: dict[str, Tensor] = clip.visual.state_dict()
    if not isinstance(clip.visual, ModifiedResNet):
        raise InputError(
            f"prepare_clip.visual_init: imagenet needs a ResNet tower such as RN50{SUFFIX}"
        )
    path = _unchanged(described)
    state = read_checkpoint(path)
    stages = {key: value for key, value in state.items() if _STAGE.match(key)}
    wanted = {key for key in tower if _STAGE.match(key)}
    absent = wanted - stages.keys()
    beyond = {key for key in state.keys() - stages.keys() if key.split(".")[0] not in _UNUSED}
    missing = sorted(key for key in absent if not key.endswith(_COUNTER))
    unexpected = sorted((stages.keys() - wanted) | beyond)
    other = sorted(key for key in wanted & stages.keys() if stages[key].shape != tower[key].shape)
    if missing or unexpected or other:
        raise InputError(
            f"{path}: not torchvision's ResNet of this tower's depth and width; "
            f"missing {missing[:3]}, unexpected {unexpected[:3]}, of another shape {other[:3]}"
        )
    return {**tower, **as_float32(stages)}
