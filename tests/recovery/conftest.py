from tests.flows import shop as shop
