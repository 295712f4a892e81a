from payflow.api.router import Router
from plans.viewsets import PlanViewSet
from plans.viewsets_coupons import CouponViewSet

router = Router()
router.register("plans", PlanViewSet, basename="plan")
router.register("coupons", CouponViewSet, basename="coupon")

urlpatterns = router.urls
