from payflow.api.router import Router
from plans.viewsets import PlanViewSet

router = Router()
router.register("plans", PlanViewSet, basename="plan")

urlpatterns = router.urls
