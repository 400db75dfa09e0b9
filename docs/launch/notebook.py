"""Installs what jaxgan needs into the Python of a notebook.

Colab and Kaggle bring a JAX for their device, TensorFlow, NumPy and Pillow, and
a notebook may have loaded them: what fits requirements.txt is left as it is.

  python docs/launch/notebook.py
"""

import importlib.metadata
import pathlib
import subprocess
import sys
from collections.abc import Iterable, Mapping

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_ROOT = pathlib.Path(__file__).resolve().parents[2]
# The JAX that knows the device, and what a notebook has often loaded.
_KEPT = ('jax', 'jaxlib', 'numpy', 'pillow')
_LOADED = {'numpy', 'pillow'}
# What tells which device a JAX is for, and what installs another such.
_EXTRAS = {
  'jax-cuda13-plugin': 'cuda13',
  'jax-cuda12-plugin': 'cuda12',
  'libtpu': 'tpu',
}


def choose(
  lines: Iterable[str], installed: Mapping[str, str]
) -> tuple[list[str], list[str]]:
  """Returns what pip is to install, and which of _KEPT it will replace.

  Args:
    lines: of a file of requirements.
    installed: {package: version}.
  """
  wanted, replaced = [], []
  for line in lines:
    text = line.partition('#')[0].strip()
    if not text:
      continue
    requirement = Requirement(text)
    if requirement.marker and not requirement.marker.evaluate():
      continue
    requirement.marker = None
    if requirement.name == 'tensorflow-cpu' and 'tensorflow' in installed:
      requirement.name = 'tensorflow'  # they would overwrite each other
    name = requirement.name
    if name in _KEPT and name in installed:
      if requirement.specifier.contains(installed[name], prereleases=True):
        # Exactly, or a newer flax would bring a JAX without the device.
        wanted.append(f'{name}=={installed[name]}')
        continue
      replaced.append(name)
      if name == 'jax':
        extras = (e for plugin, e in _EXTRAS.items() if plugin in installed)
        requirement.extras = set(list(extras)[:1])
    wanted.append(str(requirement))
  return wanted, replaced


def main() -> None:
  """Installs, and says what of the machine's own was replaced."""
  version = '.'.join(map(str, sys.version_info[:2]))
  if version not in ('3.11', '3.12', '3.13'):
    sys.exit(f'Python 3.11 to 3.13 is needed, this is {version}')
  installed = {
    canonicalize_name(found.name): found.version
    for found in importlib.metadata.distributions()
  }
  lines = (_ROOT / 'requirements.txt').read_text().splitlines()
  wanted, replaced = choose(lines, installed)
  for name in replaced:
    (new,) = (text for text in wanted if Requirement(text).name == name)
    print(f'{name} {installed[name]} does not fit and is replaced by {new}')
  pip = [sys.executable, '-m', 'pip', 'install', '--quiet', *wanted]
  if subprocess.call(pip):
    sys.exit('pip could not install all: see above. Is there a network?')
  if loaded := sorted(_LOADED.intersection(replaced)):
    print(f'RESTART the session once, and begin again: new {", ".join(loaded)}')


if __name__ == '__main__':
  main()
