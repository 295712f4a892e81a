"""The customer's pages, each with and without the trailing slash."""

from django.urls import re_path

from portal.pages import account, changes, entry, plans

app_name = "portal"
UUID = "[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
OWN = rf"^account/subscriptions/(?P<subscription_id>{UUID})"

urlpatterns = [
    re_path(r"^favicon\.ico$", plans.favicon, name="favicon"),
    re_path(r"^$", plans.pricing, name="home"),
    re_path(r"^pricing/?$", plans.pricing, name="pricing"),
    re_path(r"^signup/?$", entry.SignupView.as_view(), name="signup"),
    re_path(r"^login/?$", entry.LoginView.as_view(), name="login"),
    re_path(r"^logout/?$", entry.leave, name="logout"),
    re_path(r"^subscribe/(?P<code>[-\w]+)/?$", plans.SubscribeView.as_view(), name="subscribe"),
    re_path(r"^change/(?P<code>[-\w]+)/?$", changes.ChangeView.as_view(), name="change"),
    re_path(r"^subscription/success/?$", plans.success, name="success"),
    re_path(r"^subscription/cancel/?$", plans.abandoned, name="abandoned"),
    re_path(r"^account/?$", account.overview, name="account"),
    re_path(rf"^account/invoices/(?P<invoice_id>{UUID})/pdf/?$", account.invoice_pdf, name="invoice_pdf"),
    re_path(rf"{OWN}/cancel/?$", account.cancel, name="cancel"),
    re_path(rf"{OWN}/keep/?$", account.keep, name="keep"),
    re_path(rf"{OWN}/keep-plan/?$", account.keep_plan, name="keep_plan"),
    re_path(rf"{OWN}/pay/?$", account.pay, name="pay"),
    re_path(rf"{OWN}/pay-otherwise/?$", account.pay_otherwise, name="pay_otherwise"),
    re_path(rf"{OWN}/pause/?$", account.pause, name="pause"),
    re_path(rf"{OWN}/resume/?$", account.resume, name="resume"),
]
