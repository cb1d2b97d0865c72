"""The witness of a text: the user's own model on the accepted tokens, in one call without cache or window."""

from __future__ import annotations

from collections.abc import Hashable

import torch
from torch import Tensor

from forerun.engine.witness import COARSEST_AGREEMENT, Witness, WitnessMemory
from forerun.sequence.autoregressive.choice import TokenChoice
from forerun.sequence.autoregressive.own_loop import Decoding, ReplicaRefused
from forerun.sequence.autoregressive.token_cache import TokenCache, compute_logits
from forerun.sequence.autoregressive.tokens import find_ended, score_steps

AGREED_TEXTS = WitnessMemory()

MAX_WITNESSED_SCORES = 2**26  # numbers of float32: 256 MB, twice over while they are compared
TIE_ROUNDINGS = 4.0  # by how many roundings of its dtype a logit may move with the width of a pass


@torch.no_grad()
def witness_tokens(
    decoding: Decoding,
    tokens: Tensor,
    *,
    choice: TokenChoice,
    witness: Witness,
    known_cache: TokenCache | None,
) -> int:
    """Return at how many steps the user's own model chose the accepted tokens.

    One call over the whole of the text answers for all its steps, or for the last ones where their scores would need
    too much memory. Where texts like this one have agreed before, one token is computed alone, as the loop of
    `model.generate` would.

    Args:
        decoding: the model, and how its own `generate` calls it.
        tokens: int64 `(N, L)`, the prompts and the accepted tokens.
        choice: how a token follows from its scores.
        witness: how far two logits may differ and still be a tie within rounding.
        known_cache: of the run, where texts like this one have agreed before; else None.

    Raises:
        ReplicaRefused: it chose others.
    """
    if known_cache is None:
        steps = _list_steps(decoding, tokens)
        logits = compute_logits(decoding, tokens[:, :-1], len(steps))
    else:
        steps = _draw_step(decoding, tokens, witness)
        logits = known_cache(tokens[:, : decoding.length + int(steps)], 1)
    scores = score_steps(decoding, logits, steps, tokens, choice=choice)
    accepted = tokens[:, decoding.length + steps]
    has_ended = find_ended(tokens[:, decoding.length :], decoding.ends)[:, steps]
    leads = scores.amax(-1) - scores.gather(-1, accepted.unsqueeze(-1)).squeeze(-1)
    is_other = (scores.argmax(-1) != accepted) & ~has_ended
    if bool(is_other.any()):
        lead = float(leads[is_other].max())
        step = int(steps[is_other.any(0)][0])
        is_tie = lead <= _tie_threshold(decoding, logits, witness)
        raise ReplicaRefused(
            f"at new token {step} the model itself, called on the accepted text, chooses another by {lead:.2g} in its "
            "logits",
            is_tie=is_tie,
        )
    return len(steps)


def describe_tie(gap: float, largest_logit: float, dtype: torch.dtype) -> str | None:
    """Return what to say of a text in which two tokens were as good as each other; None where none were."""
    if gap > TIE_ROUNDINGS * torch.finfo(dtype).eps * largest_logit:
        return None
    return (
        f"The two best tokens were once as close as {gap:.2g} in their logits, a tie within rounding of {dtype}: "
        "model.generate may choose the other; write window=1 to round as it does."
    )


def name_configuration(decoding: Decoding, count: int, *, use_cache: bool) -> Hashable:
    """Return what is the same for texts that are decoded alike, weights aside.

    A model that was changed from outside, by hooks or another `forward`, is like no other.
    """
    kinds: list[object] = []
    for module in decoding.model.modules():
        kinds.append(type(module))
        if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
            kinds.append(object())
    parameter = next(decoding.model.parameters(), decoding.prompts)
    length = (decoding.length + count).bit_length()
    is_masked = decoding.keywords.get("attention_mask") is not None
    settings = (repr(decoding.model.config), len(decoding.prompts), length, is_masked, use_cache)
    return tuple(kinds), settings, parameter.dtype, parameter.device


def _list_steps(decoding: Decoding, tokens: Tensor) -> Tensor:
    """Return the steps that are witnessed, ascending, int64 `(W,)`."""
    count = tokens.shape[1] - decoding.length
    vocabulary = decoding.model.config.get_text_config().vocab_size
    width = MAX_WITNESSED_SCORES // (len(tokens) * vocabulary)
    first = count - min(count, max(1, width))
    return torch.arange(first, count, device=tokens.device)


def _draw_step(decoding: Decoding, tokens: Tensor, witness: Witness) -> Tensor:
    """Return one step drawn at random, int64 `(1,)`."""
    count = tokens.shape[1] - decoding.length
    chosen = witness.choose_steps(count, known_to_agree=True)
    return torch.tensor([chosen[len(chosen) // 2]], device=tokens.device)


def _tie_threshold(decoding: Decoding, logits: Tensor, witness: Witness) -> float:
    """Return by how much two logits may differ and still be a tie within rounding."""
    eps = torch.finfo(decoding.model.dtype).eps
    share = min(witness.roundings * eps, COARSEST_AGREEMENT)
    return share * float(logits.abs().max())
