from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flytekit.configuration import SerializationSettings
from flytekit.core.base_task import PythonTask
from flytekit.core.interface import Interface

from ._local import RunsOnHostAtOnce

OUTPUTS: dict[str, Any] = {"allowed": bool, "reasons": list[str], "decision": dict, "decision_id": str}
"""What there is to know of a decision."""


# The base classes come untyped from flytekit.
class AccessControl(RunsOnHostAtOnce, PythonTask[None]):  # type: ignore[misc]
    """A task that asks Open Policy Agent for a decision, and fails where the policy denies.

        from agenthost.tasks import AccessControl
        from flytekit import kwtypes, workflow

        may_read = AccessControl(
            name="may_read",
            policy="flyte/authz/decision",
            inputs=kwtypes(dataset=str),
            input={"action": "read"},
        )

        @workflow
        def report(dataset: str) -> None:
            may_read(dataset=dataset) >> build_report(dataset=dataset)

    What the policy sees. `input.inputs` are the task's inputs; `input.execution` and `input.identity` are Flyte's own
    word on who asks, and cannot be set by a task. `input` adds to these: constants, and references such as
    `"$.inputs.dataset"` or `"$.execution.project"` for policies that expect a value elsewhere.

    Denials. By default they fail the task for good, with the code AccessDenied and the policy's reasons. With
    `on_deny="return"` the task succeeds and its output `allowed` is False. What is undefined is a denial, and what goes
    wrong fails the task in either case.
    """

    TASK_TYPE = "access_control"

    def __init__(
        self,
        name: str,
        policy: str,
        inputs: dict[str, type[Any]] | None = None,
        outputs: Iterable[str] | None = None,
        decision: str | None = None,
        on_deny: str = "fail",
        input: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """
        :param name: the task's name, unique within its Flyte project and domain.
        :param policy: the path of the rule that decides, such as `flyte/authz/allow`.
        :param inputs: names and types of the inputs, as `kwtypes` makes them.
        :param outputs: which of `allowed`, `reasons`, `decision`, `decision_id` the task has as outputs. By default
            none if denials fail the task, else `allowed` and `reasons`.
        :param decision: how to read the rule's value: `boolean`, `object` (`{"allow": …, "reasons": […]}`) or `denials`
            (a set of reasons against it). By default a boolean or an object, whichever it is.
        :param on_deny: `fail` or `return`.
        :param input: additions to the policy's input.
        :param kwargs: passed on to flytekit's PythonTask: `metadata`, `docs`, …
        :raises ValueError: an argument is none of those.
        """
        if not policy or policy.split("/")[0].split(".")[0] == "data" or not all(policy.split("/")):
            raise ValueError(f"{name}: policy must be a path such as flyte/authz/allow, without data, got {policy!r}")
        if decision not in (None, "boolean", "object", "denials"):
            raise ValueError(f"{name}: decision must be boolean, object or denials, got {decision!r}")
        if on_deny not in ("fail", "return"):
            raise ValueError(f"{name}: on_deny must be fail or return, got {on_deny!r}")
        for key in input or {}:
            if key in ("inputs", "execution", "identity"):
                raise ValueError(f"{name}: input cannot replace {key!r}, which Flyte says")
        if outputs is None:
            outputs = () if on_deny == "fail" else ("allowed", "reasons")
        wanted = list(outputs)
        for output in wanted:
            if output not in OUTPUTS:
                raise ValueError(f"{name}: there is no output {output!r}, but {', '.join(OUTPUTS)}")

        super().__init__(
            task_type=self.TASK_TYPE,
            name=name,
            task_config=None,
            interface=Interface(inputs=inputs or {}, outputs={output: OUTPUTS[output] for output in wanted}),
            **kwargs,
        )
        self._custom: dict[str, Any] = {"policy": policy, "on_deny": on_deny}
        if decision is not None:
            self._custom["decision"] = decision
        if input:
            self._custom["input"] = input

    def get_custom(self, settings: SerializationSettings) -> dict[str, Any]:
        return self._custom
