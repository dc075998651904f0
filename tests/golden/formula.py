"""Deterministic tensors computed from names: both sides of a parity test build the same values.

tensor(name, shape): float32 standard normal draws from numpy's PCG64, seeded with crc32(name).
weights(spec): a state dict {key: float32 array} for a spec {key: shape}. The arrays are scaled so
    that activations stay O(1).
"""

import zlib

import numpy as np


def tensor(name, shape):
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    return rng.standard_normal(tuple(shape), dtype=np.float32)


def weight(key, shape):
    shape = tuple(shape)
    n = tensor("w:" + key, shape)
    leaf = key.rsplit(".", 1)[-1]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "logit_scale":
        return np.full(shape, np.log(1 / 0.07), np.float32)
    if leaf == "running_var":
        return (1.0 + 0.1 * np.abs(n)).astype(np.float32)
    if leaf == "running_mean":
        return (0.1 * n).astype(np.float32)
    if leaf in ("bias", "in_proj_bias"):
        return (0.02 * n).astype(np.float32)
    if leaf == "weight" and len(shape) == 1:  # norm scales and PReLU slopes
        if shape == (1,):
            return np.full(shape, 0.25, np.float32)
        return (1.0 + 0.1 * n).astype(np.float32)
    if "embedding" in key and "token" in key:
        return (0.05 * n).astype(np.float32)
    if "positional_embedding" in key:
        return (0.05 * n).astype(np.float32)
    if leaf == "text_projection" or leaf == "proj":  # used as x @ W: fan-in is the first axis
        return (n / np.sqrt(shape[0])).astype(np.float32)
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else shape[0]
    return (n / np.sqrt(fan_in)).astype(np.float32)


def weights(spec):
    return {k: weight(k, s) for k, s in spec.items()}
