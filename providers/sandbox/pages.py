"""The hosted page: where a payer pays, declines or leaves, with a browser or `curl -d outcome=pay URL`.

It plays a foreign host: no session, no CSRF token of ours; the unguessable address is the whole permission.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from payflow.core import clock
from providers.sandbox import hosted
from providers.sandbox.events import amount_text
from providers.sandbox.models import Behaviour, SandboxCheckout, SandboxPayment

OUTCOMES = ("pay", "decline", "abandon")


class SeeOther(HttpResponseRedirect):
    """303: the browser goes on with GET, so that reloading pays nothing again."""

    status_code = 303


@csrf_exempt
@never_cache
def page(request: HttpRequest, token: str) -> HttpResponse:
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "POST"])
    subject = hosted.page_subject(token=token)
    if subject is None:
        return render(request, "sandbox/checkout.html", {"state": "unknown"}, status=404)
    outcome = request.POST.get("outcome", "")
    card = request.POST.get("card") or Behaviour.OK.value
    if request.method == "POST" and (outcome not in OUTCOMES or card not in Behaviour.values):
        return _show(request, subject, status=400)
    if isinstance(subject, SandboxPayment):
        return _action(request, subject, outcome)
    return _checkout(request, subject, outcome, Behaviour(card))


def _checkout(request: HttpRequest, checkout: SandboxCheckout, outcome: str, card: Behaviour) -> HttpResponse:
    wall = clock.wall()
    if outcome == "pay":
        checkout = hosted.checkout_pay(checkout=checkout, card=card, now=clock.now(), wall=wall)
        if checkout.status == SandboxCheckout.Status.COMPLETED:
            return SeeOther(checkout.success_url)
    elif outcome == "decline":
        checkout = hosted.checkout_decline(checkout=checkout, wall=wall)
    elif outcome == "abandon":
        return SeeOther(checkout.cancel_url)
    return _show(request, checkout, declined=outcome == "decline")


def _action(request: HttpRequest, charge: SandboxPayment, outcome: str) -> HttpResponse:
    if outcome in ("pay", "decline"):
        charge = hosted.action_finish(charge=charge, confirmed=outcome == "pay", wall=clock.wall())
    return _show(request, charge)


def _show(
    request: HttpRequest, subject: SandboxCheckout | SandboxPayment, *, declined: bool = False, status: int = 200
) -> HttpResponse:
    is_checkout = isinstance(subject, SandboxCheckout)
    state = _checkout_state(subject) if isinstance(subject, SandboxCheckout) else subject.status
    return render(
        request,
        "sandbox/checkout.html",
        {
            "subject": subject,
            "is_checkout": is_checkout,
            "state": state,
            "open": state in ("open", SandboxPayment.Status.REQUIRES_ACTION),
            "declined": declined and state == "open",
            "refused": status == 400,
            "price": f"{amount_text(subject.amount, subject.currency)} {subject.currency}",
            "cards": Behaviour.choices,
        },
        status=410 if state == "expired" else status,
    )


def _checkout_state(checkout: SandboxCheckout) -> str:
    if checkout.status == SandboxCheckout.Status.COMPLETED or hosted.is_open(checkout, wall=clock.wall()):
        return checkout.status
    return "expired"
