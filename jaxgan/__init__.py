"""StarGAN v2, and later its relatives, in JAX and Flax."""

__version__ = '0.1.0'
