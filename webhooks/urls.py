from django.urls import re_path

from webhooks.views import inbound

urlpatterns = [re_path(r"^(?P<provider>[a-z0-9_-]{1,50})/?$", inbound, name="webhook")]
