"""OpenAPI: the envelope around every answer, one clean path for every address, lean views too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent, get_lib_doc_excludes
from drf_spectacular.utils import Direction, extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.views import APIView
from yaml.representer import SafeRepresenter

from payflow.api.fields import SelectedFields
from payflow.api.idempotency import HEADER
from payflow.api.json import Envelope
from payflow.api.strict import KnownFieldsOnly
from payflow.core.errors import Code

# A refusal of the schema's own address is written in its format.
SafeRepresenter.add_representer(Envelope, SafeRepresenter.represent_dict)

V = TypeVar("V", bound=Callable[..., Any])

_ERROR = "Error"
_ERROR_TEXT = {
    "400": "The request is not valid",
    "401": "Not signed in, or the credentials are not good",
    "403": "Not allowed",
    "404": "Not found",
    "409": "Not possible in the present state",
    "429": "Too many requests",
}


def only_versioned_paths(endpoints: list[tuple[str, str, str, Any]], **_: Any) -> list[tuple[str, str, str, Any]]:
    """Keeps /api/v1, every path once and without the optional slash. The second document's alias stays outside."""
    return [
        (path.rstrip("/?"), regex, method, callback)
        for path, regex, method, callback in endpoints
        if path.startswith("/api/v1/")
    ]


def bases() -> list[type]:
    """Classes whose docstrings are for programmers: what is derived from them doesn't inherit those."""
    return [*get_lib_doc_excludes(), KnownFieldsOnly, SelectedFields]  # type: ignore[no-untyped-call]


def documented(**schema: Any) -> Callable[[V], V]:
    """Puts a lean view into the schema; takes what drf-spectacular's `extend_schema` takes. Above `@lean_view`."""

    def decorate(view: V) -> V:
        methods = {
            method.lower(): extend_schema(**schema)(_stand_in()) for method in getattr(view, "lean_methods", ("GET",))
        }
        name = "".join(word.title() for word in view.__name__.split("_"))
        # drf-spectacular reads APIViews only; this one is never dispatched.
        open_to_all = {"permission_classes": [AllowAny]} if getattr(view, "lean_anonymous", False) else {}
        view.cls = type(name, (APIView,), {**methods, **open_to_all, "__doc__": view.__doc__})  # type: ignore[attr-defined]
        view.initkwargs = {}  # type: ignore[attr-defined]
        return view

    return decorate


class EnvelopeSchema(AutoSchema):
    """Wraps the schema of each success in the envelope and adds the refusals that any view can give."""

    def _get_parameters(self) -> list[dict[str, Any]]:
        parameters: list[dict[str, Any]] = super()._get_parameters()
        if self.method == "POST" and getattr(self.view, "idempotent", False):
            parameters.append(_parameter(HEADER, "header", "1 to 255 printable characters; kept for 7 days"))
        if self.method == "GET" and self._selects_fields():
            parameters.append(_parameter("fields", "query", "Names of the fields to answer with, by comma"))
        return parameters

    def _get_response_bodies(self, direction: Direction = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        if "204" in bodies:
            bodies["200"] = self._enveloped(bodies.pop("204"))
        for status, text in self._refusals().items():
            bodies.setdefault(status, {"description": text, "content": self._content(self._error())})
        return dict(sorted(bodies.items()))

    def _get_response_for_code(
        self, serializer: Any, status_code: str, media_types: Any = None, direction: Direction = "response"
    ) -> dict[str, Any]:
        response: dict[str, Any] = super()._get_response_for_code(serializer, status_code, media_types, direction)  # type: ignore[no-untyped-call]
        if media_types and "application/json" not in media_types:
            return response  # a PDF has no envelope
        if status_code < "300":
            return self._enveloped(response)
        return {**response, "description": _ERROR_TEXT.get(status_code, ""), "content": self._content(self._error())}

    def _enveloped(self, response: dict[str, Any]) -> dict[str, Any]:
        content = response.get("content") or {}
        data = next((media["schema"] for media in content.values() if "schema" in media), {"nullable": True})
        nothing = {"nullable": True, "description": "null"}
        schema = {
            "type": "object",
            "required": ["message", "data", "error", "code", "details"],
            "properties": {
                "message": {"type": "string"},
                "data": data,
                "error": nothing,
                "code": nothing,
                "details": nothing,
            },
        }
        description = response["description"] if content else "Done"
        return {**response, "description": description, "content": self._content(schema)}

    def _content(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {"application/json": {"schema": schema}}

    def _error(self) -> dict[str, Any]:
        component = ResolvedComponent(  # type: ignore[no-untyped-call]
            name=_ERROR,
            type=ResolvedComponent.SCHEMA,
            object=_ERROR,
            schema={
                "type": "object",
                "required": ["message", "data", "error", "code", "details"],
                "properties": {
                    "message": {"type": "string", "nullable": True},
                    "data": {"nullable": True},
                    "error": {"type": "string"},
                    "code": {"type": "string", "enum": [code.value for code in Code]},
                    "details": {"nullable": True},
                },
            },
        )
        self.registry.register_on_missing(component)
        reference: dict[str, Any] = component.ref
        return reference

    def _selects_fields(self) -> bool:
        answers = self.get_response_serializers()
        for serializer in answers.values() if isinstance(answers, dict) else [answers]:
            serializer = getattr(serializer, "child", serializer)
            if issubclass(serializer if isinstance(serializer, type) else type(serializer), SelectedFields):
                return True
        return False

    def _refusals(self) -> dict[str, str]:
        statuses = ["429"]
        if self.method != "GET" or self._get_parameters():
            statuses.append("400")
        if AllowAny not in getattr(self.view, "permission_classes", []):
            statuses += ["401", "403"]
        if "{" in self.path:
            statuses.append("404")
        if self.method != "GET" and getattr(self.view, "idempotent", True):
            statuses.append("409")
        return {status: _ERROR_TEXT[status] for status in statuses}


def _parameter(name: str, place: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": False, "description": description, "schema": {"type": "string"}}


def _stand_in() -> Callable[..., None]:
    """A method of its own each time: `extend_schema` notes on it what it documents."""

    def method(self: Any, request: Any, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError

    return method
