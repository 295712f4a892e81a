"""Starts PayFlow on a machine that has nothing but Python: PostgreSQL, Redis and the processes of the product.

Standard library only, and run by file path (`python payflow/embedded/__main__.py run`): it works before anything can be
imported, and importing `payflow` would import Celery and Django. Inside, only relative imports.
"""
