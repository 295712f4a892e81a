"""Mounted at /sandbox/ where `SANDBOX_ENABLED`; every address answers with and without the last slash."""

from django.urls import re_path

from providers.sandbox import pages, views

app_name = "sandbox"
urlpatterns = [
    re_path(r"^api/checkouts/?$", views.checkouts, name="checkouts"),
    re_path(r"^api/charges/?$", views.charges, name="charges"),
    re_path(r"^api/methods/?$", views.methods, name="methods"),
    re_path(r"^api/methods/(?P<ref>[\w-]+)/?$", views.method_detail, name="method"),
    re_path(r"^api/payments/(?P<ref>[\w-]+)/refunds/?$", views.refunds, name="refunds"),
    re_path(r"^api/payments/(?P<ref>[\w-]+)/disputes/?$", views.payment_disputes, name="disputes"),
    re_path(r"^api/disputes/(?P<ref>[\w-]+)/?$", views.dispute_detail, name="dispute"),
    re_path(r"^checkout/(?P<token>[\w-]+)/?$", pages.page, name="page"),
]
