"""The tasks that policies are trained for here."""

from __future__ import annotations

from forerun.worlds.robots.arm import ArmTask
from forerun.worlds.robots.course import Pillar
from forerun.worlds.robots.experts import RoundPillar, Scripted
from forerun.worlds.robots.push_t import PushTask
from forerun.worlds.robots.pushing import Pusher

PICK_PLACE = ArmTask(
    name="pick-place", scene="pick-place-v3", expert=Scripted("SawyerPickPlaceV3Policy"), max_steps=150
)
PUSH = ArmTask(name="push", scene="push-v3", expert=Scripted("SawyerPushV3Policy"), max_steps=150)
PEG_INSERT = ArmTask(
    name="peg-insert",
    scene="peg-insert-side-v3",
    expert=Scripted("SawyerPegInsertionSideV3Policy"),
    max_steps=250,
    noise=0.1,
)
PILLAR = ArmTask(name="pillar", scene="pick-place-v3", expert=RoundPillar(), max_steps=200, course=Pillar())
PUSH_T = PushTask(name="push-t", expert=Pusher())
