from django.urls import re_path

from analytics.views import PlanAnalyticsView

urlpatterns = [
    re_path(r"^plans/(?P<plan>[A-Za-z0-9_-]{1,64})/analytics/?$", PlanAnalyticsView.as_view(), name="plan-analytics")
]
