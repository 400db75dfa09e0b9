"""Programs beside train.py and eval.py: python -m jaxgan.tools.<name>."""
