"""Apart from `urls`, which also answer under the second document's `/api/subscriptions`."""

from django.urls import re_path

from subscriptions.viewsets_coupons import CouponValidateView

urlpatterns = [re_path(r"^coupons/validate/?$", CouponValidateView.as_view(), name="coupon-validate")]
