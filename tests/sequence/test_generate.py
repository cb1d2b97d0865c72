"""Text, several tokens a pass: the tokens of transformers' own loop, for several families of models."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    CohereConfig,
    FalconConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    Olmo2Config,
    OPTConfig,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
)  # fmt: skip

from forerun import Picard, Sequential, Sliding, Status
from forerun.engine.methods import GaussSeidel, Jacobi, JacobiGaussSeidel, PicardGaussSeidel
from forerun.engine.numerics.noise import StepNoise
from forerun.engine.testing import check_process
from forerun.sequence import CausalProcess, Fill, Greedy, Gumbel, Lookup, Reguess, Repeat, generate
from forerun.sequence.autoregressive.own_loop import OwnLoop
from forerun.sequence.autoregressive.token_cache import TokenCache
from forerun.sequence.autoregressive.tokens import TokenFunction

WORDS = 61
SHAPE = {
    "vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 128, "bos_token_id": 0, "eos_token_id": None, "pad_token_id": 0,
}  # fmt: skip
GROUPED = SHAPE | {"num_key_value_heads": 2}
CONFIGS = {
    "gpt2": lambda: GPT2Config(
        vocab_size=WORDS, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=0, eos_token_id=None,
        pad_token_id=0
    ),
    "llama": lambda: LlamaConfig(**GROUPED),
    "qwen2": lambda: Qwen2Config(**GROUPED),
    "qwen3": lambda: Qwen3Config(**GROUPED, head_dim=8),
    "mistral": lambda: MistralConfig(**GROUPED, sliding_window=7),
    "gemma2": lambda: Gemma2Config(**GROUPED, head_dim=8, sliding_window=7),
    "olmo2": lambda: Olmo2Config(**GROUPED),
    "cohere": lambda: CohereConfig(**GROUPED),
    "gpt_neox": lambda: GPTNeoXConfig(**SHAPE),
    "phi": lambda: PhiConfig(**SHAPE),
    "falcon": lambda: FalconConfig(vocab_size=WORDS, hidden_size=32, num_hidden_layers=2, num_attention_heads=4),
    "opt": lambda: OPTConfig(
        vocab_size=WORDS, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_dim=64,
        word_embed_proj_dim=32, max_position_embeddings=128,
    ),
}  # fmt: skip
NEW = 24


def made(name, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[name]()).to(dtype).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model


def prompts(count=2, length=9):
    return torch.randint(1, WORDS, (count, length), generator=torch.Generator().manual_seed(1))


def theirs(model, ids, mask=None, new=NEW, **options):
    mask = torch.ones_like(ids) if mask is None else mask
    return model.generate(ids, attention_mask=mask, max_new_tokens=new, do_sample=False, **options)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_greedy_tokens_are_those_of_transformers(name, dtype):
    model, ids = made(name, dtype), prompts()
    found = generate(model, ids, max_new_tokens=NEW, window=6)
    assert torch.equal(found.tokens, theirs(model, ids))
    assert found.rounds <= NEW
    assert found.gap > 1e-6


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral", "gpt_neox", "opt"])
def test_prompts_padded_on_the_left(name):
    model, ids = made(name), prompts(3)
    mask = torch.ones_like(ids)
    mask[0, :4], mask[1, :1] = 0, 0
    ids = ids.masked_fill(mask == 0, 0)
    found = generate(model, ids, attention_mask=mask, max_new_tokens=NEW, window=6)
    assert torch.equal(found.tokens, theirs(model, ids, mask))


def prepared(model, ids):
    return OwnLoop(model, ids, {"max_new_tokens": NEW}, Greedy()).replace_loop(lambda decoding: decoding)


METHODS = [
    Sequential(), Picard(), Jacobi(), Reguess(Lookup()), Reguess(Repeat()), GaussSeidel(4, Picard()),
    PicardGaussSeidel(3), JacobiGaussSeidel(3),
]  # fmt: skip


@pytest.mark.parametrize("cache", [True, False], ids=["cache", "no cache"])
@pytest.mark.parametrize("choice", [Greedy(), Gumbel(0), Gumbel(1, 0.7, top_k=5, top_p=0.8)], ids=repr)
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_every_method_finds_the_same_tokens(method, choice, cache):
    model, ids = made("llama", seed=3), prompts()
    truth = plain_loop(model, ids, choice)
    for window, guess in ((1, Fill()), (5, Repeat()), (NEW + 9, Lookup(2))):
        found = generate(
            model, ids, max_new_tokens=NEW, choice=choice, method=method, window=window, guess=guess, cache=cache
        )
        assert torch.equal(found.tokens, truth)


@torch.no_grad()
def plain_loop(model, ids, choice):
    """One token after another, by the whole sequence, with the filters and the noise written out."""
    for step in range(NEW):
        logits = model(input_ids=ids).logits[:, -1].float()
        if isinstance(choice, Gumbel):
            logits = logits / choice.temperature
            for row in logits:
                order = row.argsort(descending=True)
                shares = row[order].softmax(0) if choice.top_k is None else row[order[: choice.top_k]].softmax(0)
                keep, total = 0, 0.0
                while keep < len(shares) and total < choice.top_p:
                    total, keep = total + float(shares[keep]), keep + 1
                row[order[keep:]] = -torch.inf
            z = StepNoise(choice.seed, logits.new_empty(2, *logits.shape))(step)
            logits = logits - (z.square().sum(0) / 2).log()
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], -1)
    return ids


def test_gumbel_draws_from_the_softmax():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0]).expand(1, 4000, 4)
    drawn = Gumbel(0).score_tokens(logits, torch.arange(4000)).argmax(-1)[0]
    shares = drawn.bincount(minlength=4) / 4000
    torch.testing.assert_close(shares, logits[0, 0].softmax(0), rtol=0, atol=0.025)


@pytest.mark.parametrize("name", ["gpt2", "qwen2"])
def test_texts_that_end(name):
    model, ids = made(name), prompts(3)
    endless = theirs(model, ids)
    end = int(endless[0, 9 + 4])  # a token that the first text comes to
    for ends in (end, [end, int(endless[1, 9 + 7])]):
        truth = theirs(model, ids, eos_token_id=ends)
        found = generate(model, ids, max_new_tokens=NEW, eos_token_id=ends, window=6)
        assert torch.equal(found.tokens, truth)
    model.generation_config.eos_token_id = end
    alone = generate(model, ids[:1], max_new_tokens=NEW, window=6)
    assert torch.equal(alone.tokens, theirs(model, ids[:1]))
    assert alone.tokens.shape[1] < 9 + NEW
    assert torch.equal(generate(model, ids[:1], max_new_tokens=NEW, eos_token_id=()).tokens, endless[:1])


def test_the_cache_gives_what_no_cache_gives():
    model, tokens = made("llama"), prompts(2, 20)
    decoding = prepared(model, prompts(2, 9))
    kept, fresh = TokenCache(decoding), TokenCache(decoding, use_cache=False)
    changed = tokens.clone()
    changed[:, 12] = (changed[:, 12] + 1) % WORDS
    with torch.no_grad():
        for ids, count in ((tokens[:, :10], 1), (tokens[:, :15], 5), (changed, 4), (tokens[:, :13], 13), (tokens, 1)):
            torch.testing.assert_close(kept(ids, count), fresh(ids, count))


def test_the_contract_is_kept():
    model, ids = made("llama"), prompts()
    decoding = prepared(model, ids)
    tokens = TokenFunction(decoding, TokenCache(decoding), 6, choice=Greedy())
    check_process(CausalProcess(tokens), torch.nn.functional.pad(ids, (0, 6)))


def test_a_text_that_repeats_needs_few_rounds():
    model = made("falcon")  # says one word for ever
    found = generate(model, prompts(), max_new_tokens=NEW, window=8)
    assert found.rounds <= NEW // 4
    assert found.status is Status.SEQUENTIAL
    assert found.tokens.shape == (2, 9 + NEW)


@pytest.mark.filterwarnings("ignore:The two best tokens:forerun.engine.witness.WitnessWarning")
def test_half_precision_runs():
    model = made("llama", torch.bfloat16)
    found = generate(model, prompts(), max_new_tokens=8, window=Sliding(4))
    assert found.tokens.shape == (2, 17)


def test_a_state_space_model_goes_without_cache():
    torch.manual_seed(0)
    config = MambaConfig(vocab_size=WORDS, hidden_size=16, num_hidden_layers=2, eos_token_id=None, pad_token_id=0)
    model, ids = AutoModelForCausalLM.from_config(config).double().eval(), prompts()
    with pytest.raises(ValueError, match="cache=False"):
        generate(model, ids, max_new_tokens=4)
    found = generate(model, ids, max_new_tokens=8, cache=False)
    assert torch.equal(found.tokens, theirs(model, ids, new=8))


def two_sided():
    return AutoModelForCausalLM.from_config(BertConfig(**SHAPE)).eval()


def translator():
    return BartForConditionalGeneration(
        BartConfig(vocab_size=WORDS, d_model=16, decoder_layers=1, encoder_layers=1, decoder_attention_heads=2)
    ).eval()


HOLE = torch.tensor([[1, 1, 1, 0]])


@pytest.mark.parametrize(
    "model, ids, options, kind, line",
    [
        (lambda: made("gpt2").train(), prompts(), {}, ValueError, r"model\.eval\(\)"),
        (two_sided, prompts(), {}, ValueError, "looks ahead"),
        (translator, prompts(), {}, TypeError, "encoder-decoder"),
        (lambda: torch.nn.Linear(2, 2), prompts(), {}, TypeError, "AutoModelForCausalLM"),
        (lambda: made("gpt2"), prompts(), {"max_new_tokens": 0}, ValueError, "max_new_tokens=32"),
        (lambda: made("gpt2"), prompts(1, 0), {}, ValueError, "bos token"),
        (lambda: made("gpt2"), prompts()[0], {}, ValueError, r"int64 \(N, P\)"),
        (lambda: made("gpt2"), prompts().float(), {}, ValueError, r"int64 \(N, P\)"),
        (lambda: made("gpt2"), prompts() + WORDS, {}, ValueError, "tokenizer of the model"),
        (lambda: made("gpt2"), prompts(1, 4), {"attention_mask": HOLE}, ValueError, "padding_side = 'left'"),
        (lambda: made("gpt2"), prompts(1, 5), {"attention_mask": HOLE}, ValueError, "tokenizer's own mask"),
    ],
)  # fmt: skip
def test_what_cannot_be_continued_is_refused(model, ids, options, kind, line):
    with pytest.raises(kind, match=line):
        generate(model(), ids, **({"max_new_tokens": 4} | options))


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"top_k": 0}, {"top_p": 0.0}, {"top_p": 1.5}], ids=str)
def test_choices_without_a_token_are_refused(options):
    with pytest.raises(ValueError, match="pass"):
        Gumbel(0, **options)
