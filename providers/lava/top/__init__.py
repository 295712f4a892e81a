"""The public API of lava.top, the flavour `lava_top`: offers that are paid once or again and again."""
