from payflow.api.router import Router
from subscriptions.viewsets import SubscriptionViewSet

router = Router()
router.register("subscriptions", SubscriptionViewSet, basename="subscription")

urlpatterns = router.urls
