from payflow.core.errors import Code, DomainError


class PaymentDeclined(DomainError):
    code = Code.PAYMENT_DECLINED
    message = "The payment was declined"


class PaymentInProgress(DomainError):
    """A charge of the invoice is pending, or has already succeeded."""

    code = Code.PAYMENT_IN_PROGRESS
    message = "A payment of this invoice is under way"


class RefundNotSupported(DomainError):
    code = Code.REFUND_NOT_SUPPORTED
    message = "The provider has no refunds by API"


class RefundExceedsPayment(DomainError):
    code = Code.REFUND_EXCEEDS_PAYMENT
    message = "The refund is larger than what is left of the payment"


class InsufficientCredit(DomainError):
    """The customer's credit in this currency is less than what is to be spent; nothing of it was."""

    code = Code.PAYMENT_DECLINED
    message = "There is not enough credit"
