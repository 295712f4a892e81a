"""Mounted at /sandbox/ where `SANDBOX_ENABLED`; every address answers with and without the last slash."""

from django.urls import re_path

from providers.sandbox import manage_page, pages, subscription_views, views

app_name = "sandbox"
REF = r"(?P<ref>[\w-]+)"
urlpatterns = [
    re_path(r"^api/checkouts/?$", views.checkouts, name="checkouts"),
    re_path(r"^api/charges/?$", views.charges, name="charges"),
    re_path(r"^api/methods/?$", views.methods, name="methods"),
    re_path(r"^api/methods/(?P<ref>[\w-]+)/?$", views.method_detail, name="method"),
    re_path(r"^api/payments/(?P<ref>[\w-]+)/refunds/?$", views.refunds, name="refunds"),
    re_path(r"^api/payments/(?P<ref>[\w-]+)/disputes/?$", views.payment_disputes, name="disputes"),
    re_path(r"^api/disputes/(?P<ref>[\w-]+)/?$", views.dispute_detail, name="dispute"),
    re_path(r"^api/products/?$", subscription_views.products, name="products"),
    re_path(r"^api/purchases/?$", subscription_views.purchases, name="purchases"),
    re_path(r"^api/purchases/(?P<token>[\w-]+)/?$", subscription_views.purchase_detail, name="purchase"),
    re_path(r"^api/subscriptions/?$", subscription_views.subscriptions_of_order, name="subscriptions"),
    re_path(rf"^api/subscriptions/{REF}/?$", subscription_views.subscription_detail, name="subscription"),
    re_path(rf"^api/subscriptions/{REF}/events/?$", subscription_views.subscription_events),
    re_path(rf"^api/subscriptions/{REF}/cancel/?$", subscription_views.subscription_cancel),
    re_path(rf"^api/subscriptions/{REF}/resume/?$", subscription_views.subscription_resume),
    re_path(rf"^api/subscriptions/{REF}/pause/?$", subscription_views.subscription_pause),
    re_path(rf"^api/subscriptions/{REF}/change/?$", subscription_views.subscription_change),
    re_path(rf"^api/subscriptions/{REF}/acknowledge/?$", subscription_views.subscription_acknowledge),
    re_path(rf"^api/subscriptions/{REF}/extend/?$", subscription_views.subscription_extend),
    re_path(rf"^api/subscriptions/{REF}/take-back/?$", subscription_views.subscription_take_back),
    re_path(rf"^api/subscriptions/{REF}/pay/?$", subscription_views.subscription_pay),
    re_path(r"^api/events/?$", subscription_views.events, name="events"),
    re_path(r"^api/faults/?$", subscription_views.faults, name="faults"),
    re_path(rf"^manage/{REF}/(?P<signature>[0-9a-f]+)/?$", manage_page.page, name="manage"),
    re_path(r"^checkout/(?P<token>[\w-]+)/?$", pages.page, name="page"),
]
