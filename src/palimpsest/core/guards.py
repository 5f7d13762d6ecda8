"""What would slow or break training on a GPU, found on a machine without one.

Two mistakes cost most there, and neither shows on a CPU:

- a **host read**: Python asks for a number (``.item()``, ``if tensor``, ``nonzero``, a Boolean
  index) and the GPU's queue runs dry while it waits for the answer. :class:`HostReads` counts them;
- a tensor **made on the wrong device**: ``torch.zeros(n)`` without ``device=`` stands on the host,
  and mixing it with the model's tensors fails, or copies at every step. :class:`DeviceWatch` finds
  them by running on the *meta* device, which computes shapes and no numbers: to a step on
  meta tensors the CPU is as foreign as it is to a step on a GPU, and nothing can be read back.

:func:`assert_gpu_safe` puts a whole training step, with any loss, through both.
"""

import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from palimpsest.core.text import Batch, Row, prepare
from palimpsest.core.training import Loss, Recipe, Trainer, causal_lm_loss, step_lines, trainable

if TYPE_CHECKING:
    from palimpsest.core.models import LanguageModel

# Operators whose result's value or shape the host must know before it can go on.
_READS = {
    "aten::_local_scalar_dense",  # item(), bool(), int(), float(), tolist() of a GPU tensor
    "aten::_linalg_check_errors",
    "aten::bincount",
    "aten::equal",
    "aten::is_nonzero",
    "aten::masked_select",
    "aten::nonzero",
    "aten::_unique",
    "aten::_unique2",
    "aten::unique_consecutive",
    "aten::unique_dim",
}
_INDEXED = {"aten::index", "aten::index_put", "aten::index_put_"}
_REPEATED = "aten::repeat_interleave"
_COPIES = {"aten::_to_copy", "aten::copy_"}
# Methods that on the CPU are done without any operator a dispatch mode could see.
_SILENT_READS = {
    Tensor.tolist: "tolist",
    Tensor.numpy: "numpy",
    Tensor.__array__: "numpy",
    Tensor.cpu: "cpu",
}
_TORCH = str(Path(torch.__file__).parent)


@dataclass(frozen=True)
class Finding:
    """One thing found: the operator, what is wrong with it, and the lines that led there."""

    operator: str
    reason: str
    where: str

    def __str__(self) -> str:
        return f"{self.operator} ({self.reason}) at {self.where}"


class HostReads(TorchDispatchMode):
    """Counts, within a ``with`` block, how often the host would wait for the device.

    ``found`` lists the reads. Copies to the device and work on the device are no reads.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Finding] = []
        self._functions = _SilentReads(self.found)

    def __len__(self) -> int:
        return len(self.found)

    def __enter__(self) -> "HostReads":
        self._functions.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._functions.__exit__(*error)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        reason = _read_reason(func, args, kwargs)
        if reason:
            self.found.append(Finding(str(func), reason, _where()))
        return func(*args, **kwargs)


class _SilentReads(TorchFunctionMode):
    def __init__(self, found: list[Finding]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = _SILENT_READS.get(func) if isinstance(func, _HASHABLE) else None
        # On the CPU, ``to(other.device)`` names the CPU too; written out, it is meant.
        if name is None and func is Tensor.to and "cpu" in _strings(args[1:], kwargs):
            name = "to"
        if name is not None:
            self.found.append(Finding(f"Tensor.{name}", "copied to the host", _where()))
        return func(*args, **kwargs)


_HASHABLE = (types.MethodDescriptorType, types.FunctionType, types.WrapperDescriptorType)


def _strings(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    return [value for value in (*args, *kwargs.values()) if isinstance(value, str)]


def _read_reason(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """Why an operator is a host read, if it is one."""
    name = func._schema.name
    if name in _READS:
        return "the host waits for a value"
    if name in _INDEXED and any(
        isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1]
    ):
        return "the host waits for the number of true values"
    if name == _REPEATED and kwargs.get("output_size") is None:
        return "the host waits for the sum of the repeats"
    if name in _COPIES:
        source, target = _copied(name, args, kwargs)
        if target.type == "cpu" and source.type != "cpu":
            return "copied to the host"
    return None


def _copied(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[torch.device, torch.device]:
    """Source and target of a copy."""
    if name == "aten::copy_":
        return args[1].device, args[0].device
    return args[0].device, torch.device(kwargs.get("device") or args[0].device)


class DeviceWatch(TorchDispatchMode):
    """Finds, within a ``with`` block, tensors on a device other than the model's.

    ``found`` lists operators that read values from ``device``, that mix it with host tensors (a
    number in a tensor without dimensions is allowed, as on a GPU) or that copy host tensors to it.
    A batch on its way to the device (:meth:`Batch.to`) is meant to be copied.

    Only a foreign device can show these, so the work must be done on tensors of ``device``,
    by default *meta*.
    """

    def __init__(self, device: str = "meta") -> None:
        super().__init__()
        self.device = torch.device(device)
        self.found: list[Finding] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        reason = self._reason(func, args, kwargs)
        if reason:
            self.found.append(Finding(str(func), reason, _where()))
        return func(*args, **kwargs)

    def _reason(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        ours = [tensor for tensor in tensors if tensor.device.type == self.device.type]
        name = func._schema.name
        if name in _COPIES:
            source, target = _copied(name, args, kwargs)
            if target.type == self.device.type != source.type and args[0].ndim:
                return None if _is_batch_copy() else "made on the host and copied at every step"
            return _read_reason(func, args, kwargs) if ours else None
        if not ours:
            return None
        if any(tensor.device.type != self.device.type and tensor.ndim for tensor in tensors):
            return f"a tensor on the host meets one on {self.device}"
        return _read_reason(func, args, kwargs)


def assert_gpu_safe(
    lm: "LanguageModel",
    rows: Sequence[Row],
    recipe: Recipe,
    loss: Loss = causal_lm_loss,
    *,
    steps: int = 2,
) -> None:
    """Assert that training steps read nothing back and make no tensor on the wrong device.

    Runs ``steps`` steps of ``recipe`` on copies of the model: once on the CPU, counting host reads,
    and once on the meta device.

    Args:
        lm: a small model on the CPU; it is left as it was.
        rows: what to train on.
        recipe: how; not compiled.
        loss: the loss under test. If it holds tensors or models of its own, it must have a method
            ``to(device)`` that returns it with these moved.

    Raises:
        AssertionError: something was found; the message says what and where.
    """
    recipe = replace(recipe, compile=False)
    with _stepper(lm, rows, recipe, loss, "cpu") as step, HostReads() as reads:
        for index in range(steps):
            step(index)
    assert not reads.found, _report("The host reads from the device within a step", reads.found)
    with _stepper(lm, rows, recipe, loss, "meta") as step, DeviceWatch() as watch:
        try:
            for index in range(steps):
                step(index)
        except Exception as error:
            found = watch.found or [Finding(type(error).__name__, str(error), _raised(error))]
            raise AssertionError(_report("A step works on the CPU alone", found)) from error
    assert not watch.found, _report("A step leaves the model's device", watch.found)


@contextmanager
def _stepper(
    lm: "LanguageModel", rows: Sequence[Row], recipe: Recipe, loss: Loss, device: str
) -> Iterator[Callable[[int], None]]:
    """A function that does a numbered step on ``device``, on a copy of the model."""
    if recipe.lora is not None:
        recipe = replace(recipe, lora=replace(recipe.lora, merge=False))
    store, style, pack_length = prepare(lm, rows, recipe.pack_length)
    copy = lm.copy()
    with torch.random.fork_rng(devices=[]), trainable(copy, recipe):
        model = copy.model.to(device)
        if device == "meta" and getattr(model.config, "_experts_implementation", None):
            model = model.bfloat16()  # grouped products of experts have no other meta kernel
        if hasattr(loss, "to"):
            loss = loss.to(device)
        trainer = Trainer(model.train(), store, style, recipe, 10**6, loss)
        lines = step_lines(store, replace(recipe, steps=10**6, epochs=None), pack_length)
        yield lambda index: trainer.step(index, next(lines))


def _report(what: str, found: list[Finding]) -> str:
    distinct = list(dict.fromkeys(map(str, found)))
    return f"{what}:\n  " + "\n  ".join(distinct)


def _frames(frame: types.FrameType | None) -> Iterator[types.FrameType]:
    """Frames from the innermost out, without torch's and this module's own."""
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((_TORCH, "<")) and name != __file__:
            yield frame
        frame = frame.f_back


def _where() -> str:
    """The innermost three lines of code that led here."""
    found = []
    for frame in _frames(sys._getframe(2)):
        found.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
        if len(found) == 3:
            break
    return " < ".join(found)


def _raised(error: BaseException) -> str:
    trace, last = error.__traceback__, None
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_TORCH):
            last = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return last or "an unknown place"


def _is_batch_copy() -> bool:
    codes = {Batch.to.__code__}
    return any(frame.f_code in codes for frame in _frames(sys._getframe(3)))
