"""Scores of a run from its networks on, with stand-ins to see through."""

import itertools
import pathlib
import types

import numpy as np
import pytest
from etils import epath
from PIL import Image

from jaxgan.inference.translator import Translator
from jaxgan.metrics import evaluate, features, translations
from jaxgan.metrics.evaluate import _ReferenceOutputs, _shuffled
from jaxgan.runtime import errors
from jaxgan.systems import contract
from tests import tiny


class _Translator:
  """Translates a source into the number of the style, in all its pixels."""

  model = types.SimpleNamespace(style_dim=2)

  def style(self, y, *, x_ref):
    return np.stack([np.rint((x_ref[:, 0, 0, 0] + 1) * 127.5), y], axis=1)

  def translate(self, x, y, s):
    np.testing.assert_array_equal(s[:, 1], y)
    return np.broadcast_to(s[:, :1, None, None], x.shape)


class _Val:
  domains = ('a', 'b')
  counts = (40, 3)

  def images(self, domain, indices):
    for i in indices:
      yield i, np.full((4, 4, 3), i, np.uint8)


def _used(make, num_sources, rng):
  """The references that each source is translated with: [N, K]."""
  drawn = make.draw(num_sources, 0, rng)
  x = np.zeros((num_sources, 4, 4, 3), np.float32)
  return np.int32(make.translate(x, drawn, 0)[..., 0, 0, 0])


def test_references_go_on_from_one_source_domain_to_the_next():
  make = _ReferenceOutputs(_Translator(), _Val(), 2)
  first = _used(make, 32, np.random.default_rng(0))
  # 40 references are one batch of 32 and 8 that are dropped: each output of a
  # batch of sources takes a batch, in which no reference comes twice.
  assert first.shape == (32, 2)
  for column in first.T:
    assert len(set(column)) == 32 and column.min() >= 0 and column.max() < 40
  assert not np.array_equal(first[:, 0], first[:, 1])
  # A short batch of sources takes the beginning of a batch.
  expected = _shuffled(40, np.random.default_rng(0))
  batches = list(itertools.islice(expected, 6))
  np.testing.assert_array_equal(first, np.stack(batches[:2], 1))
  # Whatever generator comes with the next source domain.
  more = _used(make, 37, np.random.default_rng(9))
  np.testing.assert_array_equal(more[:32], np.stack(batches[2:4], 1))
  np.testing.assert_array_equal(more[32:], np.stack(batches[4:], 1)[:5])


def test_few_references_come_more_than_once():
  batches = _shuffled(3, np.random.default_rng(0))
  counts = np.bincount(next(batches))
  assert counts.sum() == 32 and counts.max() - counts.min() <= 1


def test_every_image_of_a_batch_of_references_is_used():
  batches = _shuffled(70, np.random.default_rng(0))
  order = np.concatenate([next(batches), next(batches)])
  assert len(set(order)) == 64  # 6 are dropped, and all are shuffled anew


@pytest.fixture
def folder(tmp_path: pathlib.Path):
  """Noise: four training and three validation images of each shape."""
  rng = np.random.default_rng(0)
  for split, count in (('train', 4), ('val', 3)):
    for domain in ('circle', 'square', 'triangle'):
      directory = tmp_path / split / domain
      directory.mkdir(parents=True)
      for i in range(count):
        pixels = rng.integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(directory / f'{i}.png')
  return tmp_path


class _Inception:
  """Mean colours."""

  label = 'made'

  def __init__(self, protocol, weights_dir):
    pass

  def compute(self, pictures, img_size):
    return np.stack([np.asarray(p, np.float32).mean((0, 1)) for p in pictures])

  def compute_cached(self, pictures, img_size, **kwargs):
    return self.compute(pictures, img_size)


def test_a_model_without_latents_is_not_asked_for_them():
  system = types.SimpleNamespace(KINDS=('label',))
  translator = types.SimpleNamespace(system=system, model=object())
  assert list(evaluate._create_outputs(translator, None, 2)) == ['label']


def _evaluate(monkeypatch, folder, seed=0, paired_names=False, **options):
  monkeypatch.setattr(features, 'Inception', _Inception)
  config = tiny.config(
    data__name='folder',
    data__root=str(folder),
    data__skip_bad_images=True,
    data__paired_names=paired_names,
  )
  system, (model, state) = contract.get_system(config), tiny.create()
  options = translations.Options(
    metrics=('fid',), num_outputs=2, weights_dir='w', **options
  )
  scores = evaluate.evaluate(
    Translator(system, model, system.inference_params(state), chunk=32),
    config,
    translations.Scorer(options),
    system.create_data(config),
    seed=seed,
    save_dir=epath.Path(folder) / 'out',
  )
  return {score.name: score for score in scores}


def test_scores_of_a_folder(monkeypatch, folder):
  scores = _evaluate(monkeypatch, folder, save_images=True)
  assert len(scores) == 2 * 2 * 7  # metrics, modes, pairs and their mean
  for mode in ('latent', 'reference'):
    score = scores[f'fid/{mode}/square2circle']
    assert (score.n_real, score.n_fake) == (4, 6)
    assert np.isfinite(score.value) and score.value > 0
    files = list((folder / 'out' / mode / 'square2circle').iterdir())
    assert len(files) == 6
  # One style for all would give 0.
  assert scores['pixel_distance/latent/mean'].value > 1e-3
  again = _evaluate(monkeypatch, folder)
  assert {n: s.value for n, s in again.items()} == {
    n: s.value for n, s in scores.items()
  }
  other = _evaluate(monkeypatch, folder, seed=1)
  name = 'fid/latent/square2circle'
  assert other[name].value != scores[name].value


def test_outputs_are_held_beside_counterparts_where_names_tell_these(
  monkeypatch, folder
):
  scores = _evaluate(monkeypatch, folder, paired_names=True)
  # Modes and floors, of which two have the best of two outputs as well.
  kinds = 5 * (2 * 2 + 1 + 3) + 1
  assert len(scores) == 2 * 2 * 7 + kinds * 7
  l1 = scores['paired/latent/l1/square2circle']
  assert (l1.n_real, l1.n_fake) == (3, 6) and 40 < l1.value < 200
  assert scores['paired/latent/l1_best/square2circle'].value < l1.value
  assert scores['paired/own_style/l1/square2circle'].n_fake == 3
  noise = scores['paired/source/l1/mean'].value
  assert noise == pytest.approx(44.19, abs=0.01)
  assert scores['paired/chance/retrieval/mean'].value == pytest.approx(1 / 3)


def test_saved_images_of_an_earlier_look_go(monkeypatch, folder):
  stale = folder / 'out' / 'latent' / 'square2circle' / '0001_09.png'
  stale.parent.mkdir(parents=True)
  stale.write_bytes(b'')
  _evaluate(monkeypatch, folder, save_images=True)
  assert not stale.exists()


def test_a_domain_without_a_readable_image_is_named(monkeypatch, folder):
  for path in (folder / 'val' / 'circle').iterdir():
    path.write_bytes(b'')
  with pytest.raises(errors.UserError, match="validation image of 'circle'"):
    _evaluate(monkeypatch, folder)
  for path in list((folder / 'train' / 'circle').iterdir())[:3]:
    path.write_bytes(b'')
  for path in (folder / 'val' / 'circle').iterdir():
    path.write_bytes((folder / 'val' / 'square' / '0.png').read_bytes())
  with pytest.raises(errors.UserError, match="'circle' has 1 readable real"):
    _evaluate(monkeypatch, folder)
