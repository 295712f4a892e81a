from django.urls import re_path

from accounts.viewsets import (
    ApiKeyViewSet,
    LogoutView,
    RegisterView,
    TokenRefreshView,
    TokenVerifyView,
    TokenView,
)
from payflow.api.router import Router

router = Router()
router.register("auth/api-keys", ApiKeyViewSet, basename="api-key")

urlpatterns = [
    re_path(r"^auth/register/?$", RegisterView.as_view(), name="auth-register"),
    re_path(r"^auth/token/?$", TokenView.as_view(), name="auth-token"),
    re_path(r"^auth/token/refresh/?$", TokenRefreshView.as_view(), name="auth-token-refresh"),
    re_path(r"^auth/token/verify/?$", TokenVerifyView.as_view(), name="auth-token-verify"),
    re_path(r"^auth/logout/?$", LogoutView.as_view(), name="auth-logout"),
    *router.urls,
]
