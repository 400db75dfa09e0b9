"""StarGAN v2, and later its relatives, in JAX and Flax."""
