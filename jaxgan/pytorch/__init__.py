"""Files of PyTorch codes; torch is imported here alone."""
