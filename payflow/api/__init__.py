"""The API floor: envelope, errors, pages, permissions, throttles, idempotency. Knows no app."""
