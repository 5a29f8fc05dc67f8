"""The command line, with one module per group of commands."""

from facefusion_finetune.cli.app import main

__all__ = ["main"]
