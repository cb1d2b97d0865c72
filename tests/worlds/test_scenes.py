"""The scenes: drawn the same from the same seed, captioned and understood, read back, drawn by the shipped pipeline."""

import random

import pytest
import torch

from forerun.worlds.scenes.captions import (
    Scene,
    SceneObject,
    caption_words,
    draw_scene,
    parse_caption,
    unknown_words,
    write_caption,
)
from forerun.worlds.scenes.classifier import load_scene_classifier, measure_agreement
from forerun.worlds.scenes.render import render_scenes

RED_TORUS, BLUE_CUBE = SceneObject("red", "torus"), SceneObject("blue", "cube")


def random_scenes(count, seed):
    rng = random.Random(seed)
    return [draw_scene(rng) for _ in range(count)]


@pytest.fixture(scope="module")
def pipeline():
    pytest.importorskip("diffusers")
    from forerun.worlds.scenes.load import load_scenes_pipeline

    loaded = load_scenes_pipeline()
    loaded.set_progress_bar_config(disable=True)
    return loaded


def test_the_same_seed_gives_the_same_pictures():
    pictures = render_scenes(random_scenes(8, seed=1), seed=2)
    assert pictures.shape == (8, 3, 64, 64)
    assert pictures.dtype == torch.uint8
    assert torch.equal(pictures, render_scenes(random_scenes(8, seed=1), seed=2))
    assert not torch.equal(pictures, render_scenes(random_scenes(8, seed=1), seed=3))


@pytest.mark.parametrize(
    "relation, halves", [("left of", (2, 0)), ("right of", (2, 1)), ("above", (1, 0)), ("below", (1, 1))]
)
def test_a_relation_is_seen_in_the_picture(relation, halves):
    red, _, blue = render_scenes([Scene(RED_TORUS, relation, BLUE_CUBE)])[0].float()
    axis, half = halves
    first, second = (red - blue).clamp(min=0).chunk(2, axis - 1)
    assert (first.sum() > 20 * second.sum()) == (half == 0)


def test_every_caption_is_understood_as_its_scene():
    rng = random.Random(0)
    for scene in random_scenes(500, seed=5):
        understood = parse_caption(write_caption(scene, rng))
        assert set(understood.objects) == set(scene.objects)
        assert understood.layout == scene.layout
        assert understood.relation == "beside" or understood.objects == scene.objects


@pytest.mark.parametrize(
    "prompt",
    [
        "a red torus left of a blue cube",
        "The blue box on the right of a red ring.",
        "RED TORUS to the left of blue cube",
    ],
)
def test_one_scene_has_many_captions(prompt):
    assert parse_caption(prompt).objects == (RED_TORUS, BLUE_CUBE)


def test_unknown_words_are_named_and_refused():
    assert unknown_words("a red torus, left of a blue cube") == []
    assert unknown_words("a photo of a Red horse, a photo") == ["photo", "horse"]
    with pytest.raises(ValueError, match=r"unknown words .*: horse"):
        parse_caption("a red horse")
    with pytest.raises(ValueError, match="does not name a thing"):
        parse_caption("a cube red")


def test_the_classifier_reads_what_was_rendered():
    expected = random_scenes(256, seed=1234)
    right = measure_agreement(
        expected, load_scene_classifier().read_scenes(render_scenes(expected, seed=99).float() / 255)
    )
    assert right["all"] > 0.97, right
    assert right["size"] > 0.95, right


def test_features_have_one_row_for_each_picture():
    assert load_scene_classifier().extract_features(torch.rand(3, 3, 64, 64)).shape == (3, 128)


def test_every_word_is_one_token(pipeline):
    for word in caption_words():
        assert len(pipeline.tokenizer(word).input_ids) == 3, word


def test_the_pipeline_draws_what_is_asked(pipeline):
    prompts = ["a red torus left of a blue cube", "a large yellow cone", "a green sphere above a purple pyramid"]
    generator = torch.Generator().manual_seed(0)
    images = pipeline(prompts, num_inference_steps=20, guidance_scale=3.0, generator=generator, output_type="pt").images
    assert images.shape == (3, 3, 64, 64)
    assert images.dtype == torch.float32
    right = measure_agreement(
        [parse_caption(prompt) for prompt in prompts], load_scene_classifier().read_scenes(images)
    )
    assert right["colour"] == 1
    assert right["layout"] == 1
