"""Google Play Billing: purchases made in an app, told by hints over Pub/Sub, read at the Play Developer API."""
