"""Lava's Business API at api.lava.ru, the flavour `lava_ru`: signed calls, recurrent products, refunds."""
