r"""Draws the emoji of several makers, the same name for the same emoji.

python -m jaxgan.tools.make_emoji OUT [--size=128] [--icons=FOLDER] \
    [--styles=noto,twemoji,fluent,openmoji]

OUT is a new folder, or an empty one: it gets {train,val}/<style>/<name>.png,
index.json (caption, category and split of each name), and the licences. The
icons come from packages of npm, in --icons as `npm pack` leaves them or
installed. Nothing is downloaded here; this fetches those of the four styles:

npm pack @iconify-json/noto@1.2.9 @iconify-json/twemoji@1.2.5 \
    @iconify-json/fluent-emoji-flat@1.2.6 @iconify-json/openmoji@1.2.29

Other styles: emojione, emojione-v1, fluent-emoji, fxemoji, noto-v1.
A name that a style lacks is left out of it, and counted. Exit status: 1 where
an icon could not be drawn, too.
"""

import collections
import contextlib
import difflib
import hashlib
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator, Sequence

import tqdm
from etils import epath

from jaxgan.data import icon_sets
from jaxgan.data.icon_sets import IconSet, Package
from jaxgan.runtime import cli, errors, files, host, images

Index = dict[str, dict[str, str]]

# The versions are those of the published pictures.
STYLES = {
  'noto': Package('noto', '1.2.9'),
  'twemoji': Package('twemoji', '1.2.5'),
  'fluent': Package('fluent-emoji-flat', '1.2.6'),
  'openmoji': Package('openmoji', '1.2.29'),
  'emojione': Package('emojione', '1.2.3'),
  'emojione-v1': Package('emojione-v1', '1.2.3'),
  'fluent-emoji': Package('fluent-emoji', '1.2.7'),
  'fxemoji': Package('fxemoji', '1.2.2'),
  'noto-v1': Package('noto-v1', '1.2.5'),
}
SPLITS = ('train', 'val')
MAX_NAMES = 3  # of those that a line is about
_VAL_PERCENT = 12
_NAMES = pathlib.Path(__file__).with_name('emoji.json')
# Of the licences that the sets have, by SPDX.
_SHOWN = {
  'Apache-2.0': 'yes',
  'MIT': 'yes',
  'CC-BY-4.0': 'yes, with attribution',
  'CC-BY-SA-4.0': 'yes, with attribution and under the same licence',
}

_SIZE = cli.define_integer(
  'size', 128, 'Width and height of the pictures.', 16, 1024
)
_ICONS = cli.define_path(
  'icons', '.', 'Folder with the packages: archives, or node_modules.'
)
_STYLES = cli.define_names(
  'styles', list(STYLES)[:4], 'The makers whose emoji are drawn.'
)


def main(out: str) -> int:
  """Draws all emoji; returns the exit status."""
  styles, target = _check_styles(_STYLES.value), epath.Path(out)
  _check_out(target)
  icon_sets.import_resvg()
  index = create_index()
  sets = _read_sets(styles, index)
  host.check_devices()
  with _filled(target) as folder:
    undrawn = _draw(sets, index, folder)
    drawn = {name for style in sets.values() for name in style.icons}
    index = {name: facts for name, facts in index.items() if name in drawn}
    _write_texts(sets, index, folder)
  pictures = sum(len(style.icons) for style in sets.values())
  print(
    f'{pictures:,} pictures of {len(index):,} emoji in {len(sets)} '
    f'style{"s" if len(sets) > 1 else ""}, {_SIZE.value} px, in {out}'
  )
  return int(undrawn)


def create_index() -> Index:
  """{name: its caption, category and split}, of all emoji, by name.

  They are the names that noto, twemoji, fluent and openmoji share; one of each
  group that a style draws alike, or that differs by man, woman or person alone.
  """
  categories = json.loads(_NAMES.read_text())
  category = {name: c for c, names in categories.items() for name in names}
  return {
    name: {
      'caption': name.replace('-', ' '),
      'category': category[name],
      'split': split_of(name),
    }
    for name in sorted(category)
  }


def split_of(name: str) -> str:
  """The split of an emoji in all styles, by a sum of its name."""
  digest = hashlib.sha256(name.encode()).hexdigest()
  return SPLITS[int(digest, 16) % 100 < _VAL_PERCENT]


def _check_styles(names: Sequence[str]) -> list[str]:
  if not names:
    raise errors.UsageError(f'--styles names none of {", ".join(STYLES)}')
  for name in names:
    if name not in STYLES:
      near = difflib.get_close_matches(name, STYLES, 1)
      cure = f'did you mean {near[0]}? ' if near else ''
      raise errors.UsageError(
        f'--styles: there is no style {name!r}: {cure}There are '
        f'{", ".join(STYLES)}'
      )
  return list(dict.fromkeys(names))


def _check_out(out: epath.Path) -> None:
  if '://' in os.fspath(out):
    raise errors.UserError(
      f'OUT {out} is no folder of this machine: give one, and copy it'
    )
  # What is foreign is unfinished output of this program, too.
  if out.exists() and not (
    out.is_dir() and all(files.is_foreign(path.name) for path in out.iterdir())
  ):
    raise errors.UserError(
      f'{out} exists and is no empty folder: take another OUT'
    )


def _read_sets(styles: Sequence[str], names: Index) -> dict[str, IconSet]:
  """{style: its icons}; prints a line for each."""
  folder = epath.Path(_ICONS.value)
  if not folder.is_dir():
    raise errors.UserError(
      f'--icons={folder} is no folder: name the one that the packages lie in'
    )
  found = {style: icon_sets.find(folder, STYLES[style]) for style in styles}
  if missing := [STYLES[style] for style, path in found.items() if not path]:
    raise errors.UserError(
      f'--icons={folder} has no icons of '
      f'{", ".join(package.name for package in missing)}: in that folder, '
      f'npm pack {" ".join(map(str, missing))}'
    )
  sets = {}
  for style, path in found.items():
    sets[style] = icon_sets.read(path, STYLES[style], names)
    print(f'{style}: {_describe(style, sets[style], path, names)}')
  return sets


def _describe(
  style: str,
  icon_set: IconSet,
  path: epath.Path,
  names: Index,
) -> str:
  """The names that a style has, and how it is not that which is published."""
  told = f'{len(icon_set.icons):,} of {len(names):,} names, of {path}'
  if missing := [name for name in names if name not in icon_set.icons]:
    told += f'; it lacks {_some(missing)}'
  wanted = STYLES[style].version
  if icon_set.version != wanted:
    told += (
      f'; it is of version {icon_set.version}, and may be drawn otherwise '
      f'than {wanted}'
    )
  return told


def _some(names: Sequence[str]) -> str:
  rest = len(names) - MAX_NAMES
  more = [f'{rest:,} more'] if rest > 0 else []
  return ', '.join([*names[:MAX_NAMES], *more])


@contextlib.contextmanager
def _filled(out: epath.Path) -> Iterator[epath.Path]:
  """Gives a folder, whose contents are in `out` at the end, or nothing is."""
  is_new, partial = not out.exists(), out / '.partial'
  shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
  partial.mkdir(parents=True)
  try:
    yield partial
    for path in sorted(partial.iterdir()):
      path.rename(out / path.name)
    partial.rmdir()
  except BaseException:
    shutil.rmtree(partial if not is_new else out, ignore_errors=True)
    raise


def _draw(sets: dict[str, IconSet], index: Index, out: epath.Path) -> bool:
  """Writes the pictures, and drops icons that cannot be drawn.

  Returns:
    Whether there were such icons, which it has named then.
  """
  undrawn = collections.defaultdict[str, list[str]](list)
  total = sum(len(icon_set.icons) for icon_set in sets.values())
  bar = tqdm.tqdm(
    desc='pictures', total=total, unit='picture', **host.progress()
  )
  with icon_sets.drawing() as draw, bar:
    for style, icon_set in sets.items():
      for split in SPLITS:
        (out / split / style).mkdir(parents=True)
      for name, icon in list(icon_set.icons.items()):
        try:
          image = draw(icon, _SIZE.value)
        except ValueError as e:
          undrawn[style].append(errors.printable(f'{name} ({e})'))
          del icon_set.icons[name]
        else:
          split = index[name]['split']
          images.write_png(out / split / style / f'{name}.png', image)
        bar.update()
  for style, names in undrawn.items():
    print(
      f'error: {style}: {len(names):,} of its icons cannot be drawn and are '
      f'left out: {_some(names)}',
      file=sys.stderr,
    )
  return bool(undrawn)


def _write_texts(
  sets: dict[str, IconSet], index: Index, out: epath.Path
) -> None:
  files.write_whole(out / 'index.json', json.dumps(index, indent=0))
  (out / 'licences').mkdir()
  for style, icon_set in sets.items():
    files.write_whole(out / 'licences' / f'{style}.json', icon_set.info)
  files.write_whole(out / 'README.md', _readme(sets, index))


def _readme(sets: dict[str, IconSet], index: Index) -> str:
  splits = collections.Counter(facts['split'] for facts in index.values())
  rows = [
    f'| {style} | {len(icon_set.icons):,} | {icon_set.title}, '
    f'[{icon_set.author[0]}]({icon_set.author[1]}) | '
    f'`@iconify-json/{STYLES[style].name}` {icon_set.version} | '
    f'[{icon_set.licence[0]}]({icon_set.licence[2]}) | '
    f'{_SHOWN.get(icon_set.licence[1], "see its licence")} |'
    for style, icon_set in sets.items()
  ]
  return f"""# Emoji in {len(sets)} drawing style{'s' if len(sets) > 1 else ''}

{len(index):,} emoji, RGB on white, {_SIZE.value} px, the same file name for
the same emoji: `{{train,val}}/<style>/<name>.png`. {splits['train']:,} names
are for training and {splits['val']:,} for validation, in all styles the same:
a name is for validation where SHA-256 of it, modulo 100, is below
{_VAL_PERCENT}. `index.json`: `{{name: {{caption, category, split}}}}`.

| style | pictures | source | npm package | licence | may be shown |
|---|---|---|---|---|---|
{chr(10).join(rows)}

`licences/` holds the packages' own words. The drawings are the packages' SVG,
rendered by resvg-py {icon_sets.import_resvg().__version__} with
`jaxgan.tools.make_emoji`, and are not changed otherwise. To attribute, name the
maker and the licence where a picture is shown, and link to both.
"""


if __name__ == '__main__':
  cli.run(main, sys.argv, positional=('OUT',))
