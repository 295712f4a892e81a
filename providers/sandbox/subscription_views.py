"""The API of products, purchases and subscriptions: thin edges over their services. The clocks are read here."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse

from payflow.core import clock
from providers.sandbox import inputs, subscription_inputs, subscriptions
from providers.sandbox.accounts import Account
from providers.sandbox.described import subscription_shown
from providers.sandbox.endpoints import endpoint
from providers.sandbox.errors import Malformed
from providers.sandbox.events import amount_text
from providers.sandbox.faults import fault_switch
from providers.sandbox.models import SandboxEvent, SandboxSubscription
from providers.sandbox.products import product_keep
from providers.sandbox.subscription_inputs import PAGE


def _product_keep(request: HttpRequest, account: Account) -> HttpResponse:
    product = product_keep(account=account.id, wanted=subscription_inputs.product_input(request))
    return JsonResponse(
        {
            "product_ref": product.product_ref,
            "name": product.name,
            "price": amount_text(product.price, product.currency),
            "currency": product.currency,
            "cycle": product.cycle,
            "every": product.every,
            "trial_days": product.trial_days,
        }
    )


def _purchase_create(request: HttpRequest, account: Account) -> HttpResponse:
    key = inputs.idempotency_key(request)
    subscription, created = subscriptions.purchase_create(
        account=account.id,
        key=key,
        wanted=subscription_inputs.purchase_input(request),
        now=clock.now(),
        wall=clock.wall(),
    )
    body = {"purchase_token": subscription.purchase_token, "subscription": subscription_shown(subscription)}
    return JsonResponse(body, status=201 if created else 200)


def _purchase_find(request: HttpRequest, account: Account, token: str) -> HttpResponse:
    found = subscriptions.purchase_find(account=account.id, token=token, now=clock.now(), wall=clock.wall())
    return JsonResponse(subscription_shown(found))


def _bought(request: HttpRequest, account: Account) -> HttpResponse:
    """The subscriptions that were bought under the shop's reference, oldest first."""
    found = subscriptions.subscriptions_bought(
        account=account.id, order_ref=subscription_inputs.order_input(request), now=clock.now(), wall=clock.wall()
    )
    return JsonResponse({"subscriptions": [subscription_shown(each) for each in found]})


def _asked(service: Callable[..., SandboxSubscription], **readers: Callable[[HttpRequest], Any]) -> Any:
    """A handler that lets `service` do one thing with the subscription of the address and shows it afterwards."""

    def handler(request: HttpRequest, account: Account, ref: str) -> HttpResponse:
        wishes = {name: read(request) for name, read in readers.items()}
        subscription = service(account=account.id, ref=ref, now=clock.now(), wall=clock.wall(), **wishes)
        return JsonResponse(subscription_shown(subscription))

    return handler


def _change(request: HttpRequest, account: Account, ref: str) -> HttpResponse:
    wish = subscription_inputs.change_input(request)
    subscription = subscriptions.subscription_change(
        account=account.id,
        ref=ref,
        product_ref=wish.product_ref,
        at_once=wish.at_once,
        now=clock.now(),
        wall=clock.wall(),
    )
    return JsonResponse(subscription_shown(subscription))


def _told_of_one(request: HttpRequest, account: Account, ref: str) -> HttpResponse:
    """What happened to it after `since` (business time), oldest first."""
    subscription = subscriptions.subscription_find(account=account.id, ref=ref, now=clock.now(), wall=clock.wall())
    wish = subscription_inputs.news_input(request)
    told = SandboxEvent.objects.filter(account=account.id, subscription=subscription)
    if wish.since:
        told = told.filter(occurred_at__gt=wish.since)
    return _page(told, wish.after)


def _told(request: HttpRequest, account: Account) -> HttpResponse:
    """All that was to be told in [since, until), real time, oldest first."""
    wish = subscription_inputs.news_input(request)
    if wish.since is None or wish.until is None:
        raise Malformed("since and until are missing")
    told = SandboxEvent.objects.filter(account=account.id, created_at__gte=wish.since, created_at__lt=wish.until)
    return _page(told, wish.after)


def _page(told: QuerySet[SandboxEvent], after: str) -> HttpResponse:
    rows = told.order_by("id")
    if after:
        rows = rows.filter(id__gt=SandboxEvent.objects.filter(event_id=after).values("id"))
    page = list(rows[: PAGE + 1])
    return JsonResponse({"events": [json.loads(row.body) for row in page[:PAGE]], "more": len(page) > PAGE})


def _fault_switch(request: HttpRequest, account: Account) -> HttpResponse:
    wish = subscription_inputs.fault_input(request)
    fault_switch(account=account.id, kind=wish.kind, times=wish.times, wall=clock.wall())
    return JsonResponse({"kind": wish.kind, "times": wish.times})


products = endpoint(POST=_product_keep)
purchases = endpoint(POST=_purchase_create)
purchase_detail = endpoint(GET=_purchase_find)
subscriptions_of_order = endpoint(GET=_bought)
subscription_detail = endpoint(GET=_asked(subscriptions.subscription_find))
subscription_events = endpoint(GET=_told_of_one)
subscription_cancel = endpoint(
    POST=_asked(subscriptions.subscription_cancel, at_period_end=subscription_inputs.cancel_input)
)
subscription_resume = endpoint(POST=_asked(subscriptions.subscription_resume))
subscription_pause = endpoint(POST=_asked(subscriptions.subscription_pause))
subscription_change = endpoint(POST=_change)
subscription_acknowledge = endpoint(POST=_asked(subscriptions.subscription_acknowledge))
# What the sandbox's owner and the subscriber do.
subscription_extend = endpoint(POST=_asked(subscriptions.subscription_extend, days=subscription_inputs.extension_input))
subscription_take_back = endpoint(POST=_asked(subscriptions.subscription_take_back))
subscription_pay = endpoint(POST=_asked(subscriptions.subscription_pay, card=subscription_inputs.card_input))
events = endpoint(GET=_told)
faults = endpoint(always_answers=True, POST=_fault_switch)
