"""Claim: text is written in fewer passes of a language model, with the tokens of the ordinary loop.

Two small Llamas (4 layers of 128, 0.8 M parameters), trained here in a minute or two each on letters of captions of
scenes. One has seen captions one after another, where every caption is new; the other has seen each of them twice, so
that half of what it writes stood there before. Each continues prompts of some
250 letters, one at a time, by 200 letters.

`passes` are calls of the model one after another, the one that reads the prompt among them; `positions` are tokens that
went through it besides the prompt; means over the prompts. `equal` says whether all tokens are those of the ordinary
loop (for samples: of the loop with the same noise). Time is of all three prompts, median of three runs in turn, all
overheads counted. Rivals: `model.generate`, its `prompt_lookup_num_tokens`, and a bare loop with a cache.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from harness import medians_in_turn, table, write_result
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, logging

from forerun import Picard, Sequential
from forerun.engine.methods import Method
from forerun.sequence import Continuation, Fill, Greedy, Gumbel, Lookup, Reguess, Repeat, TokenChoice, generate
from forerun.worlds.scenes.captions import draw_scene, write_caption

LETTERS = "\nabcdefghijklmnopqrstuvwxyz "
NEW, PROMPTS, REPEATS = 200, 3, 3


@dataclass(frozen=True)
class Rival:
    """Our own ways to guess."""

    name: str
    method: Method
    guess: Continuation


RIVALS = [
    Rival("Picard, Fill", Picard(), Fill()),
    Rival("Picard, Repeat", Picard(), Repeat()),
    Rival("Picard, Lookup", Picard(), Lookup()),
    Rival("Reguess(Lookup)", Reguess(Lookup()), Lookup()),
    Rival("Reguess(Lookup(6))", Reguess(Lookup(6)), Lookup(6)),
]


def text(times: int, letters: int, seed: int) -> Tensor:
    """Captions, each said `times` times, as letters."""
    dice, said = random.Random(seed), ""
    while len(said) < letters:
        said += (write_caption(draw_scene(dice), dice) + "\n") * times
    return torch.tensor([LETTERS.index(letter) for letter in said[:letters]])


def trained(times: int, steps: int = 300) -> LlamaForCausalLM:
    """A model of captions said `times` times."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(LETTERS), hidden_size=128, intermediate_size=352, num_hidden_layers=4, num_attention_heads=4,
            max_position_embeddings=1024, bos_token_id=None, eos_token_id=None, pad_token_id=None,
        )
    )  # fmt: skip
    data, dice = text(times, 200_000, seed=0), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        places = torch.randint(len(data) - 161, (8,), generator=dice)
        batch = torch.stack([data[place : place + 160] for place in places])
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            print(times, step + 1, round(loss.item(), 3), flush=True)
    model.generation_config.pad_token_id = 0
    return model.eval().requires_grad_(False)


def prompts(times: int) -> list[Tensor]:
    """Text that was not trained on, each ending with a line."""
    found = []
    for seed in range(PROMPTS):
        letters = text(times, 250, seed=100 + seed)
        end = int((letters == 0).nonzero()[-1]) + 1
        found.append(letters[:end].unsqueeze(0))
    return found


@torch.no_grad()
def bare(model: Any, ids: Tensor) -> Tensor:
    """The ordinary greedy loop, with a cache and nothing else."""
    cache, new, said = None, ids, [ids]
    for _ in range(NEW):
        name = "cache" if cache is not None else "use_cache"
        found = model(input_ids=new, **({"use_cache": True} | ({name: cache} if cache is not None else {})))
        cache = getattr(found, "cache", None) or found.past_key_values
        new = found.logits[:, -1:].argmax(-1)
        said.append(new)
    return torch.cat(said, 1)


def theirs(model: Any, ids: Tensor, **options: Any) -> Tensor:
    """`model.generate`, greedy unless told otherwise."""
    options = {"do_sample": False} | options
    return model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, **options)


def passes(model: Any, run: Callable[[Tensor], Tensor], given: list[Tensor]) -> tuple[float, float, list[Tensor]]:
    """Mean calls of the model, mean positions besides the prompt, and what was written."""
    seen: list[int] = []
    hook = model.register_forward_pre_hook(
        lambda _, __, named: seen.append(named["input_ids"].shape[1]), with_kwargs=True
    )
    found = [run(ids) for ids in given]
    hook.remove()
    positions = sum(seen) - sum(ids.shape[1] for ids in given)
    return len(seen) / len(given), positions / len(given), found


def every(run: Callable[[Tensor], Tensor], given: list[Tensor]) -> None:
    """All prompts, one after another."""
    for ids in given:
        run(ids)


def measured(model: Any, runs: Mapping[str, Callable[[Tensor], Tensor]], given: list[Tensor], base: str) -> str:
    """One table; every run is compared with the run called `base`, in tokens and in time."""
    counted = {name: passes(model, run, given) for name, run in runs.items()}
    each = {name: partial(every, run, given) for name, run in runs.items()}
    seconds = medians_in_turn(each, REPEATS)
    rows = []
    for name, (calls, positions, found) in counted.items():
        equal = all(torch.equal(a, b) for a, b in zip(found, counted[base][2], strict=True))
        rows.append({
            "run": name, "passes": round(calls, 1), "positions": round(positions), "equal": "yes" if equal else "no",
            "seconds": seconds[name], f"times as fast as {base}": seconds[base] / seconds[name],
        })  # fmt: skip
        print(rows[-1], flush=True)
    return table(rows)


def ours(model: Any, rival: Rival, window: int, choice: TokenChoice) -> Callable[[Tensor], Tensor]:
    """A run of `generate`; the pass in which it looks whether the model looks ahead is counted."""
    return lambda ids: (
        generate(
            model, ids, max_new_tokens=NEW, window=window, choice=choice, guess=rival.guess, method=rival.method
        ).tokens
    )


def greedy(model: Any, times: int) -> str:
    """Ours at two widths against the rivals."""
    runs: dict[str, Callable[[Tensor], Tensor]] = {
        "bare loop": lambda ids: bare(model, ids),
        "model.generate": lambda ids: theirs(model, ids),
    }
    for width in (7, 15):
        runs[f"model.generate, prompt_lookup_num_tokens={width}"] = lambda ids, width=width: theirs(  # type: ignore[misc]
            model, ids, prompt_lookup_num_tokens=width
        )
    for rival in RIVALS:
        for window in (8, 16):
            runs[f"{rival.name}, window {window}"] = ours(model, rival, window, Greedy())
    return measured(model, runs, prompts(times), "bare loop")


def sampled(model: Any, times: int) -> str:
    """Samples with noise that belongs to the step, against the same in order."""
    runs: dict[str, Callable[[Tensor], Tensor]] = {}
    for temperature in (0.5, 1.0):
        choice = Gumbel(0, temperature)
        runs[f"in order, {temperature}"] = ours(model, Rival("", Sequential(), Fill()), 1, choice)
        for rival in (RIVALS[1], RIVALS[3]):
            runs[f"{rival.name}, window 8, {temperature}"] = ours(model, rival, 8, choice)
    parts = []
    for temperature in (0.5, 1.0):
        chosen = {name: run for name, run in runs.items() if name.endswith(str(temperature))}
        parts.append(measured(model, chosen, prompts(times), f"in order, {temperature}"))
    return "\n\n".join(parts)


def main() -> None:
    """All tables."""
    logging.set_verbosity_error()
    sections = {"What is measured": __doc__ or ""}
    for times, name in ((1, "captions said once"), (2, "captions said twice")):
        model = trained(times)
        sections[f"Greedy, {name}"] = greedy(model, times)
        sections[f"Sampled at two temperatures, {name}"] = sampled(model, times)
        said = theirs(model, prompts(times)[0])[0, -NEW:]
        sections[f"What it wrote, {name}"] = "```\n" + "".join(LETTERS[k] for k in said.tolist()) + "\n```"
    write_result("text_needs_fewer_passes", sections)


if __name__ == "__main__":
    main()
