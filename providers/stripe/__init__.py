"""Stripe, in one of two modes: PayFlow bills with Stripe's payments, or Stripe Billing bills and tells us."""
