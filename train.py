"""Trains a system: python train.py --help."""

from jaxgan.tools import train

if __name__ == '__main__':
  train.run()
