"""What changes speed and nothing else; no stage depends on it."""

from typing import ClassVar, Literal

from pydantic import Field

from tris_core.params.base import Section


class RuntimeParams(Section):
    """`processes` to spread trainings and per-image work over, on this machine: one per GPU, or of a CPU.

    `device`: `auto` takes a GPU that no other run uses, and waits for one, where there are GPUs at all.

    `threads` of torch and `workers` for CPU work, of each process; 0 means its share of the cores. `checkpoint_seconds`: how
    often a training keeps what it needs to go on after an interruption. `logger`: where losses go besides metrics/curves while
    a training runs, see `tris_core.training.loggers`.
    """

    key: ClassVar[str] = "runtime"

    processes: int = Field(ge=1)
    device: Literal["auto", "cpu", "cuda"]
    threads: int = Field(ge=0)
    workers: int = Field(ge=0)
    checkpoint_seconds: float = Field(ge=0)
    logger: Literal["csv", "tensorboard", "wandb"]
