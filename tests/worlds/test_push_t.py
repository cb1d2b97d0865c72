"""Push-T: its episodes, its expert, and what a policy sees of it."""

import json
import math

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

pytest.importorskip(
    "gym_pusht", reason="gym-pusht cannot be imported: pip install 'forerun[push-t]'", exc_type=ImportError
)

from forerun.cli import words
from forerun.cli.app import app
from forerun.worlds.robots.demonstrations import Demonstrations
from forerun.worlds.robots.episodes import run_episodes
from forerun.worlds.robots.push_simulation import GOAL_POSE, corner_distance
from forerun.worlds.robots.push_t import BLOCK_OUTLINE, place_points
from forerun.worlds.robots.tasks import PUSH_T
from forerun.worlds.robots.video import VideoRecorder


def test_the_seed_tells_the_episode():
    arena = PUSH_T.environment()
    first, other, again = (arena.reset(seed).observation for seed in (3, 4, 3))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_observation_is_the_disc_and_the_corners_of_two_frames():
    arena = PUSH_T.environment()
    before = arena.reset(3)
    after = arena.step(np.array([256.0, 256.0]))
    assert after.observation.shape == (36,)
    assert np.array_equal(after.observation[18:], before.observation[:18])
    assert np.array_equal(after.observation[:2], after.scene[:2])
    block = arena.arena.block
    corners = {tuple(np.round(block.local_to_world(v), 6)) for shape in block.shapes for v in shape.get_vertices()}
    assert {tuple(np.round(corner, 6)) for corner in after.observation[2:18].reshape(8, 2)} <= corners


def test_in_its_place_nothing_is_off_and_the_reward_is_one():
    arena = PUSH_T.environment()
    arena.reset(0)
    block = arena.arena.block
    block.angle, block.position = GOAL_POSE[2], tuple(GOAL_POSE[:2])
    arena.arena.agent.position = (50, 50)
    moment = arena.step(np.array([50.0, 50.0]))
    assert moment.success
    assert moment.reward == 1
    assert corner_distance(moment.scene[2:]) < 1e-6
    assert corner_distance(GOAL_POSE + np.array([3, 4, 0])) == pytest.approx(5)


def test_corners_turn_with_the_block():
    turned = place_points(BLOCK_OUTLINE, np.array([10.0, 20.0, math.pi / 2]))
    assert np.allclose(turned, [[10 - y, 20 + x] for x, y in BLOCK_OUTLINE])


@pytest.mark.parametrize("seed", [0, 1])
def test_the_expert_covers_the_place(seed):
    arena = PUSH_T.environment()
    moment, act = arena.reset(seed), PUSH_T.expert.begin_episode(np.random.default_rng(seed))
    steps = 0
    while not moment.success and steps < PUSH_T.max_steps:
        moment = arena.step(act(moment.scene, arena.features))
        steps += 1
    assert moment.success


def test_experts_differ_as_their_seeds_do():
    arena = PUSH_T.environment()
    scene = arena.reset(7).scene
    firsts = set()
    for seed in range(8):
        act = PUSH_T.expert.begin_episode(np.random.default_rng(seed))
        firsts.add(tuple(np.round([act(scene, arena.features) for _ in range(20)], 3).flatten()))
    assert len(firsts) > 1


def test_demonstrations_end_with_success():
    demonstrations = Demonstrations.collect(PUSH_T, 1, seed=1)
    assert demonstrations.observations.shape[1] == 36
    assert demonstrations.chunks.shape[1:] == (16, 2)
    assert demonstrations.chunks.min() >= 0
    assert demonstrations.chunks.max() <= 512


def test_an_episode_keeps_its_best_reward_and_can_be_seen():
    arena, recorder = PUSH_T.environment(), VideoRecorder(width=128, height=96, max_frames=3)

    def act(observation):
        return observation[:, None, :2].expand(1, 16, 2)  # stay

    (episode,) = run_episodes([arena], act, [7], executed=16, on_step=recorder.record_step)
    assert not episode.success
    assert episode.steps == PUSH_T.max_steps
    assert episode.best == pytest.approx(episode.reward)
    assert recorder.frames[0].shape == (96, 128, 3)
    assert recorder.frames[0].std() > 10


def test_a_bad_action_is_refused():
    arena = PUSH_T.environment()
    arena.reset(0)
    with pytest.raises(ValueError, match="2 finite numbers"):
        arena.step(np.array([1.0, math.nan]))


def test_the_shipped_policy_pushes_and_is_seen(tmp_path):
    video_file = tmp_path / "push.gif"
    line = (
        "--episodes",
        2,
        "--scheduler",
        "ddim",
        "--steps",
        10,
        "--no-compare",
        "--out",
        tmp_path,
        "--video",
        video_file,
    )
    result = CliRunner().invoke(app, ["policy", "push-t", *map(str, line)])
    assert result.exit_code == 0, result.output
    assert "PushT-v0 of gym-pusht" in result.output
    figures = json.loads((tmp_path / "summary.json").read_text())["warm"]
    assert max(episode["best"] for episode in figures["episodes"]) > 0.5
    assert 0 < figures["rounds"] < 10
    with Image.open(video_file) as video:
        assert video.n_frames > 20


def test_real_time_iteration_finds_no_gripper():
    mode = words.MODES["rti"](10.0, 1.0, tuple(range(PUSH_T.displacements, 2)))
    assert not mode.discrete
