"""`python -m facefusion_finetune`."""

from facefusion_finetune.cli import main

if __name__ == "__main__":
    main()
