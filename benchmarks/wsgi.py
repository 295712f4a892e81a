"""PayFlow's application; under `/bare/` the same without middleware, to show what the middleware costs."""

from collections.abc import Iterable
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.test.utils import override_settings

from benchmarks.wsgi_paths import BARE
from payflow.wsgi import application as _whole

with override_settings(MIDDLEWARE=[]):
    _bare = WSGIHandler()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    path: str = environ["PATH_INFO"]
    if path.startswith(BARE):
        environ["PATH_INFO"] = path.removeprefix(BARE)
        return _bare(environ, start_response)
    return _whole(environ, start_response)
