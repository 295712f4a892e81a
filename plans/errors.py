"""Refusals of the plans."""

from __future__ import annotations

from payflow.core.errors import Code, DomainError, ValidationFailed


class PlanInUse(DomainError):
    """The plan has subscriptions (or something else refers to it). Clone it, or deactivate it."""

    code = Code.PLAN_IN_USE
    message = "This plan has subscriptions"


class LoweringNotConfirmed(ValidationFailed):
    """Features and limits are live for all: lowering one takes something from those who subscribed."""

    message = "This lowers what subscribers have"

    def __init__(self, *, lowered: list[str], affected: int) -> None:
        super().__init__(
            details={
                "confirm": [f"Send confirm=true to lower this for {affected} subscriptions"],
                "affected": affected,
                "lowered": lowered,
            }
        )
