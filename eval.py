"""Scores a checkpoint of a run: python eval.py --help."""

from jaxgan.tools import evaluate

if __name__ == '__main__':
  evaluate.run()
