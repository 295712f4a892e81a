from payflow.core.errors import Code, DomainError, ValidationFailed


class AlreadySubscribed(DomainError):
    """The user has a paid live subscription of this family: he changes its plan instead."""

    code = Code.ALREADY_SUBSCRIBED
    message = "You already have a subscription; change its plan instead"


class ProviderManaged(DomainError):
    """Only the provider can do this; `details.manage_url` says where the subscriber does it."""

    code = Code.PROVIDER_MANAGED
    message = "This subscription is managed at the payment provider"


class PurchaseTaken(DomainError):
    """A store purchase that belongs to another user: it is never moved silently."""

    code = Code.PURCHASE_TAKEN
    message = "This purchase belongs to another account"


class CouponNotApplicable(ValidationFailed):
    """This coupon lowers nothing for this user, plan and currency now; `details.coupon` says why."""

    message = "This coupon cannot be used here"

    def __init__(self, fault: str) -> None:
        super().__init__(fault, details={"coupon": [fault]})
