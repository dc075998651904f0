"""The stages as dvc.yaml declares them."""

from ruamel.yaml import YAML

from tests.support.closure import ROOT

STAGES = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
NAMES = sorted(STAGES)
