"""Lists the systems: what each needs, what it gives, and its configs.

python -m jaxgan.tools.systems
"""

import ast
import pathlib
import sys

from jaxgan.runtime import cli
from jaxgan.systems import contract

_CONFIGS = pathlib.Path('configs')


def main() -> None:
  """Prints a paragraph for each system."""
  for name in contract.SYSTEMS:
    about = contract.load(name).ABOUT
    print(f'{name}: {about.title}, {about.paper}')
    print(f'  needs  {about.data}')
    print(f'  gives  {about.output}')
    for path in sorted((_CONFIGS / name).glob('*.py')):
      print(f'  {path}: {_first_line(path)}')
    print()


def _first_line(path: pathlib.Path) -> str:
  """What the docstring of a config begins with."""
  text = ast.get_docstring(ast.parse(path.read_text())) or ''
  return text.partition('\n')[0].rstrip('.')


if __name__ == '__main__':
  cli.run(main, sys.argv)
