"""The systems: a directory each, and the contract that they fulfil."""
