"""Where the subscriber himself cancels, resumes or gives another card, with a browser or `curl -d wish=cancel URL`.

Like the checkout it plays a foreign host: the address, signed with the account's key, is the whole permission.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from payflow.core import clock
from providers.sandbox import subscriptions
from providers.sandbox.accounts import is_page_of
from providers.sandbox.errors import Refused
from providers.sandbox.events import amount_text
from providers.sandbox.models import Behaviour, SandboxSubscription

WISHES = ("cancel", "resume", "pay")


@csrf_exempt
@never_cache
def page(request: HttpRequest, ref: str, signature: str) -> HttpResponse:
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "POST"])
    found = SandboxSubscription.objects.filter(pk=SandboxSubscription.key_of(ref)).first()
    if found is None or not is_page_of(found.account, ref, signature):
        return render(request, "sandbox/manage.html", {"state": "unknown"}, status=404)
    wish, status, refusal = request.POST.get("wish", ""), 200, ""
    if request.method == "POST":
        try:
            _fulfil(found, wish)
        except Refused as refused:
            refusal, status = str(refused), refused.status
        if wish not in WISHES:
            refusal, status = "This form was not understood.", 400
    now, wall = clock.now(), clock.wall()
    shown = subscriptions.subscription_find(account=found.account, ref=ref, now=now, wall=wall)
    price = f"{amount_text(shown.product.price, shown.product.currency)} {shown.product.currency}"
    return render(
        request,
        "sandbox/manage.html",
        {"subscription": shown, "state": shown.status, "price": price, "refusal": refusal},
        status=status,
    )


def _fulfil(subscription: SandboxSubscription, wish: str) -> None:
    account, ref, now, wall = subscription.account, subscription.ref, clock.now(), clock.wall()
    match wish:
        case "cancel":
            subscriptions.subscription_cancel(account=account, ref=ref, at_period_end=True, now=now, wall=wall)
        case "resume":
            subscriptions.subscription_resume(account=account, ref=ref, now=now, wall=wall)
        case "pay":
            subscriptions.subscription_pay(account=account, ref=ref, card=Behaviour.OK, now=now, wall=wall)
