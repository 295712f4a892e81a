"""Apart from `benchmarks.wsgi`, whose import makes the application."""

#: Paths under this are answered without middleware.
BARE = "/bare"
