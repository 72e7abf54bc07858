"""``python -m server.cli``: the console script without the script."""

from server.cli import main

main()
