#!/usr/bin/env python
"""Django's command line: `manage.py migrate`, `manage.py seed`, `manage.py advance_clock --days 31`, …"""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "payflow.settings.dev")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
