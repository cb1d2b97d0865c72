"""generate and model.generate, token by token: rules of transformers, wrappers, positions, rounding, warnings."""

import copy
import warnings

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Phi3Config

from forerun.engine.witness import WitnessDisagrees, WitnessWarning
from forerun.sequence import Gumbel, Lookup, Reguess, generate
from forerun.sequence.autoregressive import text_witness
from forerun.sequence.autoregressive.token_cache import TokenCache

WORDS, NEW = 53, 16


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch):
    monkeypatch.setattr(text_witness.AGREED_TEXTS, "_agreed", {})


def made(config, dtype=torch.float64, scale=0.3):
    torch.manual_seed(2)
    model = AutoModelForCausalLM.from_config(config).to(dtype).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0, scale)
    return model


def llama(**changes):
    return LlamaConfig(**({
        "vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 96, "bos_token_id": 1,
        "eos_token_id": None, "pad_token_id": 0,
    } | changes))  # fmt: skip


def gpt2(positions=96):
    return GPT2Config(
        vocab_size=WORDS, n_embd=32, n_layer=2, n_head=4, n_positions=positions, bos_token_id=1, eos_token_id=None,
        pad_token_id=0,
    )  # fmt: skip


def prompts(count=2, length=7):
    return torch.randint(2, WORDS, (count, length), generator=torch.Generator().manual_seed(3))


def theirs(model, ids, **options):
    return model.generate(ids, **({"max_new_tokens": NEW, "do_sample": False} | options))


def padded():
    ids, mask = prompts(), torch.ones(2, 7, dtype=torch.int64)
    mask[1, :3] = 0
    return ids.masked_fill(mask == 0, 0), mask


RULES = [
    {"repetition_penalty": 1.4}, {"no_repeat_ngram_size": 2}, {"bad_words_ids": [[5], [7, 9]]},
    {"suppress_tokens": [3, 11, 30]}, {"begin_suppress_tokens": [4, 8]}, {"sequence_bias": [[[6], 3.0]]},
    {"min_new_tokens": 9, "eos_token_id": 12}, {"forced_eos_token_id": 12, "eos_token_id": 12},
    {"exponential_decay_length_penalty": (2, 1.6), "eos_token_id": 12}, {"encoder_repetition_penalty": 1.3},
    {"remove_invalid_values": True}, {"renormalize_logits": True},
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: next(iter(rule)))
def test_rules_of_the_generation_config_are_followed(rule):
    model, ids = made(llama()), prompts()
    model.generation_config.update(**rule)
    found = generate(model, ids, max_new_tokens=NEW, window=5)
    assert torch.equal(found.tokens, theirs(model, ids))
    assert found.witnessed


@pytest.mark.parametrize(
    "rule, reason",
    [
        ({"num_beams": 2}, "beam"),
        ({"guidance_scale": 1.5}, "keeps something between its calls"),
        ({"prompt_lookup_num_tokens": 3}, "assisted"),
        ({"max_time": 100.0}, "MaxTimeCriteria"),
    ],
)
def test_rules_that_need_order_run_the_own_loop_with_a_word(rule, reason):
    model, ids = made(llama()), prompts(1)
    model.generation_config.update(**rule)
    with pytest.warns(WitnessWarning, match=reason):
        found = generate(model, ids, max_new_tokens=NEW)
    assert torch.equal(found.tokens, theirs(model, ids))
    assert any("model.generate" in note for note in found.notes)
    with pytest.raises(WitnessDisagrees, match=reason):
        generate(model, ids, max_new_tokens=NEW, strict=True)


def test_sampling_under_rules_is_that_of_the_own_loop_with_the_same_noise():
    model, ids = made(llama()), prompts()
    model.generation_config.repetition_penalty = 1.3
    ahead = generate(model, ids, max_new_tokens=NEW, choice=Gumbel(4), window=5)
    model.generation_config.max_time = 1000.0
    with pytest.warns(WitnessWarning):
        in_order = generate(model, ids, max_new_tokens=NEW, choice=Gumbel(4))
    assert torch.equal(ahead.tokens, in_order.tokens)


@pytest.mark.parametrize("config", [llama(), gpt2()], ids=["llama", "gpt2"])
def test_a_mask_is_inferred_from_the_padding(config):
    model, (ids, mask) = made(config), padded()
    truth = theirs(model, ids, attention_mask=mask)
    assert torch.equal(theirs(model, ids), truth)
    assert torch.equal(generate(model, ids, max_new_tokens=NEW, window=5).tokens, truth)


def test_no_mask_is_inferred_where_padding_also_ends_a_text():
    model, (ids, _) = made(llama()), padded()
    model.generation_config.eos_token_id = 0
    assert torch.equal(generate(model, ids, max_new_tokens=NEW, window=5).tokens, theirs(model, ids))


def wrap_lora(model):
    torch.manual_seed(0)
    return (
        get_peft_model(
            model,
            LoraConfig(task_type="CAUSAL_LM", target_modules=["c_attn"], init_lora_weights=False, fan_in_fan_out=True),
        )
        .double()
        .eval()
    )


def wrap_compiled(model):
    return torch.compile(model, backend="eager")


@pytest.mark.filterwarnings("ignore:.*checkpointing:FutureWarning")
@pytest.mark.parametrize("wrap", [wrap_lora, wrap_compiled])
def test_wrappers_hand_on_positions(wrap):
    model, (ids, mask) = wrap(made(gpt2())), padded()
    truth = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=NEW, do_sample=False)
    before = model.prepare_inputs_for_generation
    found = generate(model, ids, attention_mask=mask, max_new_tokens=NEW, window=5)
    assert torch.equal(found.tokens, truth)
    assert found.rounds <= NEW
    assert found.witnessed
    assert model.prepare_inputs_for_generation == before


@pytest.mark.filterwarnings("ignore:.*checkpointing:FutureWarning", "ignore:Position ids are not:UserWarning")
def test_virtual_tokens_run_the_own_loop_with_a_word():
    torch.manual_seed(0)
    tuned = get_peft_model(made(gpt2()), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)).double()
    tuned, ids = tuned.eval(), prompts()
    with pytest.warns(WitnessWarning):
        found = generate(tuned, ids, max_new_tokens=NEW)
    mask = torch.ones_like(ids)
    truth = tuned.generate(input_ids=ids, attention_mask=mask, max_new_tokens=NEW, do_sample=False)
    assert torch.equal(found.tokens, truth)


def longrope():
    return Phi3Config(
        vocab_size=WORDS, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=48, max_position_embeddings=96, original_max_position_embeddings=15, bos_token_id=1,
        eos_token_id=None, pad_token_id=0,
        rope_parameters={
            "rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4,
            "long_factor": [3.0, 6.0, 12.0, 24.0], "original_max_position_embeddings": 15,
        },
    )  # fmt: skip


def dynamic():
    return llama(
        max_position_embeddings=15, rope_parameters={"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0}
    )


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("config", [longrope, dynamic])
def test_rotary_positions_that_change_with_the_length(config, cache):
    model, ids = made(config()), prompts()
    with pytest.warns(WitnessWarning, match="beyond 15 tokens"):
        found = generate(model, ids, max_new_tokens=NEW, window=5, cache=cache)
    assert torch.equal(found.tokens, theirs(model, ids))
    short = generate(model, ids, max_new_tokens=8, window=5, cache=cache)
    assert torch.equal(short.tokens, theirs(model, ids, max_new_tokens=8))


def test_long_prompts_are_beyond_the_switch_of_longrope():
    model, ids = made(longrope()), prompts(2, 20)
    found = generate(model, ids, max_new_tokens=NEW, window=5)
    assert torch.equal(found.tokens, theirs(model, ids))


def test_a_text_that_ends_where_the_positions_end():
    model = made(gpt2())
    ids = prompts(1)
    text = theirs(model, ids)[0, 7:].tolist()
    step = next(i for i in range(3, NEW) if text[i] not in text[:i])
    for spare in range(3):
        tight = made(gpt2(7 + step + spare))
        weights = copy.deepcopy(model.state_dict())
        weights["transformer.wpe.weight"] = weights["transformer.wpe.weight"][: 7 + step + spare]
        tight.load_state_dict(weights)
        found = generate(tight, ids, max_new_tokens=40, window=8, eos_token_id=text[step])
        assert found.tokens[0, 7:].tolist() == text[: step + 1]


def test_ties_are_broken_as_transformers_breaks_them():
    model, ids = made(llama(tie_word_embeddings=False)), prompts()
    with torch.no_grad():
        model.lm_head.weight[25:50] = model.lm_head.weight[:25]
    truth = theirs(model, ids)
    assert torch.equal(generate(model, ids, max_new_tokens=NEW, window=1).tokens, truth)
    with pytest.warns(WitnessWarning, match="tie within rounding"):
        found = generate(model, ids, max_new_tokens=NEW, window=5)
    assert torch.equal(found.tokens, truth)
    with pytest.raises(WitnessDisagrees, match="window=1"):
        generate(model, ids, max_new_tokens=NEW, window=5, strict=True)


class Hooked:
    """Adds to the logits of the last token of a pass, which in the loop is every token."""

    def __call__(self, module, inputs, output):
        logits = output.logits.clone()
        logits[:, -1, 9] += 4.0
        output["logits"] = logits
        return output


def test_hooks_that_look_at_the_place_in_a_pass():
    model, ids = made(llama()), prompts()
    generate(model, ids, max_new_tokens=NEW, window=5)
    model.register_forward_hook(Hooked())
    with pytest.warns(WitnessWarning, match="number of tokens of a pass"):
        found = generate(model, ids, max_new_tokens=NEW, window=5)
    assert torch.equal(found.tokens, theirs(model, ids))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_in_the_order_of_the_loop(dtype):
    model, ids = made(llama(), dtype, scale=0.02), prompts()
    found = generate(model, ids, max_new_tokens=NEW, window=1)
    assert torch.equal(found.tokens, theirs(model, ids))


@pytest.mark.filterwarnings("ignore:.*quantiz:DeprecationWarning", "ignore:torch.quantize_per_tensor:UserWarning")
def test_eight_bits_with_scales_of_a_whole_pass():
    model = torch.ao.quantization.quantize_dynamic(made(llama(), torch.float32), {torch.nn.Linear}, dtype=torch.qint8)
    ids = prompts()
    with pytest.warns(WitnessWarning, match="of a pass"):
        found = generate(model, ids, max_new_tokens=NEW, window=5)
    assert torch.equal(found.tokens, theirs(model, ids))


def test_a_cache_that_forgets_is_seen_by_the_witness(monkeypatch):
    model, ids = made(llama()), prompts()
    honest = TokenCache._crop_cache

    def crop_badly(self, tokens, max_size):
        begin = honest(self, tokens, max_size)
        for layer in self._cache.layers if self._cache is not None else ():
            layer.keys = layer.keys * 0.5
        return begin

    monkeypatch.setattr(TokenCache, "_crop_cache", crop_badly)
    with pytest.warns(WitnessWarning, match="chooses another"):
        found = generate(model, ids, max_new_tokens=NEW, window=5)
    assert torch.equal(found.tokens, theirs(model, ids))
    with pytest.raises(WitnessDisagrees):
        generate(model, ids, max_new_tokens=NEW, window=5, strict=True)
    unseen = generate(model, ids, max_new_tokens=NEW, window=5, witness=False)
    assert "witness=False" in str(unseen)


def test_nothing_is_left_on_the_model():
    model, ids = made(llama()), prompts()
    attributes, config = set(vars(model)), model.generation_config.to_dict()
    first = generate(model, ids, max_new_tokens=NEW, window=5, method=Reguess(Lookup()))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = generate(model, ids, max_new_tokens=NEW, window=5)
    assert torch.equal(first.tokens, second.tokens)
    assert (first.witnessed, second.witnessed) == (NEW, 1)  # one token where texts like this one have agreed
    assert set(vars(model)) == attributes
    assert model.generation_config.to_dict() == config
