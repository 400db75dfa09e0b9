"""The named configs: stargan_v2/shapes is configs/stargan_v2/shapes.py."""

import ast
import pathlib
import textwrap
from collections.abc import Iterator

from jaxgan.systems import contract

# In a clone a link to the folder beside the package; a package holds the files.
_FOLDER = pathlib.Path(__file__).parents[1] / 'configs'
if not _FOLDER.is_dir():  # of a clone where links are files
  _FOLDER = _FOLDER.parents[1] / 'configs'
_WIDTH = 100


def paths() -> dict[str, pathlib.Path]:
  """{name: file} of all there are, in the order of names."""
  return {
    f'{path.parent.name}/{path.stem}': path
    for path in sorted(_FOLDER.glob('*/*.py'))
  }


def name_of(text: str) -> str:
  """The name in what is given for one: configs/stargan_v2/shapes.py too."""
  return text.removeprefix('configs/').removesuffix('.py')


def catalogue() -> str:
  """The systems and their configs, to be printed: a line for each config."""
  return '\n'.join(_lines())


def _lines() -> Iterator[str]:
  found = paths()
  width = max(map(len, found))
  for system in contract.SYSTEMS:
    about = contract.load(system).ABOUT
    paper = about.paper.partition(', http')[0]
    yield from textwrap.wrap(
      f'{about.title} ({paper}). Needs {about.data}. Gives {about.output}.',
      _WIDTH,
    )
    for name, path in found.items():
      if name.startswith(f'{system}/'):
        yield from textwrap.wrap(
          _first_line(path),
          _WIDTH,
          initial_indent=f'  {name:{width}}  ',
          subsequent_indent=' ' * (width + 4),
        )
  yield ''
  yield 'Settings: python -m jaxgan.tools.settings --config=stargan_v2/shapes'


def _first_line(path: pathlib.Path) -> str:
  """What the docstring of a config begins with."""
  text = ast.get_docstring(ast.parse(path.read_text())) or ''
  return text.partition('\n')[0].rstrip('.')
