"""Lava, exactly as the architecture document describes it: one POST that makes an invoice, one signed webhook."""
