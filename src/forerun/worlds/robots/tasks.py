"""The tasks that policies are trained for here."""

from __future__ import annotations

from forerun.worlds.robots.arm import ArmTask
from forerun.worlds.robots.experts import PillarExpert, ScriptedExpert
from forerun.worlds.robots.path_rules import AvoidPillar
from forerun.worlds.robots.push_expert import PushExpert
from forerun.worlds.robots.push_t import PushTask

PICK_PLACE = ArmTask(
    name="pick-place",
    scene="pick-place-v3",
    expert=ScriptedExpert("SawyerPickPlaceV3Policy"),
    max_steps=150,
)
PUSH = ArmTask(
    name="push",
    scene="push-v3",
    expert=ScriptedExpert("SawyerPushV3Policy"),
    max_steps=150,
)
PEG_INSERT = ArmTask(
    name="peg-insert",
    scene="peg-insert-side-v3",
    expert=ScriptedExpert("SawyerPegInsertionSideV3Policy"),
    max_steps=250,
    noise=0.1,
)
PILLAR = ArmTask(
    name="pillar",
    scene="pick-place-v3",
    expert=PillarExpert(),
    max_steps=200,
    path_rule=AvoidPillar(),
)
PUSH_T = PushTask(name="push-t", expert=PushExpert())
