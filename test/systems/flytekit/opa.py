"""Tasks of agenthost.tasks.AccessControl."""

from dataclasses import dataclass
from datetime import datetime, timezone

from flytekit import kwtypes

from agenthost.tasks import AccessControl

GRANTED, SECRET = "s3://lake/flights", "s3://lake/salaries"
EVERYTHING = ["allowed", "reasons", "decision", "decision_id"]


@dataclass
class Request:
    purpose: str
    rows: int


def may(name, policy, inputs=None, **arguments):
    return AccessControl(name=name, policy=policy, inputs=inputs or kwtypes(dataset=str), **arguments)


def cases(case):
    values = {
        "n": 2**60 + 1,
        "at": datetime(2024, 2, 29, 12, tzinfo=timezone.utc),
        "names": ["a", "b"],
        "labels": {"team": "air"},
        "options": {"deep": {"list": [1, "x"]}},
        "request": Request("audit", 7),
        "password": "hunter2",
    }
    kinds = kwtypes(
        n=int,
        at=datetime,
        names=list[str],
        labels=dict[str, str],
        options=dict,
        request=Request,
        password=str,
    )
    authz = "flyte/authz"
    refused = f"project systems may not read {SECRET}"
    return [
        case("granted", may("granted", f"{authz}/decision"), {"dataset": GRANTED}),
        case("denied", may("denied", f"{authz}/decision"), {"dataset": SECRET}, fails=refused),
        case(
            "granted-with-outputs",
            may("granted_with_outputs", f"{authz}/decision", outputs=EVERYTHING),
            {"dataset": GRANTED},
        ),
        case(
            "denial-returned",
            may("denial_returned", f"{authz}/decision", outputs=EVERYTHING, on_deny="return"),
            {"dataset": SECRET},
        ),
        case(
            "denials-returned",
            may("denials_returned", f"{authz}/deny", decision="denials", on_deny="return", input={"action": "write"}),
            {"dataset": SECRET},
        ),
        case(
            "boolean-returned",
            may("boolean_returned", f"{authz}/allow", decision="boolean", on_deny="return"),
            {"dataset": SECRET},
        ),
        case(
            "what-it-sees",
            may(
                "what_it_sees",
                "sees/everything",
                kinds,
                outputs=["decision"],
                input={"who": "$.execution.project", "team": "$.inputs.labels.team", "price": "$$1"},
            ),
            values,
        ),
        case("undefined", may("undefined", "flyte/nowhere/allow"), {"dataset": GRANTED}, fails="undefined"),
        case(
            "broken",
            may("broken", "sees/broken", on_deny="return"),
            {"dataset": GRANTED},
            fails="eval_builtin_error",
        ),
    ]
