"""Apart from `benchmarks.wsgi`, whose import makes the application."""

#: Paths under this are answered without middleware.
BARE = "/bare"
#: Under this the bare views pass through what the API passes through, and not through what is for pages.
AS_API = "/api/v1"
