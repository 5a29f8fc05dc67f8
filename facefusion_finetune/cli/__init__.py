"""The command line, a module for each group of commands."""

from facefusion_finetune.cli.app import main

__all__ = ["main"]
