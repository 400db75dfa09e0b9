"""A small classifier of real images, to judge translations by.

StarGAN's measure (Choi et al. 2018, section 5) with a network of our own, which
is trained where it is used and needs no files. Errors compare where the real
images, their size and `LABEL` are the same, and not otherwise.
"""

import functools
import hashlib
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm
from absl import logging
from etils import epath
from flax import linen as nn

from jaxgan.nets import layers
from jaxgan.runtime import files, host, sharding

Array = jax.Array
Params = Mapping[str, Any]
Draw = Callable[[int], tuple[np.ndarray, np.ndarray]]

LABEL = 'classifier:1'  # of network and training: a change is a new number
BATCH = 64  # for those who draw
STEPS = 1000
MAX_SIZE = 128  # px; larger images are shrunk
_WIDTH = 32
_GAIN = 0.5  # of a block's convolutions at first
_LEARNING_RATE = 2e-3
_ADAM = optax.scale_by_adam()
_CHUNK = 64


class _Block(nn.Module):
  """Two normed convolutions beside a shortcut.

  No norm is on the shortcut: it would take away flat colours, and domains may
  differ in nothing else.
  """

  features: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps [B, H, W, C] to [B, H, W, features]."""
    h = x
    for i in range(2):
      h = nn.relu(layers.InstanceNorm(name=f'norm{i}')(h))
      h = layers.Conv(self.features, name=f'conv{i}')(h)
    gain = self.param('gain', nn.initializers.constant(_GAIN), (), jnp.float32)
    if x.shape[-1] != self.features:
      x = layers.Conv(self.features, (1, 1), use_bias=False, name='short')(x)
    return x + gain * h


class Classifier(nn.Module):
  """A residual network of three resolutions; no image sees another one."""

  num_labels: int

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps images [B, S, S, 3] in [-1, 1] to logits [B, num_labels]."""
    if x.shape[1] > MAX_SIZE:
      shape = (len(x), MAX_SIZE, MAX_SIZE, x.shape[-1])
      x = jax.image.resize(x, shape, 'linear')  # antialiased
    x = _to_depth(x, 4 if x.shape[1] >= 128 else 2)
    x = layers.Conv(_WIDTH, name='stem')(x)
    for i in range(3):
      if i and x.shape[1] > 1:
        x = layers.avg_pool(x)
      x = _Block(_WIDTH * 2**i, name=f'block{i}')(x)
    x = nn.relu(x).mean((1, 2))
    return nn.Dense(self.num_labels, name='head')(x)


def train(
  draw: Draw,
  num_labels: int,
  *,
  exclusive: bool,
  steps: int = STEPS,
  seed: int = 0,
) -> Params:
  """Trains a classifier: the same one from the same draws and seed.

  Adam with cosine decay; images are mirrored and shifted at random.

  Args:
    draw: maps a step to images, uint8 [B, S, S, 3], and their labels, float32
      [B, num_labels] of 0 and 1; B and S are the same at every step.
    num_labels: of an image.
    exclusive: whether an image has exactly one label (softmax), or any number
      of them (sigmoid).
    steps: of training.
    seed: of the parameters and of what happens to the images.
  """
  init_key, step_key = jax.random.split(jax.random.key(seed))
  learning_rate = optax.cosine_decay_schedule(_LEARNING_RATE, steps)
  state, loss = None, None
  with tqdm.tqdm(
    desc='classifier', total=steps, unit='step', **host.progress()
  ) as bar:
    for step in range(steps):
      images, labels = draw(step)
      if state is None:
        params = _init(num_labels, images.shape[1], init_key)
        state = params, _ADAM.init(params)
      # One step is computed while the next one is drawn, and no more.
      jax.block_until_ready(loss)
      key = jax.random.fold_in(step_key, step)
      state, loss = _train_step(
        state, images, labels, key, learning_rate(step), exclusive=exclusive
      )
      bar.update()
  assert state is not None, 'no steps'
  return jax.tree.map(np.asarray, state[0])


def load_or_train(
  draw: Draw,
  num_labels: int,
  *,
  exclusive: bool,
  img_size: int,
  content: str,
  cache_dir: str,
  steps: int = STEPS,
  seed: int = 0,
) -> Params:
  """`train`, or what an earlier run trained on the same content.

  Several processes, which must call it together, all get the classifier of
  process 0. Where it has kept none, each trains the same one from the same
  draws, so that none waits for minutes for another.

  Args:
    draw: as in `train`, like the others; not called if one is kept.
    num_labels: of an image.
    exclusive: whether an image has exactly one label.
    img_size: of the images.
    content: a sum of all that images and labels are drawn from.
    cache_dir: where classifiers are kept.
    steps: of training.
    seed: of the training.
  """
  key = {
    'content': content,
    'recipe': LABEL,
    'num_labels': num_labels,
    'exclusive': exclusive,
    'img_size': img_size,
    'steps': steps,
    'seed': seed,
  }
  name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
  path = files.user_path(cache_dir) / f'classifier-{name}.npz'
  first = jax.process_index() == 0
  like = jax.eval_shape(
    functools.partial(_init, num_labels, img_size), jax.random.key(seed)
  )
  params = _read_cache(path, key, like) if first else None
  (found,) = sharding.of_first([params is not None])
  if not found:
    params = train(
      draw, num_labels, exclusive=exclusive, steps=steps, seed=seed
    )
    if first:
      try:
        _write_cache(path, key, params)
      except OSError as e:
        logging.warning('the classifier is not kept: %s', e)
  return _of_first(params, like)


def predict(params: Params, images: np.ndarray) -> np.ndarray:
  """Logits of images, on all devices of this process.

  Args:
    params: of `train`.
    images: [N, S, S, 3], uint8, or floating point in [-1, 1].

  Returns:
    float32 [N, num_labels]: the largest is that of the label of an image, or,
    where they are not exclusive, those above 0.
  """
  if not len(images):
    return np.zeros((0, len(params['head']['bias'])), np.float32)
  mesh = sharding.create_local_mesh()
  placed = jax.device_put(params, sharding.replicated(mesh))
  fn = functools.partial(_logits, placed)
  return sharding.map_chunks(fn, images, mesh=mesh, size=_CHUNK)


def _init(num_labels: int, img_size: int, key: Array) -> Any:
  images = jnp.zeros((1, img_size, img_size, 3))
  return Classifier(num_labels).init(key, images)['params']


@jax.jit
def _logits(params: Params, images: Array) -> Any:
  network = Classifier(len(params['head']['bias']))
  x = images
  if images.dtype == jnp.uint8:
    x = images.astype(jnp.float32) / 127.5 - 1
  # Scores are to be the same on all hardware: no TF32, no bfloat16.
  with jax.default_matmul_precision('highest'):
    return network.apply({'params': params}, x)


@functools.partial(jax.jit, static_argnames='exclusive', donate_argnums=0)
def _train_step(
  state: tuple[Any, Any],
  images: Array,
  labels: Array,
  key: Array,
  learning_rate: Array,
  *,
  exclusive: bool,
) -> tuple[tuple[Any, Any], Array]:
  params, moments = state

  def compute_loss(params):
    logits = _logits(params, _augment(key, images))
    if exclusive:
      return optax.softmax_cross_entropy(logits, labels).mean()
    return optax.sigmoid_binary_cross_entropy(logits, labels).mean()

  loss, grads = jax.value_and_grad(compute_loss)(params)
  updates, moments = _ADAM.update(grads, moments)
  params = jax.tree.map(lambda p, u: p - learning_rate * u, params, updates)
  return (params, moments), loss


def _augment(key: Array, images: Array) -> Array:
  """Mirrors with probability 0.5 and shifts by up to an eighth of the side."""
  count, size, _, channels = images.shape
  mirror_key, shift_key = jax.random.split(key)
  mirror = jax.random.bernoulli(mirror_key, shape=(count, 1, 1, 1))
  images = jnp.where(mirror, images[:, :, ::-1], images)
  reach = size // 8
  sides = (reach, reach)
  padded = jnp.pad(images, ((0, 0), sides, sides, (0, 0)), 'edge')
  corners = jax.random.randint(shift_key, (count, 2), 0, 2 * reach + 1)

  def cut(image, corner):
    shape = (size, size, channels)
    return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), shape)

  return jax.vmap(cut)(padded, corners)


def _to_depth(x: Array, side: int) -> Array:
  """[B, S, S, C] to [B, S / side, S / side, side * side * C], rests cut off."""
  # Not a convolution with a stride: its gradients are slow on CPU.
  count, size, _, channels = x.shape
  cells = size // side
  x = x[:, : cells * side, : cells * side]
  x = x.reshape(count, cells, side, cells, side, channels)
  return x.transpose(0, 1, 3, 2, 4, 5).reshape(count, cells, cells, -1)


def _of_first(params: Params | None, like: Any) -> Params:
  """The parameters of process 0, shaped as `like`, on all processes."""
  leaves, structure = jax.tree.flatten(like)
  flat = np.zeros(0, np.float32)
  if jax.process_index() == 0:
    flat = np.concatenate([np.ravel(p) for p in jax.tree.leaves(params)])
  flat = sharding.gather(flat)
  ends = np.cumsum([leaf.size for leaf in leaves])
  parts = np.split(flat, ends[:-1])
  return jax.tree.unflatten(
    structure,
    [p.reshape(leaf.shape) for p, leaf in zip(parts, leaves, strict=True)],
  )


def _read_cache(
  path: epath.Path, key: dict[str, Any], like: Any
) -> Params | None:
  if not path.exists():
    return None
  try:
    archive = files.read_npz(path)
    if json.loads(str(archive.pop('key'))) == key:
      shapes = {
        name: leaf.shape
        for name, leaf in flax.traverse_util.flatten_dict(like, sep='/').items()
      }
      if {name: array.shape for name, array in archive.items()} == shapes:
        return flax.traverse_util.unflatten_dict(archive, sep='/')
    reason = 'is of something else'
  except (OSError, ValueError, KeyError, RecursionError) as e:
    reason = f'is damaged ({e})'
  logging.warning('%s %s: the classifier is trained anew', path, reason)
  return None


def _write_cache(path: epath.Path, key: dict[str, Any], params: Params) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  buffer = io.BytesIO()
  arrays = flax.traverse_util.flatten_dict(params, sep='/')
  np.savez(buffer, key=json.dumps(key), **arrays)
  files.write_whole(path, buffer.getvalue())
