"""The stack of blocks in any causal language model: found, recorded and replayed.

A decoder is a list of blocks that hand one hidden state on, the *residual stream*. Blocks are
found by what they are, not by what their architecture calls them. Replaying recorded outputs, one
of them changed, shows what the model makes of the change through its own norm, projections, scaling
and output head, so that nothing of an architecture need be known or copied here.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from palimpsest.core.errors import ModelError
from palimpsest.core.models import all_logits, bare

__all__ = ["Recording", "blocks", "hidden", "recorded", "replayed", "skippable", "with_hidden"]


def blocks(model: nn.Module) -> list[nn.Module]:
    """The decoder blocks of a model, first to last.

    They are the outermost ``nn.ModuleList`` that is as long as the config says the model is deep
    and whose members are made of parts (a list of norms or of projections is not it). In a model
    that also sees or hears, the list of the language model is meant.

    Raises:
        ModelError: there is no such list, or more than one.
    """
    network = bare(model)
    depth = getattr(network.config.get_text_config(decoder=True), "num_hidden_layers", None)
    lists = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.ModuleList)
        and len(module) == depth
        and all(any(True for _ in member.children()) for member in module)
    }
    # The experts inside a block may happen to be as many as the blocks.
    found = {
        name: module
        for name, module in lists.items()
        if not any(name.startswith(f"{outer}.") for outer in lists)
    }
    if len(found) > 1:
        spoken = set(map(id, network.get_decoder().modules()))
        found = {name: module for name, module in found.items() if id(module) in spoken}
    if len(found) == 1:
        return list(*found.values())
    listed = ", ".join(found or lists) or "none"
    raise ModelError(
        f"The blocks of this {type(network).__name__} cannot be told. Its config says it has "
        f"{depth} layers, so exactly one list of {depth} blocks was expected; found: {listed}. "
        "Looking inside needs a decoder whose blocks stand in one nn.ModuleList; use another model."
    )


def hidden(output: Any) -> Tensor:
    """The hidden state in what a block returned: the tensor, or the first part of a tuple."""
    state = output[0] if isinstance(output, tuple) and output else output
    if not isinstance(state, Tensor) or state.dim() < 3:
        raise ModelError(
            "A block of this model returned no hidden state of the form [texts, tokens, width], "
            "so its inside cannot be read. Use a model whose blocks hand one on."
        )
    return state


def with_hidden(output: Any, state: Tensor) -> Any:
    """What a block returned, with another hidden state."""
    return (state, *output[1:]) if isinstance(output, tuple) else state


@dataclass
class Recording:
    """What passed through the blocks in the last forward pass.

    Attributes:
        entry: the hidden state that entered the first block: embeddings, scaled and normed as the
            model does it.
        outputs: what each block returned.
    """

    entry: Tensor | None
    outputs: list[Any]

    def states(self) -> list[Tensor]:
        """depth + 1 hidden states [..., B, T, H]: before the first block, after each block.

        Raises:
            ModelError: the model did not run all of its blocks.
        """
        if self.entry is None or any(output is None for output in self.outputs):
            raise ModelError(
                "This model did not run each of its blocks, so its depth has no meaning. Use a "
                "model that reads every text with all of its layers."
            )
        return [self.entry, *map(hidden, self.outputs)]


@contextmanager
def recorded(stack: Sequence[nn.Module]) -> Iterator[Recording]:
    """Record the forward passes inside the block of code; a later pass overwrites an earlier."""
    recording = Recording(None, [None] * len(stack))

    def enter(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        recording.entry = hidden(given if given else named.get("hidden_states"))

    def leave(place: int) -> Any:
        def hook(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            recording.outputs[place] = output

        return hook

    with ExitStack() as hooks:
        hooks.callback(stack[0].register_forward_pre_hook(enter, with_kwargs=True).remove)
        for place, block in enumerate(stack):
            hooks.callback(block.register_forward_hook(leave(place)).remove)
        yield recording


@contextmanager
def replayed(stack: Sequence[nn.Module], outputs: Sequence[Any], skip: bool) -> Iterator[None]:
    """Let blocks return what is given instead of what they compute.

    Args:
        stack: the model's blocks.
        outputs: for each block what it shall return, None for what it computes.
        skip: whether a block that shall return something given runs at all (:func:`skippable`).
    """

    def stand_in(forward: Any, output: Any) -> Any:
        def replay(*given: Any, **named: Any) -> Any:
            if not skip:
                forward(*given, **named)
            return output

        return replay

    def put_back(block: nn.Module, own: Any) -> None:
        if own is None:
            del block.forward
        else:  # something else, as a device map, had replaced the class's method already
            block.forward = own

    with ExitStack() as changes:
        for block, output in zip(stack, outputs, strict=True):
            if output is not None:
                changes.callback(put_back, block, vars(block).get("forward"))
                block.forward = stand_in(block.forward, output)
        yield


def skippable(model: nn.Module, stack: Sequence[nn.Module]) -> bool:
    """Whether a block need not run where its output is known, measured on the model itself.

    It must run where it also leaves something for a later block: in some models late layers take
    over keys and values of earlier ones.
    """
    rows = model.get_input_embeddings().weight.shape[0]
    device = model.get_input_embeddings().weight.device
    ids = torch.arange(8, device=device).reshape(2, 4) % rows
    with recorded(stack) as known:
        expected = all_logits(model, ids).float()
    known.states()
    try:
        with replayed(stack, [*known.outputs[:-1], None], skip=True):
            found = all_logits(model, ids).float()
    except Exception:  # whatever a block raises that misses what another should have left it
        return False
    return torch.allclose(found, expected, rtol=1e-2, atol=1e-3)
