"""What can be trained: leaves that an optimiser holds, with a memory of their own; all else is refused by its label."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor


def require_trainable(
    labels: Sequence[str],
    tensors: Sequence[Tensor],
    optimized: Sequence[Tensor],
) -> None:
    """Refuse tensors that cannot be trained.

    Args:
        labels: what messages call the tensors.
        tensors: what the loop was given.
        optimized: what the optimisers hold.

    Raises:
        TypeError: a tensor is not of real floating-point numbers.
        ValueError: no optimiser holds it, it is frozen or computed, or two share their memory; or an optimiser holds
            another one.
    """
    if not tensors:
        raise ValueError(
            "the optimiser holds no tensor of params; build it over the same ones: "
            "Loop(params, torch.optim.Adam(params, 1e-2), loss)"
        )
    optimized_ids = {id(tensor) for tensor in optimized}
    for label, tensor in zip(labels, tensors, strict=True):
        _require_leaf(label, tensor, is_optimized=id(tensor) in optimized_ids)
    _require_no_strangers(tensors, optimized)
    _require_own_memory(labels, tensors)


def _require_leaf(
    label: str,
    tensor: Tensor,
    *,
    is_optimized: bool,
) -> None:
    if not is_optimized:
        raise ValueError(
            f"the optimiser does not hold {label}; build it over all of params, or hand {label} to the loss by a "
            "closure"
        )
    if not tensor.is_leaf:
        raise ValueError(
            f"{label} was computed from other tensors, so that no optimiser can train it; pass {label}.detach()"
            ".requires_grad_(), or the tensors that it comes from"
        )
    if not tensor.requires_grad:
        raise ValueError(
            f"{label} is frozen (requires_grad=False); call {label}.requires_grad_(), or leave it out of params and of "
            "the optimiser and hand it to the loss by a closure"
        )
    if not tensor.is_floating_point():
        raise TypeError(f"{label} is {tensor.dtype}; carry torch.view_as_real(z) of complex numbers instead")


def _require_no_strangers(tensors: Sequence[Tensor], optimized: Sequence[Tensor]) -> None:
    """Refuse optimisers that would move tensors besides those of the loop."""
    loop_ids = {id(tensor) for tensor in tensors}
    strangers = [tensor for tensor in optimized if id(tensor) not in loop_ids and tensor.requires_grad]
    if strangers:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in strangers[:3])
        raise ValueError(
            f"the optimiser holds {len(strangers)} tensor(s) that are not among params, of shape {shapes}; pass "
            "all that it holds: Loop([params, others], optimizer, loss)"
        )


def _require_own_memory(labels: Sequence[str], tensors: Sequence[Tensor]) -> None:
    """Refuse a memory that would be trained twice."""
    spans = []
    for label, tensor in zip(labels, tensors, strict=True):
        if tensor.numel():
            start = tensor.data_ptr()
            spans.append((start, start + _span_bytes(tensor), label))
    for (_, end, label), (start, _, other) in pairwise(sorted(spans)):
        if start < end:
            raise ValueError(
                f"{label} and {other} share their memory, so that a step of one moves the other; pass it once, or "
                ".clone() one; tied weights belong inside a module, which names them once"
            )


def _span_bytes(tensor: Tensor) -> int:
    """Return the bytes from the first element to the end of the last."""
    offsets = [(size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)]
    return (sum(offsets) + 1) * tensor.element_size()
