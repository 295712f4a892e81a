from tests.flows import shop

__all__ = ["shop"]
