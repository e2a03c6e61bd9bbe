"""``python -m submodel``."""

from submodel.cli.app import main

main()
