import gc
import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "payflow.settings.production")

application = get_wsgi_application()
# As Celery's workers do: modules and models live as long as the process, and the garbage collector no longer walks them
# for each large request (a third of the time of a batch of usage). The views are loaded by the first request, or here.
_ = get_resolver().url_patterns
gc.collect()
gc.freeze()
