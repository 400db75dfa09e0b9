"""The checker is run as a program: other tools define the same flags."""

import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxgan.data.contracts import domains_ref, paired
from jaxgan.runtime.errors import UserError
from jaxgan.systems.pix2pix.config import default_config as pix2pix_config
from jaxgan.systems.stargan_v2.config import default_config

ROOT = pathlib.Path(__file__).parent.parent


def run(root, *flags):
  """Exit status, report, and what stderr says."""
  result = subprocess.run(
    [sys.executable, '-m', 'jaxgan.tools.check_dataset', root, *flags],
    cwd=ROOT,
    capture_output=True,
    text=True,
    env={'JAX_PLATFORMS': 'cpu', 'PATH': '/usr/bin:/bin'},
  )
  return result.returncode, result.stdout, result.stderr


def findings(report):
  """{what: (count, names)}."""
  text = report.partition('\nFindings')[2].partition('\nAdvice')[0]
  found = {}
  for line in text.splitlines()[1:]:
    if match := re.fullmatch(r'  (\S.*): ([\d,]+)', line):
      names = []
      found[match[1]] = int(match[2]), names
    elif re.match(r'    [^- ]', line):
      names.append(line.strip())
  return found


def advice(report):
  return ' '.join(report.partition('\nAdvice')[2].split())


def training_error(root, **data):
  """What opening the data for training raises, or ''."""
  config = default_config()
  config.data.update(root=str(root), img_size=32, **data)
  try:
    domains_ref.Data(config).training(0, 1)
  except UserError as error:
    return str(error)
  return ''


def noise(seed, width=40, height=40):
  rng = np.random.default_rng(seed)
  return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def save(image, path, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  image.save(path, **options)
  return path


@pytest.fixture
def clean(tmp_path):
  """Two images in each of two domains and splits."""
  for i in range(8):
    split, domain = ('train', 'val')[i // 4], ('cat', 'dog')[i // 2 % 2]
    save(noise(i), tmp_path / split / domain / f'{i}.png')
  return tmp_path


@pytest.fixture(scope='module')
def faulty(tmp_path_factory):
  """All that can be wrong, unless it would hide the rest."""
  root = tmp_path_factory.mktemp('faulty')
  cat, dog = root / 'train/cat', root / 'train/dog'
  original = save(noise(0), cat / '0.png')
  photo = save(noise(1), cat / 'photo.jpg')
  save(noise(2).convert('L'), cat / 'grey.png')
  save(noise(3).convert('CMYK'), cat / 'cmyk.jpg')
  save(noise(4).convert('P'), cat / 'palette.png')
  exif = Image.Exif()
  exif[0x0112] = 6
  save(noise(5, 60, 40), cat / 'turned.jpg', exif=exif)
  (cat / 'broken.jpg').write_bytes(photo.read_bytes()[:-500])
  (cat / 'empty.png').touch()
  save(Image.new('RGB', (40, 40), (0, 3, 8)), cat / 'black.png')
  save(Image.new('RGB', (40, 40), 'red'), cat / 'red.png')
  for i in range(4):
    (cat / f'copy{i}.png').write_bytes(original.read_bytes())
  (cat / 'notes.txt').touch()
  (cat / 'scan.cr2').touch()
  (cat / 'phone.jxl').touch()
  (root / 'test').mkdir()
  (root / 'train/.cache').mkdir()
  save(noise(6), dog / '0.png')
  save(noise(7), root / 'train/lone/0.png')
  for name in ('cat.png', 'cat_again.png'):
    (dog / name).write_bytes(original.read_bytes())
  for i, domain in enumerate(('cat', 'dog', 'lone')):
    save(noise(8 + i), root / 'val' / domain / '0.png')
  (root / 'val/cat/same.png').write_bytes((cat / 'grey.png').read_bytes())
  save(Image.open(photo), root / 'val/cat/recoded.png')
  return root


@pytest.fixture(scope='module')
def report(faulty):
  """The report of a training that skips bad images."""
  status, stdout, stderr = run(faulty, '--img_size=32', '--skip_bad_images')
  assert (status, stderr) == (0, '')
  assert training_error(faulty, skip_bad_images=True) == ''
  return stdout


def test_every_fault_is_found_and_named(report):
  assert findings(re.sub(r'\d+ bytes not', 'N bytes not', report)) == {
    'unreadable images': (
      2,
      [
        'train/cat/broken.jpg cannot be read (image file is truncated (N'
        ' bytes not processed))',
        'train/cat/empty.png cannot be read (empty file)',
      ],
    ),
    'training domains of one image': (1, ['train/lone']),
    'other files': (1, ['train/cat/notes.txt']),
    'hidden files and folders': (1, ['train/.cache']),
    'pictures of formats that are not read': (
      2,
      ['train/cat/phone.jxl', 'train/cat/scan.cr2'],
    ),
    'further splits or folders': (1, ['test']),
    'black images (rule of thumb: no value above 8 of 255)': (
      1,
      ['train/cat/black.png'],
    ),
    'images of one colour (rule of thumb: within 8 of 255)': (
      1,
      ['train/cat/red.png'],
    ),
    'copies of another image of their domain and split': (
      5,
      [f'train/cat/copy{i}.png = train/cat/0.png' for i in range(3)]
      + ['and 2 more'],
    ),
    'copies of an image of another domain': (
      2,
      [
        'train/dog/cat.png = train/cat/0.png',
        'train/dog/cat_again.png = train/cat/0.png',
      ],
    ),
    'validation images that training sees': (
      2,
      [
        'val/cat/recoded.png = train/cat/photo.jpg (same pixels in another'
        ' file)',
        'val/cat/same.png = train/cat/grey.png',
      ],
    ),
    'images that are not RGB': (
      4,
      [
        'train/cat/cmyk.jpg (CMYK)',
        'train/cat/grey.png (L)',
        'train/cat/palette.png (P)',
        'and 1 more',
      ],
    ),
    'images that EXIF says to turn': (1, ['train/cat/turned.jpg']),
  }


def test_alpha_and_what_training_does_with_it(clean):
  image = Image.new('RGBA', (40, 40), (0, 0, 0, 0))
  image.paste((255, 0, 0, 255), (0, 0, 20, 40))
  save(image, clean / 'train/cat/a.png')
  save(image, clean / 'train/cat/b.gif')
  save(noise(9).convert('RGBA'), clean / 'train/cat/opaque.png')
  for flags, effect in (
    (
      (),
      'Training drops alpha and sees the colours that are hidden under it,'
      ' often black: config.data.background=white (here --background=white)'
      ' blends them with white, or with another colour.',
    ),
    (('--background=#aaaaaa',), 'Training blends them with #aaaaaa.'),
  ):
    status, report, _ = run(clean, '--img_size=32', *flags)
    what = 'images with see-through parts'
    assert status == 0
    assert findings(report)[what] == (
      2,
      ['train/cat/a.png', 'train/cat/b.gif'],
    )
    assert effect in ' '.join(report.split())
  status, _, error = run(clean, '--img_size=32', '--background=whit')
  assert (status, error) == (
    1,
    "error: config.data.background must be '' or a colour, as 'white' or"
    " '#808080': 'whit'\n",
  )


def test_the_tables_count_and_measure(report):
  rows = [line.split(None, 5) for line in report.splitlines()]
  cat, val = [row for row in rows if row[:1] == ['cat']]
  assert cat[:5] == ['cat', '14', '40x40', '40x40', '40x60']
  assert cat[5] == 'PNG/RGB:7, JPEG/RGB:2,'  # and on the next lines:
  assert ['unreadable:2,', 'JPEG/CMYK:1,', 'PNG/L:1,'] in rows
  assert ['PNG/P:1'] in rows
  assert val == ['cat', '3', '40x40', '40x40', '40x40', 'PNG/RGB:2, PNG/L:1']
  assert ['lone', '1', '40x40', '40x40', '40x40', 'PNG/RGB'] in rows


def test_lines_are_short_but_for_names(report):
  names = [name for _, names in findings(report).values() for name in names]
  lines = [line for line in report.splitlines() if line.strip() not in names]
  assert len(lines) > 40 and max(map(len, lines)) <= 80


def test_advice_is_about_this_data(report):
  text = advice(report)
  assert '1 of 21 images are further from square' in text
  assert 'train/cat/turned.jpg, 40x60' in text
  assert 'more than 10,000 training images; here are 18' in text
  assert 'lone (1) comes 14.0 times as often as one of cat (14)' in text
  assert 'in cat (3), dog (1), lone (1):' in text
  assert 'batch_size at 8' in text and 'lambda_ds 2, lambda_cyc 1' in text
  assert 'enlarges' not in text and 'one domain' not in text


def test_clean_data_has_no_findings(clean):
  assert 'Findings: none\n' in run(clean, '--img_size=32')[1]


def test_domains_that_are_not_asked_for_are_named(clean):
  status, report, stderr = run(clean, '--img_size=64', '--domains=dog')
  assert (status, stderr) == (0, '')
  assert training_error(clean) == ''
  assert findings(report) == {'further domains': (2, ['train/cat', 'val/cat'])}
  assert report.endswith('Training would start.\n')
  text = advice(report)
  assert '4 of 4 images are narrower or lower than 64 px' in text
  assert 'There is one domain' in text
  assert 'square' not in text and 'as often as one' not in text


def remove(folder):
  for path in folder.iterdir():
    path.unlink()
  folder.rmdir()


def spoil(*paths):
  for path in paths:
    path.write_bytes(path.read_bytes()[:100])


def empty_domain(root):
  (root / 'train/ant').mkdir()
  spoil(root / 'val/dog/6.png')


@pytest.mark.parametrize(
  'change, data, message, shown',
  [
    (
      lambda root: spoil(root / 'train/dog/2.png'),
      {},
      '1 of 4 images are bad, the first: .*dog/2.png',
      ['train/dog/2.png cannot be read'],
    ),
    (
      lambda root: spoil(root / 'val/dog/6.png', root / 'val/dog/7.png'),
      {'skip_bad_images': True},
      "domain 'dog' has no readable image",
      ['unreadable images: 2'],
    ),
    (
      lambda root: remove(root / 'val/dog'),
      {},
      "domain 'dog' is in 'train' but not in 'val'",
      ['    train/dog\n    -> Training does not start'],
    ),
    (
      empty_domain,
      {},
      'train/ant holds no images',
      ['train: 4 images', 'After the error below comes: 1 of 4 images are'],
    ),
    (
      lambda root: (root / 'train').rename(root / 'training'),
      {'val_split': 'v'},
      'train is missing',
      ['training/cat: 2\n'],
    ),
    (None, {'domains': ('cta',)}, "did you mean 'cat'", []),
  ],
)
def test_the_verdict_is_that_of_training(clean, change, data, message, shown):
  if change:
    change(clean)
  expected = training_error(clean, **data)
  assert re.search(message, expected)
  flags = [f'--{k}={v[0] if k == "domains" else v}' for k, v in data.items()]
  status, report, stderr = run(clean, '--img_size=32', *flags)
  assert (status, stderr) == (1, f'error: {expected}\n')
  assert all(text in report for text in shown)
  assert 'Training would start' not in report


@pytest.mark.parametrize(
  'args, status, message',
  [
    (['nowhere'], 1, "error: data.root 'nowhere' is not a folder"),
    (['x', '--img_size=100'], 1, 'error: .*img_size must be a power of two'),
    (['x', '--name=shapes'], 2, 'error: --name=shapes is drawn'),
  ],
)
def test_bad_input_is_one_line(args, status, message):
  got, report, stderr = run(*args)
  assert got == status
  assert re.fullmatch(f'{message}.*\n', stderr)


@pytest.fixture
def pairs(tmp_path):
  """Two pairs in each split: the folders edges and photos."""
  for i in range(4):
    for j, side in enumerate(('edges', 'photos')):
      path = tmp_path / ('train', 'val')[i // 2] / side / f'{i}.png'
      save(noise(2 * i + j), path)
  return tmp_path


PAIR = ('--pair=edges,photos', '--img_size=32')


def test_good_pairs_would_start(pairs):
  status, report, _ = run(str(pairs), *PAIR)
  assert status == 0 and 'Training would start.' in report
  assert findings(report) == {} and 'Findings: none' in report
  assert re.search(r'edges +2 +40x40', report)
  assert 'squeezed into squares' in advice(report)
  assert 'StarGAN' not in report and 'lambda' not in report


def test_a_missing_partner_is_what_training_ends_with(pairs):
  (pairs / 'train/photos/1.png').unlink()
  status, report, error = run(str(pairs), *PAIR)
  assert status == 1 and 'Training would not start.' in report
  assert 'edges/1.png and 0 others have no partner of the same name' in error


def test_pairs_that_do_not_lie_on_each_other_are_named(pairs):
  save(noise(9, 40, 36), pairs / 'val/photos/3.png')
  status, report, _ = run(str(pairs), *PAIR)
  assert status == 0
  names = ['val/edges/3.png, 40x40; val/photos/3.png, 40x36']
  assert findings(report) == {'pairs of different proportions': (1, names)}


def test_pictures_of_two_sides(tmp_path):
  for i in range(4):
    size = [(80, 40), (80, 40), (80, 40), (40, 80)][i]
    save(noise(i, *size), tmp_path / ('train', 'val')[i // 2] / f'{i}.png')
  status, report, _ = run(str(tmp_path), '--name=paired', '--img_size=32')
  assert status == 0
  what = 'pictures of odd width, or higher than wide'
  assert findings(report) == {what: (1, ['val/3.png, 40x80'])}


def pair_error(root, **data):
  """What opening the pairs for training raises, or ''."""
  config = pix2pix_config()
  config.data.update(root=str(root), img_size=32, load_size=0, **data)
  try:
    paired.Data(config).training(0, 1)
  except UserError as error:
    return str(error)
  return ''


def test_faults_of_pairs_are_those_that_training_ends_with(pairs, tmp_path):
  side_by_side = tmp_path / 'whole'
  for i in range(4):
    width = 1 if i == 1 else 80
    save(
      noise(i, width, 40), side_by_side / ('train', 'val')[i // 2] / f'{i}.png'
    )
  status, _, error = run(str(side_by_side), '--name=paired', '--img_size=32')
  expected = pair_error(side_by_side, name='paired')
  assert '2 of 4 images are bad' in expected
  assert status == 1 and expected in error
  save(noise(9), pairs / 'train/photos/0.bmp')
  status, report, error = run(str(pairs), *PAIR)
  expected = pair_error(pairs, name='folder', pair=('edges', 'photos'))
  assert "2 images named '0'" in expected
  assert status == 1 and expected in error
  # Equal numbers are no pairs where partners are missing.
  assert 'proportions' not in report.partition('Advice')[0]


def test_a_list_of_attributes_that_does_not_fit_its_images(tmp_path):
  for i in range(6):
    save(noise(i), tmp_path / f'images/{i}.png')
  (tmp_path / 'images/scan.cr2').touch()
  path = tmp_path / 'list_attr_celeba.txt'
  rows = ''.join(f'{i}.png 1 -1\n' for i in range(5))
  path.write_text(f'9\nBald Young\n{rows}')
  flags = ('--name=celeba', '--img_size=32')
  status, report, error = run(tmp_path, *flags, '--num_test=2')
  assert (status, error) == (0, '')
  assert re.search('train: 3 images, .*val: 2 images', report, re.DOTALL)
  assert findings(report) == {
    'counts that are not those of the lines': (
      1,
      ['its first line says 9 images, and it names 5'],
    ),
    'pictures of formats that are not read': (1, ['images/scan.cr2']),
    'images that the list does not name': (1, ['images/5.png']),
  }
  status, _, error = run(tmp_path, *flags, '--num_test=2', '--domains=Young')
  assert status == 1 and 'StarGAN needs two or more' in error
