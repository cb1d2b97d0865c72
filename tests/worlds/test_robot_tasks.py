"""Tasks: episodes told by their seed, experts that do them, demonstrations cut into chunks."""

import math

import numpy as np
import pytest
import torch

pytest.importorskip("metaworld", reason="Meta-World is not installed: pip install 'forerun[robots]'")
pytest.importorskip("mujoco", reason="MuJoCo is not installed: pip install 'forerun[robots]'")

from forerun.worlds.robots import tasks
from forerun.worlds.robots.demonstrations import Demonstrations
from forerun.worlds.robots.episodes import run_episodes, success_interval
from forerun.worlds.robots.experts import GOAL_POSITION, PUCK_POSITION, measure_side
from forerun.worlds.robots.path_rules import AnyPath, AvoidPillar

TASKS = (tasks.PICK_PLACE, tasks.PILLAR, tasks.PEG_INSERT, tasks.PUSH)
every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


def show(environment, seed, steps):
    act, moment = environment.task.expert.begin_episode(np.random.default_rng(seed)), environment.reset(seed)
    moments = [moment]
    for _ in range(steps):
        moments.append(environment.step(act(moments[-1].scene, environment.features)))
    return moments


@every_task
def test_the_seed_tells_the_episode(task):
    environment = task.environment()
    first = show(environment, 3, 12)
    show(environment, 4, 5)
    again = show(environment, 3, 12)
    assert all(np.array_equal(a.observation, b.observation) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0].observation, show(environment, 4, 0)[0].observation)


def test_an_observation_holds_two_frames_the_goal_and_the_pillar():
    open_way, round_pillar = tasks.PICK_PLACE.environment(), tasks.PILLAR.environment()
    plain, pillar = show(open_way, 5, 2)[-1], show(round_pillar, 5, 2)[-1]
    assert plain.observation.shape == (25,)
    assert pillar.observation.shape == (27,)
    assert np.array_equal(plain.observation, pillar.observation[:25]), "the same scene, as nothing was done otherwise"
    assert np.array_equal(pillar.observation[22:25], pillar.scene[GOAL_POSITION])
    start = show(round_pillar, 5, 0)[0].scene
    assert np.allclose(pillar.observation[25:], (start[PUCK_POSITION][:2] + start[GOAL_POSITION][:2]) / 2)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_the_expert_goes_round_the_pillar_by_either_side(seed):
    environment = tasks.PILLAR.environment()
    moment, act = environment.reset(seed), tasks.PILLAR.expert.begin_episode(np.random.default_rng(seed))
    goal, hands = moment.scene[GOAL_POSITION], []
    while not moment.success and len(hands) < tasks.PILLAR.max_steps:
        moment = environment.step(act(moment.scene, environment.features))
        hands.append(moment.scene[:2] - environment.features)
        assert not moment.failed
    assert moment.success
    ahead = (goal[:2] - environment.features) / np.linalg.norm(goal[:2] - environment.features)
    beside = max((hand @ np.array([-ahead[1], ahead[0]]) for hand in hands), key=abs)
    side = np.random.default_rng(seed).choice([-1.0, 1.0])
    assert np.sign(beside) == side
    assert abs(beside) > tasks.PILLAR.path_rule.radius


def test_the_hand_in_the_pillar_fails_the_episode():
    pillar = AvoidPillar(radius=0.04)
    assert pillar.is_broken(np.array([0.03, 0.7, 0.5]), np.array([0.0, 0.7]))
    assert not pillar.is_broken(np.array([0.05, 0.7, 0.5]), np.array([0.0, 0.7]))
    assert not AnyPath().is_broken(np.zeros(3), np.zeros(0))


def test_the_side_of_a_chunk():
    left = np.zeros((1, 16, 4))
    left[0, :, 0] = -1.0  # the goal lies along +y, and -x is to the left of it
    pillar, goal = np.array([0.0, 0.7]), np.array([0.0, 0.85, 0.1])
    assert measure_side(left, pillar, goal) > 0
    assert measure_side(-left, pillar, goal) < 0


@pytest.mark.parametrize("action", [np.zeros(3), np.array([0.0, math.nan, 0.0, 0.0])], ids=["shape", "nan"])
def test_a_bad_action_never_reaches_the_arm(action):
    environment = tasks.PUSH.environment()
    environment.reset(0)
    with pytest.raises(ValueError, match="4 finite numbers"):
        environment.step(action)


def test_demonstrations_are_chunks_of_the_actions_to_come(tmp_path):
    demonstrations = Demonstrations.load_or_collect(tasks.PICK_PLACE, 2, tmp_path, seed=1)
    assert demonstrations.observations.shape == (len(demonstrations.chunks), 25)
    assert demonstrations.chunks.shape[1:] == (16, 4)
    assert demonstrations.chunks.abs().max() <= 1
    assert torch.equal(demonstrations.chunks[1, :-1], demonstrations.chunks[0, 1:]), (
        "the second chunk is the first, one step on"
    )
    assert torch.equal(demonstrations.chunks[-1], demonstrations.chunks[-1, :1].expand(16, 4)), (
        "the last action is repeated"
    )
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    again = Demonstrations.load_or_collect(tasks.PICK_PLACE, 2, tmp_path, seed=1)
    assert torch.equal(again.chunks, demonstrations.chunks)
    assert file.stat().st_mtime_ns == written


def test_an_expert_that_fails_is_an_error():
    from dataclasses import replace

    hasty = replace(tasks.PICK_PLACE, max_steps=3)
    with pytest.raises(RuntimeError, match="succeeded in 0 of 3 episodes"):
        Demonstrations.collect(hasty, 1)


def test_environments_in_lockstep_do_what_each_does_alone():
    environments = [tasks.PICK_PLACE.environment() for _ in range(2)]

    def act(observations):  # straight to the object, a little differently in every episode
        chunk = torch.zeros(len(observations), 16, 4)
        chunk[:, :, :3] = (10 * (observations[:, 4:7] - observations[:, :3]))[:, None].clamp(-1, 1)
        return chunk

    from dataclasses import replace

    for environment in environments:
        environment.task = replace(environment.task, max_steps=20)
    together = run_episodes(environments, act, [7, 8])
    alone = [run_episodes(environments[:1], act, [seed])[0] for seed in (7, 8)]
    assert together == alone
    assert [episode.steps for episode in together] == [20, 20]


def test_the_interval_of_a_rate():
    low, high = success_interval(50, 100)
    assert math.isclose(low, 0.404, abs_tol=1e-3)
    assert math.isclose(high, 0.596, abs_tol=1e-3)
    assert math.isclose(success_interval(100, 100)[1], 1)
    assert success_interval(100, 100)[0] > 0.96
