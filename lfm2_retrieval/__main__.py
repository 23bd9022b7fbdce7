"""``python -m lfm2_retrieval`` is the command ``lfm2-retrieve``."""

from .cli import main

main(prog_name="lfm2-retrieve")
