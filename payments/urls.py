from payflow.api.router import Router
from payments.viewsets import CreditViewSet, InvoiceViewSet, PaymentMethodViewSet, PaymentViewSet

router = Router()
router.register("payments", PaymentViewSet, basename="payment")
router.register("invoices", InvoiceViewSet, basename="invoice")
router.register("payment-methods", PaymentMethodViewSet, basename="payment-method")
router.register("credits", CreditViewSet, basename="credit")

urlpatterns = router.urls
