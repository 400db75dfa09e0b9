r"""Says what training will see in a data set, and whether it would start.

python -m jaxgan.tools.check_dataset ROOT [--img_size=256] [--domains=cat,dog] \
    [--train_split=train] [--val_split=val] [--skip_bad_images] \
    [--background=white]

ROOT holds <split>/<domain>/<images>, or is the data_dir of --name=tfds:<name>.
For pix2pix, --pair=SOURCE,TARGET names two of these folders, and --name=paired
is for <split>/<images>, each a source and its target side by side. For StarGAN,
--name=celeba is for images/ and list_attr_celeba.txt, of which --num_test lines
are for testing.
The report says what is odd, what training does with it, and what to do.
Exit status: 0 training would start; 1 it would not, with the line that it would
end with; 2 misuse.
"""

import contextlib
import hashlib
import sys
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import ml_collections
from absl import flags, logging
from etils import epath
from PIL import Image

from jaxgan.data import (
  crops,
  labelled,
  listing,
  pictures,
  preprocess,
  sources,
)
from jaxgan.data.contracts import base, paired
from jaxgan.metrics import translations
from jaxgan.runtime import cli
from jaxgan.runtime.errors import UsageError, UserError, printable
from jaxgan.systems import contract
from jaxgan.systems.pix2pix.config import default_config as pix2pix_config
from jaxgan.systems.stargan.config import default_config as stargan_config
from jaxgan.systems.stargan_v2.config import default_config

_NAME = flags.DEFINE_string(
  'name', 'folder', 'folder, unpaired, paired, celeba, or tfds:<data set>.'
)
_PAIR = cli.define_names('pair', [], 'Folders of source and target (pix2pix).')
_TRAIN_SPLIT = flags.DEFINE_string('train_split', 'train', 'Training images.')
_VAL_SPLIT = flags.DEFINE_string('val_split', 'val', 'Validation images.')
_DOMAINS = cli.define_names('domains', [], 'Those to use; all by default.')
_IMG_SIZE = cli.define_integer('img_size', 256, 'Size to train at.')
_SKIP_BAD_IMAGES = flags.DEFINE_bool(
  'skip_bad_images', False, 'As config.data.skip_bad_images in training.'
)
_BACKGROUND = flags.DEFINE_string(
  'background', '', 'As config.data.background in training.'
)
_NUM_TEST = cli.define_integer(
  'num_test', None, 'Of celeba, as config.data.num_test in training.', 1
)

WIDTH = 80
MAX_NAMES = 3  # of the images that a finding is about
MAX_FOLDERS = 12  # that are named where no split is found
# Rules of thumb: the levels of 255 that compression may add to a flat picture,
# and how many times as large as the smallest domain the largest may be.
FLAT = 8
IMBALANCE = 2
UNLIKE = 1.02  # of the proportions of a source and its target
# What the author of the original asks for, and what users of it report.
WANTED_IMAGES = 10_000
REPORTED_DOMAINS = 12
REPRODUCED_SIZE = 256
ORIENTATION = 0x0112  # the EXIF tag; 1 is upright


def main(root: str) -> None:
  """Prints the report; raises the UserError that training would end with."""
  logging.set_verbosity(logging.ERROR)  # The report has what training warns of.
  config = _create_config(root)
  contract.check_config(contract.get_system(config), config)
  splits, faults = _inspect(config)
  for split in splits:
    _print_table(split)
  if splits:
    find, advise = _find, _advise
    if 'pair' in config.data:
      find, advise = _find_in_pairs, _advise_on_pairs
    elif config.data.name == 'celeba':
      find, advise = _find_with_labels, _advise_on_labels
    found = [
      *find(splits, config.data),
      *_find_unused(splits, config.data),
    ]
    _print_findings([finding for finding in found if finding.names])
    _print_advice(advise(splits, config))
  elif root and config.data.name == 'folder':
    _print_layout(root)
  if faults:
    _say('Training would not start.')
    for fault in faults[1:]:
      _say(f'After the error below comes: {fault}')
    raise faults[0]
  _say('Training would start.')


def _create_config(root: str) -> ml_collections.ConfigDict:
  if _NAME.value == 'shapes':
    raise UsageError('--name=shapes is drawn: there is nothing to check')
  pair = tuple(_PAIR.value)
  if _NAME.value == 'paired':
    pair = pair or paired.SIDES
  config = pix2pix_config() if pair else default_config()
  if _NAME.value == 'celeba':
    config = stargan_config()
    config.model.d_repeat_num = 1
    if _NUM_TEST.value:
      config.data.num_test = _NUM_TEST.value
  data = config.data
  if pair:
    data.pair, data.load_size = pair, 0
    # The data is looked at: networks that fit the size.
    size = _IMG_SIZE.value
    config.model.depth = (size & -size).bit_length() - 1
    config.model.d_layers = 1
  data.name, data.root = _NAME.value, root
  data.train_split, data.val_split = _TRAIN_SPLIT.value, _VAL_SPLIT.value
  data.domains, data.img_size = tuple(_DOMAINS.value), _IMG_SIZE.value
  data.skip_bad_images = _SKIP_BAD_IMAGES.value
  data.background = _BACKGROUND.value
  return config


class _File(NamedTuple):
  """What the header of a picture says, and a sum of all its bytes."""

  format: str | None  # by Pillow's type: of a file it is known
  mode: str
  turned: bool
  digest: bytes

  @classmethod
  def of(cls, data: bytes) -> '_File':
    image = preprocess.open_image(data)
    digest = hashlib.sha256(data).digest()
    return cls(image.format, image.mode, _is_turned(image), digest)


def _is_turned(image: Image.Image) -> bool:
  # Where there is no EXIF, Pillow would decode a whole PNG to look for it.
  if image.format == 'PNG' and 'exif' not in image.info:
    return False
  try:
    return image.getexif().get(ORIENTATION) in range(2, 9)
  except Exception:  # A damaged EXIF block turns nothing.
    return False


def _is_clear(image: Image.Image) -> bool:
  extrema: Any = image.getextrema()  # of each channel, alpha last
  return image.mode == 'RGBA' and extrema[-1][0] < 255


class _Seen(NamedTuple):
  """What is known of a picture; its pixels are not kept."""

  split: '_Split'
  domain: str
  name: str
  file: _File
  size: tuple[int, int]
  pixels: bytes  # a sum of them
  brightest: int
  span: int  # from the darkest to the brightest value of a channel
  clear: bool  # whether some of it is see-through


class _Tap:
  """A source that notes what the files are that are read from it."""

  def __init__(self, source: sources.Source):
    self.domains, self.counts = source.domains, source.counts
    self.unused, self.describe = source.unused, source.describe
    self.files: dict[tuple[int, int], _File] = {}
    self._source = source

  def read(self, domain: int, index: int) -> bytes:
    data = self._source.read(domain, index)
    with contextlib.suppress(Exception):  # Decoding it will say what is wrong.
      self.files[domain, index] = _File.of(data)
    return data


class _Split(pictures.FileImages):
  """The images of a split, noting what it sees of each that is decoded."""

  def __init__(
    self,
    source: sources.Source,
    data: ml_collections.ConfigDict,
    is_train: bool,
  ):
    self._tap = _Tap(source)
    super().__init__(self._tap, data.img_size, background=data.background)
    self.split = data.train_split if is_train else data.val_split
    self.is_train = is_train
    self.matched = isinstance(source, paired.Matched)
    self.miscount = ''
    if isinstance(source, labelled.CelebaSource):
      self.miscount = source.miscount
    self._prefix = f'{epath.Path(data.root)}/'
    self.unused = {
      kind: [name.removeprefix(self._prefix) for name in names]
      for kind, names in source.unused.items()
    }
    self._seen: dict[tuple[int, int], _Seen] = {}
    self._bad: dict[tuple[int, int], str] = {}

  def picture(self, domain: int, index: int) -> Image.Image:
    key = domain, index
    try:
      stored = self.stored(*key)
    except preprocess.UnreadableImage as error:
      self._bad[key] = str(error).removeprefix(self._prefix)
      raise
    picture = preprocess.flatten(stored, self._background)
    extrema: Any = picture.getextrema()  # of each of the three channels
    self._seen[key] = _Seen(
      self,
      self.domains[domain],
      self._tap.describe(*key).removeprefix(self._prefix),
      self._tap.files[key],
      picture.size,
      hashlib.sha256(b'%d %d ' % picture.size + picture.tobytes()).digest(),
      brightest=max(high for _, high in extrema),
      span=max(high - low for low, high in extrema),
      clear=_is_clear(stored),
    )
    return picture

  @property
  def seen(self) -> list[_Seen]:
    # Threads note them in any order.
    return [self._seen[key] for key in sorted(self._seen)]

  def both_sides(self) -> list[tuple[_Seen, _Seen]]:
    """The images of each pair, where both can be read."""
    if not self.matched:  # Equal numbers are no pairs.
      return []
    return [
      (self._seen[0, number], self._seen[1, number])
      for domain, number in sorted(self._seen)
      if domain == 0 and (1, number) in self._seen
    ]

  @property
  def bad(self) -> list[str]:
    return [self._bad[key] for key in sorted(self._bad)]


def _inspect(
  config: ml_collections.ConfigDict,
) -> tuple[list[_Split], list[UserError]]:
  """Opens and decodes all that can be; the errors in training's order."""
  data = config.data
  faults: list[UserError] = []
  splits = [
    _Split(source, data, is_train)
    for name, is_train in ((data.train_split, True), (data.val_split, False))
    if (source := _open(config, name, faults))
  ]
  if not faults:
    with _noted(faults):
      base.check_domains(config, *(s.domains for s in splits))
  for split in splits:
    images: pictures.Images = split
    if data.name == 'paired':  # Training counts halves.
      images = paired.Halves(split, data.pair, data.img_size)
    with _noted(faults):
      pictures.check_images(images, data.skip_bad_images)
  return splits, list({str(fault): fault for fault in faults}.values())


def _open(
  config: ml_collections.ConfigDict, split: str, faults: list[UserError]
) -> sources.Source | None:
  """The split, or those of its domains that can be opened."""
  data = config.data
  with _noted(faults):
    if 'pair' in data:
      return paired.open_source(config, split)
    if data.name == 'celeba':
      is_test = split == data.val_split
      source = labelled.CelebaSource(
        data.root, data.domains, is_test, data.num_test
      )
      labelled.check_names(source.names)
      return source
    return sources.create_source(data.name, data.root, split, data.domains)
  whole = _find_whole(data, split) if data.name == 'folder' else []
  if not whole:
    return None
  folders = sources.FolderSource(data.root, split, whole)
  if not (data.get('pair') or data.domains):
    folders.unused.pop(listing.DOMAINS, None)  # they are faults
  return folders


def _find_whole(data: ml_collections.ConfigDict, split: str) -> list[str]:
  """Those of the domains asked for that can be opened one by one."""
  try:
    found = sources.find_domains(data.root, split)
  except UserError:
    return []
  asked = data.get('pair') or data.domains
  wanted = [name for name in found if not asked or name in asked]
  return [name for name in wanted if _opens(data.root, split, name)]


def _opens(root: str, split: str, domain: str) -> bool:
  try:
    sources.FolderSource(root, split, [domain])
  except UserError:
    return False
  return True


@contextlib.contextmanager
def _noted(faults: list[UserError]) -> Iterator[None]:
  try:
    yield
  except UserError as error:
    faults.append(error)


class _Finding(NamedTuple):
  """Something odd: what, in which images, and what comes of it."""

  what: str
  names: Sequence[str]
  effect: str


def _find(
  splits: Sequence[_Split], data: ml_collections.ConfigDict
) -> Iterator[_Finding]:
  """Yields what may be odd about the data, and in which images it is."""
  yield from _find_faults(splits, data.skip_bad_images)
  yield from _find_single(splits)
  yield from _find_flat(splits)
  yield from _find_copies(splits)
  yield from _find_leaks(splits)
  yield from _find_converted(splits, data.background)


def _find_in_pairs(
  splits: Sequence[_Split], data: ml_collections.ConfigDict
) -> Iterator[_Finding]:
  """The same for pairs: a source and its target may well be alike."""
  yield from _find_faults(splits, data.skip_bad_images)
  yield from _find_flat(splits)
  yield from _find_leaks(splits)
  yield from _find_unlike(splits)
  yield from _find_converted(splits, data.background)


def _find_with_labels(
  splits: Sequence[_Split], data: ml_collections.ConfigDict
) -> Iterator[_Finding]:
  """The same for a list of attributes, which tells no domains."""
  yield _Finding(
    'counts that are not those of the lines',
    sorted({split.miscount for split in splits} - {''}),
    'Training takes the lines: see that the list is whole, or write their'
    ' count.',
  )
  yield from _find_faults(splits, data.skip_bad_images)
  yield from _find_flat(splits)
  yield from _find_leaks(splits)
  yield from _find_converted(splits, data.background)


def _find_unlike(splits: Sequence[_Split]) -> Iterator[_Finding]:
  """Pairs whose two sides will not lie on each other."""
  odd, unlike = [], []
  for split in splits:
    if split.domains == sources.SideBySideSource.domains:
      odd += [
        f'{s.name}, {_size(s.size)}'
        for s in split.seen
        if s.size[0] % 2 or s.size[0] < s.size[1]
      ]
    for a, b in split.both_sides():
      (w, h), (w2, h2) = a.size, b.size
      if not 1 / UNLIKE <= w * h2 / (h * w2) <= UNLIKE:
        unlike.append(f'{a.name}, {_size(a.size)}; {b.name}, {_size(b.size)}')
  yield _Finding(
    'pictures of odd width, or higher than wide',
    odd,
    'Training cuts them in the middle: see that they are a source and its'
    ' target side by side.',
  )
  yield _Finding(
    'pairs of different proportions',
    unlike,
    'Training squeezes both to squares, so that they do not lie on each other:'
    ' crop one of them.',
  )


def _find_faults(
  splits: Sequence[_Split], skip_bad: bool
) -> Iterator[_Finding]:
  yield _Finding(
    'unreadable images',
    [name for split in splits for name in split.bad],
    'Training draws others instead.'
    if skip_bad
    else 'Training does not start: remove them, or set'
    ' config.data.skip_bad_images=True (here --skip_bad_images).',
  )
  yield _Finding(
    'domains in one split only',
    [
      f'{split.split}/{domain}'
      for split, other in zip(splits, splits[::-1], strict=True)
      for domain in split.domains
      if domain not in other.domains
    ],
    'Training does not start: both splits need the same domains.',
  )


_EFFECTS = {
  listing.OTHER_PICTURES: 'Training passes them over: convert them to one of '
  f'{listing.READ}.',
  listing.OUTSIDE: 'Training passes them over: move them into the folder of'
  ' their domain.',
  listing.FOLDERS: 'Training passes them over, with the images in them: move'
  ' these one folder up.',
  listing.NO_IMAGE: 'Training takes them for unreadable images.',
  listing.TWICE: 'Training uses every line: an image may be trained on and'
  ' tested, with other attributes.',
  listing.DOMAINS: 'Training uses the domains of config.data.domains (here'
  " --domains) or, of data.name='unpaired', A and B: for more domains, put each"
  " in a folder of its own (data.name='folder').",
}


def _find_unused(
  splits: Sequence[_Split], data: ml_collections.ConfigDict
) -> Iterator[_Finding]:
  """What is there and not used, by kind."""
  names = (data.train_split, data.val_split)
  beside = {}
  if data.name != 'celeba':
    beside = sources.find_beside(data.name, data.root, names)
  prefix = f'{epath.Path(data.root)}/'
  unused = listing.merged([*(split.unused for split in splits), beside])
  for kind in listing.KINDS:
    yield _Finding(
      kind,
      [name.removeprefix(prefix) for name in unused.get(kind, ())],
      _EFFECTS.get(kind, 'Training passes them over.'),
    )


def _find_single(splits: Sequence[_Split]) -> Iterator[_Finding]:
  yield _Finding(
    'training domains of one image',
    [
      f'{split.split}/{domain}'
      for split in splits
      for domain, count in zip(split.domains, split.counts, strict=True)
      if count == 1 and split.is_train
    ],
    'x_ref2 repeats x_ref, so that there is no second style to learn; FID needs'
    ' two images.',
  )


def _find_flat(splits: Sequence[_Split]) -> Iterator[_Finding]:
  black = [s for s in _all_seen(splits) if s.brightest <= FLAT]
  flat = [s for s in _all_seen(splits) if s.span <= FLAT and s.brightest > FLAT]
  yield _Finding(
    f'black images (rule of thumb: no value above {FLAT} of 255)',
    [s.name for s in black],
    'Training uses them; users of the original report NaN losses, and blame'
    ' such images.',
  )
  yield _Finding(
    f'images of one colour (rule of thumb: within {FLAT} of 255)',
    [s.name for s in flat],
    'Training uses them as they are.',
  )


def _find_copies(splits: Sequence[_Split]) -> Iterator[_Finding]:
  groups = _same_pixels(splits)
  yield _Finding(
    'copies of another image of their domain and split',
    _pair(groups, lambda a, b: a.split is b.split and a.domain == b.domain),
    'A picture is drawn as often as it has copies, also as its own x_ref2.',
  )
  yield _Finding(
    'copies of an image of another domain',
    _pair(groups, lambda a, b: a.domain != b.domain),
    'The discriminator is told that one picture belongs to both domains.',
  )


def _find_leaks(splits: Sequence[_Split]) -> Iterator[_Finding]:
  groups = _same_pixels(splits)
  yield _Finding(
    'validation images that training sees',
    _pair(groups, lambda a, b: a.split is not b.split),
    'The scores rest on them: remove them from one of the splits.',
  )


def _same_pixels(splits: Sequence[_Split]) -> list[list[_Seen]]:
  by_pixels = defaultdict(list)
  for seen in _all_seen(splits):
    by_pixels[seen.pixels].append(seen)
  return [group for group in by_pixels.values() if len(group) > 1]


def _pair(
  groups: Sequence[Sequence[_Seen]], related: Callable[[_Seen, _Seen], bool]
) -> list[str]:
  """'copy = original' for each that has a related one before it."""
  pairs = []
  for group in groups:
    # Of each split and domain; enough for any relation.
    firsts: dict[tuple[_Split, str], _Seen] = {}
    for copy in group:
      for first in firsts.values():
        if related(first, copy):
          is_same = first.file.digest == copy.file.digest
          how = '' if is_same else ' (same pixels in another file)'
          pairs.append(f'{copy.name} = {first.name}{how}')
          break
      firsts.setdefault((copy.split, copy.domain), copy)
  return sorted(pairs)


def _find_converted(
  splits: Sequence[_Split], background: str
) -> Iterator[_Finding]:
  seen = _all_seen(splits)
  yield _Finding(
    'images that are not RGB',
    [f'{s.name} ({s.file.mode})' for s in seen if s.file.mode != 'RGB'],
    'Training converts them.',
  )
  yield _Finding(
    'images with see-through parts',
    [s.name for s in seen if s.clear],
    f'Training blends them with {background}.'
    if background
    else 'Training drops alpha and sees the colours that are hidden under it,'
    ' often black: config.data.background=white (here --background=white)'
    ' blends them with white, or with another colour.',
  )
  yield _Finding(
    'images that EXIF says to turn',
    [s.name for s in seen if s.file.turned],
    'Training turns them upright; the sizes above are those afterwards.',
  )


def _all_seen(splits: Sequence[_Split]) -> list[_Seen]:
  return [seen for split in splits for seen in split.seen]


def _advise(
  splits: Sequence[_Split], config: ml_collections.ConfigDict
) -> Iterator[str]:
  """Yields the advice that applies to this data, with its reason."""
  yield from _advise_on_sizes(_all_seen(splits), config.data.img_size)
  for split in splits:
    if split.is_train:
      yield from _advise_on_training(split)
    else:
      yield from _advise_on_validation(split)
  yield (
    f'Keep batch_size at {config.batch_size} or more: the author of the'
    ' original asks for it, and users report that 4 fails. Where memory allows'
    ' only less, a user with a dozen models sets lambda_sty, lambda_ds and'
    ' lambda_cyc to 3.'
  )
  yield (
    'Begin with configs/stargan_v2/small.py, which shows within an hour of two'
    ' CPU cores whether it works. For results on a GPU take'
    ' configs/stargan_v2/afhq.py'
    f' (lambda_ds {config.hparams.lambda_ds:g},'
    f' lambda_cyc {config.hparams.lambda_cyc:g}), the settings that the author'
    ' advises for other data. Users who lost the identity of the source lowered'
    ' lambda_ds or raised lambda_cyc.'
  )


def _advise_on_pairs(
  splits: Sequence[_Split], config: ml_collections.ConfigDict
) -> Iterator[str]:
  """Yields the advice that applies to pairs."""
  yield from _advise_on_small(_all_seen(splits), config.data.img_size)
  yield (
    'Both images of a pair are squeezed into squares: crop them alike if shapes'
    ' should keep their proportions.'
  )


def _advise_on_labels(
  splits: Sequence[_Split], config: ml_collections.ConfigDict
) -> Iterator[str]:
  """Yields the advice that applies to images with attributes."""
  yield from _advise_on_small(_all_seen(splits), config.data.img_size)
  yield (
    'Training sees the square of config.data.crop_size'
    f' ({config.data.crop_size}) in the middle of an image: set it to 0 to see'
    ' all of it.'
  )


def _advise_on_small(seen: Sequence[_Seen], img_size: int) -> Iterator[str]:
  small = [s for s in seen if min(s.size) < img_size]
  if small:
    yield (
      f'{len(small):,} of {len(seen):,} images are narrower or lower than'
      f' {img_size} px: training enlarges them, which blurs them. Take larger'
      ' ones, or a smaller config.data.img_size (here --img_size).'
    )


def _advise_on_sizes(seen: Sequence[_Seen], img_size: int) -> Iterator[str]:
  if img_size > REPRODUCED_SIZE:
    yield (
      f'{REPRODUCED_SIZE} px is the size of the published scores; above it the'
      ' author of the original expects no good results without other loss'
      ' weights.'
    )
  yield from _advise_on_small(seen, img_size)
  low, high = crops.RATIO
  long = [s for s in seen if not low <= s.size[0] / s.size[1] <= high]
  if long:
    worst = max(long, key=lambda s: max(s.size) / min(s.size))
    yield (
      f'{len(long):,} of {len(seen):,} images are further from square than'
      f' random crops are ({low} to {high}): training squeezes them to squares.'
      f' The longest is {worst.name}, {_size(worst.size)}. Crop them if shapes'
      ' should keep their proportions.'
    )


def _advise_on_training(split: _Split) -> Iterator[str]:
  total = sum(split.counts)
  if total < WANTED_IMAGES:
    yield (
      f'The author of the original asks for more than {WANTED_IMAGES:,}'
      f' training images; here are {total:,}.'
    )
  if len(split.domains) == 1:
    yield (
      'There is one domain: training and evaluation translate it into itself,'
      ' in other styles.'
    )
  if len(split.domains) > REPORTED_DOMAINS:
    yield (
      f'{len(split.domains)} domains: users of the original report results for'
      f' up to {REPORTED_DOMAINS}, and three networks grow with each.'
    )
  ranked = sorted(zip(split.counts, split.domains, strict=True))
  (fewest, small), (most, large) = ranked[0], ranked[-1]
  if most >= IMBALANCE * fewest:
    yield (
      'A batch draws domains first, each as often as any other: an image of'
      f' {small} ({fewest:,}) comes {most / fewest:.1f} times as often as one'
      f' of {large} ({most:,}). Add images to small domains (rule of thumb:'
      f' told from {IMBALANCE} times on).'
    )


def _advise_on_validation(split: _Split) -> Iterator[str]:
  few = [
    f'{domain} ({count})'
    for domain, count in zip(split.domains, split.counts, strict=True)
    if count < translations.BATCH
  ]
  if few:
    yield (
      f'Fewer than {translations.BATCH} validation images in {", ".join(few)}:'
      ' the evaluation of the original fails on so few references; ours repeats'
      ' them, and the scores rest on few pictures.'
    )


def _print_table(split: _Split) -> None:
  total = sum(split.counts)
  _say(f'{split.split}: {total:,} images, sizes ranked by the shorter side')
  header = ('domain', 'images', 'smallest', 'median', 'largest', 'format/mode')
  seen = split.seen
  rows = [header] + [
    _row(domain, count, [s for s in seen if s.domain == domain])
    for domain, count in zip(split.domains, split.counts, strict=True)
  ]
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  for domain, *numbers, kinds in rows:
    cells = [n.rjust(w) for n, w in zip(numbers, widths[1:-1], strict=True)]
    left = '  '.join(['', domain.ljust(widths[0]), *cells, ''])
    _say_wrapped(kinds, left, ' ' * len(left))
  _say()


def _row(domain: str, count: int, seen: Sequence[_Seen]) -> tuple[str, ...]:
  sizes = sorted((s.size for s in seen), key=sorted)
  ranked = [sizes[i] if sizes else None for i in (0, len(sizes) // 2, -1)]
  kinds = Counter(f'{s.file.format}/{s.file.mode}' for s in seen)
  kinds += Counter(unreadable=count - len(seen))
  numbers = [f'{kind}:{n:,}' for kind, n in kinds.most_common()]
  text = ', '.join(numbers) if len(kinds) > 1 else next(iter(kinds))
  return domain, f'{count:,}', *map(_size, ranked), text


def _size(size: tuple[int, int] | None) -> str:
  return '{}x{}'.format(*size) if size else '-'


def _print_findings(findings: Sequence[_Finding]) -> None:
  _say('Findings' if findings else 'Findings: none')
  for what, names, effect in findings:
    _say(f'  {what}: {len(names):,}')
    for name in names[:MAX_NAMES]:
      _say(f'    {name}')
    if len(names) > MAX_NAMES:
      _say(f'    and {len(names) - MAX_NAMES:,} more')
    _say_wrapped(effect, '    -> ', '       ')
  _say()


def _print_advice(advice: Iterator[str]) -> None:
  _say('Advice')
  for text in advice:
    _say_wrapped(text, '  - ', '    ')
  _say()


def _print_layout(root: str) -> None:
  """Says where there are images, to compare with where they should be."""
  with contextlib.suppress(UserError):
    paths = sources.find_images(root)
    folders = Counter(printable(str(path.parent)) for path in paths)
    _say(f'{root} holds {len(paths):,} images, in')
    for folder, count in list(folders.items())[:MAX_FOLDERS]:
      _say(f'  {folder}: {count:,}')
    if len(folders) > MAX_FOLDERS:
      _say(f'  and {len(folders) - MAX_FOLDERS:,} more folders')
    _say(
      'They are looked for in <split>/<domain>: --train_split and --val_split'
    )
    _say('name other splits (config.data.train_split, config.data.val_split).')


def _say_wrapped(text: str, first: str, rest: str) -> None:
  lines = textwrap.wrap(
    text,
    WIDTH,
    initial_indent=first,
    subsequent_indent=rest,
    break_long_words=False,
    break_on_hyphens=False,
  )
  _say('\n'.join(lines))


def _say(text: str = '') -> None:
  print(text, flush=True)  # Before the error, which goes to stderr.


def run() -> None:
  """The command jaxgan-check."""
  cli.run(main, sys.argv, positional=('ROOT',))


if __name__ == '__main__':
  run()
