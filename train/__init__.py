"""Training scripts: ``python -m train configs/NAME.yaml``."""
