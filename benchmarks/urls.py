"""PayFlow's addresses, and in front of them the bare views that each workload is measured against.

In front: a baseline pays for as little routing as Django allows, which errs against us.
"""

from __future__ import annotations

from django.urls import include, path

from benchmarks.workloads import all_modules
from benchmarks.wsgi_paths import AS_API
from payflow import urls
from payflow.urls import handler400, handler403, handler404, handler500

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]

_bare = [pattern for module in all_modules() for pattern in getattr(module, "urlpatterns", ())]
urlpatterns = [*_bare, path(f"{AS_API[1:]}/", include(_bare)), *urls.urlpatterns]
