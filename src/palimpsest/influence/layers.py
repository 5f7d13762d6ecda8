"""Which weights influence is measured through: linear layers, found in any architecture.

The paper reads the weights of the MLPs alone; attention, embeddings and norms count as fixed
(arXiv:2308.03296). That is the default here, and any other linear layers can be named
by pattern.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from palimpsest.core.errors import ModelError
from palimpsest.core.layers import blocks
from palimpsest.core.models import LanguageModel, bare

__all__ = ["Layer", "choose", "module_of", "own_form", "weight_form"]

# What is inside a block without being its MLP.
_NOT_MLP = re.compile(r"attn|attention|mamba|mixer|ssm|rwkv|conv", re.IGNORECASE)


@dataclass(frozen=True)
class Layer:
    """One weight matrix, as a block of the curvature.

    Attributes:
        name: of the module.
        inputs: M, the width of what goes in; with a bias one more, a constant 1.
        outputs: P, the width of what comes out. Gradients of the block are P x M.
        bias: whether the last of the M columns is a bias.
        transposed: the module stores its weight M x P (``Conv1D`` of GPT-2).
    """

    name: str
    inputs: int
    outputs: int
    bias: bool
    transposed: bool


def choose(lm: LanguageModel, patterns: Sequence[str] = ()) -> tuple[Layer, ...]:
    """The layers that influence is measured through.

    Args:
        lm: the model.
        patterns: of module names, as in a shell (``*.mlp.*``, ``*``); none: the layers of the MLPs,
            which are the linear layers of the blocks that stand in no attention and no state-space
            part. Frozen ones are passed over, since training never moved them.

    Raises:
        ModelError: nothing matches (the message lists what there is); or a pattern names a layer
            that is frozen, or that shares its weight with another module.
    """
    network = bare(lm.model)
    linear = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }
    if patterns:
        chosen = {
            name: module
            for name, module in linear.items()
            if any(fnmatchcase(name, pattern) for pattern in patterns)
        }
        _check_frozen(chosen, lm)
    else:
        names = _mlp_names(network, linear)
        chosen = {name: linear[name] for name in names if linear[name].weight.requires_grad}
    if not chosen:
        wanted = f"the pattern {', '.join(patterns)}" if patterns else "an MLP that was trained"
        raise ModelError(
            f"No linear layer of {lm.name} matches {wanted}. It has "
            f"{_listed(linear) or 'no linear layer at all'}. Name some of these by pattern."
        )
    _check_shared(network, chosen, lm)
    return tuple(_layer(name, module) for name, module in chosen.items())


def module_of(lm: LanguageModel, layer: Layer) -> nn.Module:
    """The module of a layer."""
    return bare(lm.model).get_submodule(layer.name)


def weight_form(layer: Layer, block: Tensor) -> dict[str, Tensor]:
    """A block [..., P, M] in the form of the module's parameters: ``weight``, and ``bias`` if it
    has one."""
    weight = block[..., :-1] if layer.bias else block
    parts = {"weight": weight.transpose(-1, -2) if layer.transposed else weight}
    return parts | ({"bias": block[..., -1]} if layer.bias else {})


def own_form(layer: Layer, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The block [P, M] of a module's parameters or of their gradients."""
    block = weight.T if layer.transposed else weight
    return block if bias is None else torch.cat([block, bias[:, None]], dim=1)


def _layer(name: str, module: nn.Module) -> Layer:
    transposed = isinstance(module, Conv1D)
    outputs, inputs = module.weight.shape[::-1] if transposed else module.weight.shape
    bias = getattr(module, "bias", None) is not None
    return Layer(name, int(inputs) + bias, int(outputs), bias, transposed)


def _mlp_names(network: nn.Module, linear: Iterable[str]) -> list[str]:
    """Linear layers of the blocks, without those in parts whose name or class speaks of attention
    or of a state space."""
    modules = dict(network.named_modules())
    stack = {id(block) for block in blocks(network)}
    found = []
    for name in linear:
        parts = name.split(".")
        path = [".".join(parts[: end + 1]) for end in range(len(parts))]
        place = next((at for at, one in enumerate(path) if id(modules[one]) in stack), None)
        if place is None:
            continue
        inside = path[place + 1 :]
        if not any(
            _NOT_MLP.search(one.rpartition(".")[2])
            # The linear layer's own class may be called Conv1D.
            or (one != name and _NOT_MLP.search(type(modules[one]).__name__))
            for one in inside
        ):
            found.append(name)
    return found


def _check_frozen(chosen: dict[str, nn.Module], lm: LanguageModel) -> None:
    frozen = [name for name, module in chosen.items() if not module.weight.requires_grad]
    if frozen:
        raise ModelError(
            f"{_some(frozen)} of {lm.name} is frozen: no training row has moved its weight, so "
            "none has influence through it. Leave it out of the pattern, or set requires_grad if "
            "it was trained."
        )


def _check_shared(network: nn.Module, chosen: dict[str, nn.Module], lm: LanguageModel) -> None:
    """A weight that stands in two places has one gradient, the sum of both; a block of one place
    would be half of it."""
    places: dict[int, list[str]] = {}
    for name, module in network.named_modules():
        for own in module._parameters.values():
            if own is not None:
                places.setdefault(id(own), []).append(name or type(network).__name__)
    for name, module in chosen.items():
        others = [one for one in places[id(module.weight)] if one != name]
        if others:
            raise ModelError(
                f"The weight of {name} in {lm.name} is also that of {_some(others)} (tied), so "
                "its gradient is not one layer's. Choose layers whose weights are their own."
            )


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"


def _listed(names: Iterable[str]) -> str:
    """Names with the numbers of blocks as a star, each once."""
    return ", ".join(dict.fromkeys(re.sub(r"\.\d+\.", ".*.", name) for name in names))
