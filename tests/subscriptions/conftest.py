from tests.flows import shop
from tests.subscriptions.store_world import books, plans

__all__ = ["books", "plans", "shop"]
