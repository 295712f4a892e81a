from django.urls import re_path

from portal.api import ClockView

urlpatterns = [re_path(r"^sandbox/clock/?$", ClockView.as_view(), name="sandbox-clock")]
