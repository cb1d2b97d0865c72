"""The tasks that policies are trained for here."""

from __future__ import annotations

from forerun.policy.robots.course import Pillar
from forerun.policy.robots.environment import Task
from forerun.policy.robots.experts import RoundPillar, Scripted

PICK_PLACE = Task("pick-place", "pick-place-v3", Scripted("SawyerPickPlaceV3Policy"), limit=150)
PUSH = Task("push", "push-v3", Scripted("SawyerPushV3Policy"), limit=150)
PEG_INSERT = Task("peg-insert", "peg-insert-side-v3", Scripted("SawyerPegInsertionSideV3Policy"), limit=250, noise=0.1)
PILLAR = Task("pillar", "pick-place-v3", RoundPillar(), limit=200, course=Pillar())
