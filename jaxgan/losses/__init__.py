"""Terms of losses that two systems share."""
