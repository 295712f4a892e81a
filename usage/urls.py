from django.urls import re_path

from usage import viewsets

urlpatterns = [
    re_path(r"^usage/log/?$", viewsets.log, name="usage-log"),
    re_path(r"^entitlements/?$", viewsets.entitlements, name="entitlements"),
    re_path(r"^entitlements/user/(?P<user_id>[^/]+)/?$", viewsets.entitlements_of_user, name="entitlements-of-user"),
    re_path(r"^usage/?$", viewsets.UsageView.as_view(), name="usage"),
    re_path(r"^usage/batch/?$", viewsets.batch, name="usage-batch"),
    re_path(r"^usage/user/(?P<user_id>[^/]+)/?$", viewsets.UsageOfUserView.as_view(), name="usage-of-user"),
]
