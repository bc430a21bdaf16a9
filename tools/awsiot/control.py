"""What /_standin/ answers: counters and state to read; reset, seeds and faults to set."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tools.awsiot.errors import ServiceError
from tools.awsiot.faults import Fault

if TYPE_CHECKING:
    from tools.awsiot.server import StandIn

CONTROL = "/_standin/"


def answer_control(standin: "StandIn", method: str, path: str, body: bytes) -> web.Response:
    """JSON, or the CA's certificate. 400 and the reason for a bad body, 404 for what there is not."""
    what = path.removeprefix(CONTROL)
    if (method, what) == ("GET", "ca.pem"):
        return web.Response(body=standin.authority.pem, content_type="application/x-pem-file")
    if (method, what) == ("GET", "ca.der"):
        return web.Response(body=standin.authority.der, content_type="application/pkix-cert")
    action = _ACTIONS.get((method, what))
    if action is None:
        known = ", ".join(f"{verb} {CONTROL}{name}" for verb, name in _ACTIONS)
        return web.json_response({"error": f"there is: {known}, GET {CONTROL}ca.pem, ca.der"}, status=404)
    try:
        return web.json_response(action(standin, json.loads(body) if body else None))
    except (ValueError, TypeError) as error:
        return web.json_response({"error": str(error)}, status=400)
    except ServiceError as error:
        return web.json_response({"error": error.message}, status=400)


def _counters(standin: "StandIn", _: object) -> object:
    return standin.account.counters


def _state(standin: "StandIn", _: object) -> object:
    return standin.account.state()


def _reset(standin: "StandIn", _: object) -> object:
    standin.reset()
    return {}


def _seed_things(standin: "StandIn", names: object) -> object:
    return {"added": standin.account.registry.seed_things(_list_of(str, names))}


def _seed_policies(standin: "StandIn", names: object) -> object:
    return {"added": standin.account.registry.seed_policies(_list_of(str, names))}


def _add_faults(standin: "StandIn", rules: object) -> object:
    standin.faults.add(*[Fault.from_json(rule) for rule in _list_of(dict, rules)])
    return {}


def _clear_faults(standin: "StandIn", _: object) -> object:
    standin.faults.clear()
    return {}


def _allow(standin: "StandIn", document: object) -> object:
    standin.allow(document)
    return {}


def _end_sessions(standin: "StandIn", _: object) -> object:
    standin.end_sessions()
    return {}


def _list_of(kind: type, value: object) -> list[Any]:
    if not isinstance(value, list) or not all(isinstance(each, kind) for each in value):
        raise ValueError(f"the body must be a JSON list, each entry a {kind.__name__}")
    return value


_ACTIONS: dict[tuple[str, str], Callable[["StandIn", object], object]] = {
    ("GET", "counters"): _counters,
    ("GET", "state"): _state,
    ("POST", "reset"): _reset,
    ("POST", "things"): _seed_things,
    ("POST", "policies"): _seed_policies,
    ("POST", "faults"): _add_faults,
    ("DELETE", "faults"): _clear_faults,
    ("POST", "iam"): _allow,
    ("DELETE", "sessions"): _end_sessions,
}
