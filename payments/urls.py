from payflow.api.router import Router
from payments.viewsets import InvoiceViewSet, PaymentMethodViewSet, PaymentViewSet

router = Router()
router.register("payments", PaymentViewSet, basename="payment")
router.register("invoices", InvoiceViewSet, basename="invoice")
router.register("payment-methods", PaymentMethodViewSet, basename="payment-method")

urlpatterns = router.urls
