"""``python -m editor``: the same as the command ``excise``."""

from editor.cli import main

main()
