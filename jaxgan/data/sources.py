"""Where the encoded images of each domain lie: folders or a TFDS data set."""

import difflib
import json
import os
import pathlib
import re
import string
import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from etils import epath

from jaxgan.data import listing
from jaxgan.data.listing import Unused
from jaxgan.runtime import files
from jaxgan.runtime.errors import UserError, printable

MAX_BYTES = 2**29  # of a file: 8 for each pixel that `preprocess` takes


class Source(Protocol):
  """Encoded images by domain and index, safe to read from many threads."""

  domains: tuple[str, ...]
  counts: tuple[int, ...]  # images of each domain
  unused: Unused  # what lies beside them

  def read(self, domain: int, index: int) -> bytes:
    """The encoded image; raises OSError where it cannot be read."""

  def describe(self, domain: int, index: int) -> str:
    """What to call that image in a message."""


def create_source(
  name: str, root: str, split: str, domains: Sequence[str] = ()
) -> Source:
  """Opens 'folder', 'unpaired', or 'tfds:<data set>' prepared under `root`."""
  kind, _, dataset = name.partition(':')
  if name == 'folder':
    return FolderSource(root, split, domains)
  if name == 'unpaired':
    return UnpairedSource(root, split, domains)
  if name == 'paired':
    raise UserError("data.name 'paired' is for pix2pix: others take no pairs")
  if kind == 'tfds' and dataset:
    return TfdsSource(dataset, split, root, domains)
  near = _did_you_mean(kind, ('shapes', 'folder', 'unpaired', 'paired', 'tfds'))
  raise UserError(
    f'data.name {name!r} is unknown{near} (known: shapes, folder,'
    ' unpaired, paired, tfds:<data set>)'
  )


def name_of(source: Source, domain: int, index: int) -> str:
  """The name of an image's file, without folder and ending."""
  return pathlib.PurePath(source.describe(domain, index)).stem


def select_domains(
  found: Sequence[str], wanted: Sequence[str], where: str
) -> tuple[str, ...]:
  """The wanted domains in the order found; all of them if none is named.

  Raises:
    UserError: one is not there, or its name cannot be that of a folder.
  """
  for name in wanted:
    if name not in found:
      raise UserError(
        f'data.domains names {name!r}, which is not in {where}'
        f'{_did_you_mean(name, found)} (there: {", ".join(found)})'
      )
  domains = tuple(name for name in found if not wanted or name in wanted)
  for name in domains:
    files.check_part(name, f'{where} has a domain named')
  return domains


def read_file(path: epath.Path) -> bytes:
  """The bytes of an image's file; raises OSError if it cannot be one."""
  if not files.is_regular(path):
    raise OSError('not a file')
  # The size of an object in a bucket would be one more request for each.
  size = 0 if '://' in os.fspath(path) else os.path.getsize(path)
  if size > MAX_BYTES:
    raise OSError(f'{size:,} bytes, and the limit is {MAX_BYTES:,}')
  return path.read_bytes()


def find_images(path: epath.PathLike) -> list[epath.Path]:
  """That file, or all images of a folder and of those in it, in order.

  Raises:
    UserError: there is no such file or folder, or no image in it.
  """
  path = files.user_path(path)
  if path.is_file():
    return [path]
  if not path.is_dir():
    raise UserError(f'there is no file or folder {path}')
  found, unused = listing.walk(path)
  if not found:
    raise listing.no_images(path, unused)
  listing.tell(str(path), unused)
  return found


class FolderSource:
  """Images at <root>/<split>/<domain>/*, domains in the order of their names.

  Any path that epath reads will do, gs:// among them.
  """

  def __init__(self, root: str, split: str, domains: Sequence[str] = ()):
    """Lists the files; `domains` picks some of the folders."""
    folder = epath.Path(root) / split
    folders, beside = _domain_folders(root, split)
    self.domains = select_domains(sorted(folders), domains, str(folder))
    self._files, unused = _list_domains([folders[d] for d in self.domains])
    self.counts = tuple(map(len, self._files))
    further = folders.keys() - set(self.domains)
    self.unused = listing.merged(
      [_further(folders[name] for name in sorted(further)), unused, beside]
    )
    listing.tell(str(folder), self.unused)

  def read(self, domain: int, index: int) -> bytes:
    """The bytes of a file."""
    return read_file(self._files[domain][index])

  def describe(self, domain: int, index: int) -> str:
    """The path of a file."""
    return printable(str(self._files[domain][index]))


class UnpairedSource:
  """Images at <root>/<split>A/* and <root>/<split>B/*: domains 'A' and 'B'.

  Two other names, where they are given, are those of A and of B. Any path that
  epath reads will do, gs:// among them.
  """

  def __init__(self, root: str, split: str, domains: Sequence[str] = ()):
    """Lists the files; `domains` names the two, or picks one of them."""
    names: Sequence[str] = ('A', 'B')
    paths = [epath.Path(root) / f'{split}{name}' for name in names]
    _check_root(root, paths[0])
    where = f'the folders {paths[0]} and {paths[1]}'
    if len(domains) == 2 and not set(domains) & set(names):
      names = domains
    folders = dict(zip(names, paths, strict=True))
    self.domains = select_domains(tuple(folders), domains, where)
    chosen = [folders[name] for name in self.domains]
    for folder in chosen:
      if not folder.is_dir():
        raise UserError(
          f"{folder} is missing: data.name 'unpaired' is for {where}, "
          f"'folder' for {epath.Path(root) / split}/<domain>/"
          f'{_instead(root)}'
        )
    self._files, unused = _list_domains(chosen, cure='add some')
    self.counts = tuple(map(len, self._files))
    further = [
      path
      for letter in string.ascii_uppercase
      if (path := epath.Path(root) / f'{split}{letter}') not in chosen
      and path.is_dir()
    ]
    self.unused = listing.merged([_further(further), unused])
    listing.tell(where, self.unused)

  def read(self, domain: int, index: int) -> bytes:
    """The bytes of a file."""
    return read_file(self._files[domain][index])

  def describe(self, domain: int, index: int) -> str:
    """The path of a file."""
    return printable(str(self._files[domain][index]))


class SideBySideSource:
  """Images at <root>/<split>/*, each of a source and its target.

  All are of one domain: what the halves are is not known here.
  """

  domains: tuple[str, ...] = ('pair',)

  def __init__(self, root: str, split: str):
    """Lists the files."""
    folder = epath.Path(root) / split
    _check_root(root, folder)
    if not folder.is_dir():
      raise UserError(
        f"{folder} is missing: data.name 'paired' is for {folder}/<images>, "
        f'each a source and its target side by side{_instead(root)}'
      )
    (self._files,), self.unused = _list_domains(
      [folder],
      cure='put pictures there, each a source and its target side by side; '
      "data.name='folder' is for a folder of sources and one of targets",
    )
    self.counts: tuple[int, ...] = (len(self._files),)
    listing.tell(str(folder), self.unused)

  def read(self, domain: int, index: int) -> bytes:
    """The bytes of a file."""
    del domain
    return read_file(self._files[index])

  def describe(self, domain: int, index: int) -> str:
    """The path of a file."""
    del domain
    return printable(str(self._files[index]))


def find_domains(root: str, split: str) -> tuple[str, ...]:
  """The names of the domains in a folder; an image in each is not sure yet."""
  return tuple(sorted(_domain_folders(root, split)[0]))


def _domain_folders(
  root: str, split: str
) -> tuple[dict[str, epath.Path], Unused]:
  """The folders of the domains by name, and what lies beside them."""
  folder = epath.Path(root) / split
  _check_root(root, folder)
  if not folder.is_dir():
    raise UserError(
      f'{folder} is missing: {_above(epath.Path(root), split)}'
      f'put the images in {folder}/<domain>/{_unpaired(folder)}{_instead(root)}'
    )
  there = listing.entries(folder)
  folders = {e.name: e for e in there if listing.is_visible(e) and e.is_dir()}
  if not folders:
    raise UserError(
      f'{folder} holds no folders: put the images in {folder}/<domain>/'
      f'{listing.there(folder)}'
    )
  return folders, listing.by_kind(e for e in there if e.name not in folders)


def _check_root(root: str, folder: epath.Path) -> None:
  """Raises UserError unless `folder`, below the root, can be there."""
  if not root:
    raise UserError('data.root is empty: set it to the folder of the images')
  if not folder.parent.is_dir():
    named = folder.parent
    near = ''
    if named.parent.is_dir():
      folders = [e.name for e in listing.entries(named.parent) if e.is_dir()]
      near = _did_you_mean(named.name, folders)
    raise UserError(
      f'data.root {str(named)!r} is not a folder: name that of the images '
      f'(--config.data.root){near}'
    )


def _above(root: epath.Path, split: str) -> str:
  """The folder of all the data, where the root seems to be one of its parts."""
  for above in (root.parent, root.parent.parent):
    if (above / split).is_dir():
      return (
        f'did you mean --config.data.root={above}, which has {split!r}? Else '
      )
  return ''


def _instead(root: str) -> str:
  """What there is where a split is missing, and how to take it."""
  return (
    ', or name what there is with config.data.train_split and '
    f'config.data.val_split{listing.there(epath.Path(root))}'
  )


def _unpaired(folder: epath.Path) -> str:
  """The other layout of a split, if that is there."""
  a, b = (folder.with_name(f'{folder.name}{letter}') for letter in 'AB')
  if not (a.is_dir() and b.is_dir()):
    return ''
  return f", or take {a} and {b} with config.data.name='unpaired'"


def _list_domains(
  folders: Sequence[epath.Path], cure: str = 'add some or remove the folder'
) -> tuple[list[list[epath.Path]], Unused]:
  """The images of each folder, and what else is in them."""
  found, unused = [], []
  for folder in folders:
    images, others = listing.images(folder)
    if not images:
      raise listing.no_images(folder, others, cure)
    found.append(images)
    unused.append(others)
  return found, listing.merged(unused)


def _further(folders: Iterable[epath.Path]) -> Unused:
  names = [printable(str(folder)) for folder in folders]
  return {listing.DOMAINS: names} if names else {}


def find_beside(name: str, root: str, splits: Sequence[str]) -> Unused:
  """What the root of a data set has beside its splits.

  Files that are no pictures are none of the data.
  """
  if name.startswith('tfds:'):
    builder = _open_tfds(name.removeprefix('tfds:'), root)
    used = {part for split in splits for part in re.findall(r'\w+', split)}
    further = sorted(builder.info.splits.keys() - used)
    return {listing.SPLITS: further} if further else {}
  folders, names = zip(
    *(os.path.split(os.path.normpath(split)) for split in splits), strict=True
  )
  if len(set(folders)) > 1 or '.' in names:  # '.': then the root is a split
    return {}
  if name == 'unpaired':
    names = tuple(f'{n}{x}' for n in names for x in string.ascii_uppercase)
  entries = listing.entries(epath.Path(root) / folders[0])
  unused = listing.by_kind(e for e in entries if e.name not in names)
  kinds = {
    listing.OUTSIDE: listing.OUTSIDE,
    listing.OTHER_PICTURES: listing.OTHER_PICTURES,
    listing.FOLDERS: listing.SPLITS,
  }
  return {kinds[kind]: names for kind, names in unused.items() if kind in kinds}


class TfdsSource:
  """A prepared TFDS data set with an `image` and a `label`: labels = domains.

  Nothing is downloaded. Files of a kind without random access are copied once.
  """

  def __init__(
    self, name: str, split: str, data_dir: str, domains: Sequence[str] = ()
  ):
    """Reads the labels of the split; `domains` picks some of them."""
    builder = _with_random_access(_open_tfds(name, data_dir), name)
    self._name = f'tfds:{name} {split}'
    names = _label_names(builder, name)
    self.domains = select_domains(names, domains, self._name)
    self._records = _open_split(builder, split)
    try:
      labels = np.array([_label(record) for record in self._records])
    except Exception as error:  # array_record and protobuf have many kinds
      raise UserError(
        f'{self._name} is damaged ({error}): remove {builder.data_dir} and'
        ' prepare it anew'
      ) from error
    self._keys = [
      np.flatnonzero(labels == names.index(domain)) for domain in self.domains
    ]
    self.counts = tuple(map(len, self._keys))
    if 0 in self.counts:
      raise UserError(
        f'{self._name} holds no images of'
        f' {self.domains[self.counts.index(0)]!r}: leave it out of data.domains'
      )
    self.unused = {
      kind: left
      for kind, left in (
        (listing.DOMAINS, [d for d in names if d not in self.domains]),
        (listing.NO_LABEL, [f'record {i}' for i in np.flatnonzero(labels < 0)]),
      )
      if left
    }
    listing.tell(self._name, self.unused)

  def read(self, domain: int, index: int) -> bytes:
    """The bytes of an encoded image."""
    try:
      record = self._records[int(self._keys[domain][index])]
      return record.features.feature['image'].bytes_list.value[0]
    except Exception as error:
      raise OSError(str(error)) from error

  def describe(self, domain: int, index: int) -> str:
    """Split and record number."""
    return f'{self._name} record {self._keys[domain][index]}'


def _open_tfds(name: str, data_dir: str) -> Any:
  import tensorflow_datasets as tfds

  try:
    builder = tfds.builder(name, data_dir=data_dir or None)
  except (ValueError, AssertionError) as error:  # AssertionError: the version.
    known = tfds.list_builders(with_community_datasets=False)
    near = _did_you_mean(name.partition('/')[0], known)
    reason = str(error).partition('\n')[0].rstrip('.')
    raise UserError(f'data.name tfds:{name}: {reason}{near}') from None
  if not builder.is_prepared():
    raise UserError(
      f'tfds:{name} is not prepared in {builder.data_dir}: run'
      f' `python -c "import tensorflow_datasets as tfds; tfds.builder({name!r},'
      f" data_dir={data_dir or 'DIR'!r}, file_format='array_record')"
      '.download_and_prepare()"`'
    )
  return builder


def _label_names(builder: Any, name: str) -> list[str]:
  features = dict(builder.info.features.items())
  for key, kind in (('image', 'Image'), ('label', 'ClassLabel')):
    if type(features.get(key)).__name__ != kind:
      raise UserError(
        f'tfds:{name} has no feature {key!r} of kind {kind}, only:'
        f' {", ".join(sorted(features))}'
      )
  return list(features['label'].names)


def _label(record: Any) -> int:
  return record.features.feature['label'].int64_list.value[0]


def _open_split(builder: Any, split: str) -> Sequence[Any]:
  """The split as a sequence of tf.train.Example, the images still encoded."""
  import tensorflow_datasets as tfds

  try:
    return builder.as_data_source(
      split,
      deserialize_method=tfds.decode.DeserializeMethod.DESERIALIZE_NO_DECODE,
      file_format='array_record',
    )
  except (ValueError, KeyError) as error:
    reason = ' '.join(str(error).split())
    raise UserError(
      f'split {split!r} (data.train_split, data.val_split): {reason}'
    ) from None


def _with_random_access(builder: Any, name: str) -> Any:
  """The builder itself, or that of its array_record copy, made if missing."""
  import tensorflow_datasets as tfds

  formats = builder.info.available_file_formats()
  if tfds.core.FileFormat.ARRAY_RECORD in formats:
    return builder
  data_dir = epath.Path(builder.data_dir)
  copy = data_dir.with_name(f'{data_dir.name}.array_record')
  cure = "prepare it anew with file_format='array_record'"
  if tfds.core.FileFormat.TFRECORD not in formats:
    raise UserError(f'{data_dir} is no array_record or tfrecord: {cure}')
  if not copy.is_dir():
    try:
      _copy_as_array_record(data_dir, copy, builder.info.dataset_size)
    except OSError as error:
      raise UserError(f'cannot copy {data_dir} ({error}): {cure}') from None
  return tfds.builder_from_directory(copy)


def _copy_as_array_record(
  data_dir: epath.Path, copy: epath.Path, num_bytes: int
) -> None:
  size = num_bytes / 1e9
  print(f'copying {data_dir} to {copy} once: {size:.2f} GB', flush=True)
  # Processes that start together each write a copy; the first to rename wins.
  unfinished = copy.with_name(f'{copy.name}.{uuid.uuid4().hex}')
  unfinished.mkdir()
  try:
    for path in data_dir.iterdir():
      if '.tfrecord-' in path.name:
        shard = path.name.replace('.tfrecord-', '.array_record-')
        _copy_shard(path, unfinished / shard)
      else:
        path.copy(unfinished / path.name)
    info = unfinished / 'dataset_info.json'
    metadata = json.loads(info.read_text()) | {'fileFormat': 'array_record'}
    info.write_text(json.dumps(metadata, indent=2))
    unfinished.rename(copy)
  except OSError:
    if not copy.is_dir():
      raise
  finally:
    if unfinished.is_dir():
      unfinished.rmtree()


def _copy_shard(path: epath.Path, target: epath.Path) -> None:
  import tensorflow as tf
  from array_record.python import array_record_module

  # One record a group, so that reading one does not decode its neighbours.
  writer = array_record_module.ArrayRecordWriter(str(target), 'group_size:1')
  try:
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
      writer.write(record)
  except tf.errors.OpError as error:
    reason = error.message.rpartition('}} ')[2]  # before it, TensorFlow's names
    raise OSError(f'{path}: {reason}') from error
  finally:
    writer.close()


def _did_you_mean(name: str, known: Sequence[str]) -> str:
  near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
  return f': did you mean {near[0]!r}?' if near else ''
