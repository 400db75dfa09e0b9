"""VGG-16 up to relu5_3 (Simonyan and Zisserman 2015), for a perceptual term.

The weights are a file of the user.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import linen as nn

from jaxgan.nets import layers
from jaxgan.pytorch import convert, torch_files, torch_params
from jaxgan.runtime import errors

Array = jax.Array
Tree = Any

_DEPTHS = (2, 2, 3, 3, 3)  # convolutions of a stage; a pool is between stages
_STAGES = tuple(
  tuple(f'conv{stage}_{i}' for i in range(1, depth + 1))
  for stage, depth in enumerate(_DEPTHS, 1)
)
NAMES = tuple(name for stage in _STAGES for name in stage)
# Where torchvision's list of layers has them.
_TORCHVISION = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)

# Of RGB in 0..255.
_CAFFE_MEAN, _CAFFE_STD = (123.680, 116.779, 103.939), (1.0, 1.0, 1.0)
_IMAGENET_MEAN = tuple(255 * v for v in (0.485, 0.456, 0.406))
_IMAGENET_STD = tuple(255 * v for v in (0.229, 0.224, 0.225))


def load(path: epath.PathLike) -> Tree:
  """Reads the weights from a file of PyTorch.

  Args:
    path: of a state dict as of the original code, `vgg16.weight`, or of
      torchvision's, `vgg16-397923af.pth`.

  Returns:
    Parameters of `features`, float32.

  Raises:
    UserError: the file is missing, or is of another network.
  """
  tree = torch_files.load(path)
  try:
    params = from_state_dict(convert.find_state_dict(tree))
  except ValueError as e:
    raise errors.UserError(f'{path} holds no VGG-16: {e}') from e
  return jax.tree.map(lambda x: x.astype(np.float32), params)


def from_state_dict(state_dict: Mapping[str, Any]) -> Tree:
  """Converts tensors into parameters, which tell their preparation too.

  Args:
    state_dict: {key: array}, of any widths. Keys `conv1_1.weight` and so on are
      those of the original code, whose network wants BGR in 0..255 minus a
      mean; `features.0.weight` and so on are torchvision's, for RGB in [0, 1]
      minus a mean over a deviation. Others, of the classifier, are left.

  Returns:
    {'conv1_1': {'kernel', 'bias'}, ..., 'input': {'mean', 'std'}} for RGB in
    0..255, float32 or what is wider in `state_dict`.

  Raises:
    ValueError: a tensor is missing or does not fit.
  """
  caffe = f'{NAMES[0]}.weight' in state_dict
  keys = (
    NAMES if caffe else tuple(f'features.{number}' for number in _TORCHVISION)
  )
  own, like, width = {}, {}, 3
  for name, key in zip(NAMES, keys, strict=True):
    for leaf in ('weight', 'bias'):
      if f'{key}.{leaf}' not in state_dict:
        raise ValueError(f'there is no tensor {key}.{leaf}')
      own[f'{name}.{leaf}'] = np.asarray(state_dict[f'{key}.{leaf}'])
    kernel = own[f'{name}.weight']
    features = len(kernel) if kernel.ndim else 0
    if kernel.shape != (features, width, 3, 3) or not features:
      raise ValueError(
        f'{key}.weight has shape {kernel.shape} and not [O, {width}, 3, 3]'
      )
    like[name] = _layer_shapes(width, features)
    width = features
  params = torch_params.from_state_dict(own, like)
  if caffe:
    first = params[NAMES[0]]
    first['kernel'] = first['kernel'][:, :, ::-1]  # BGR to RGB
  params['input'] = {
    'mean': np.array(_CAFFE_MEAN if caffe else _IMAGENET_MEAN),
    'std': np.array(_CAFFE_STD if caffe else _IMAGENET_STD),
  }
  dtype = np.result_type(np.float32, own[f'{NAMES[0]}.weight'])
  # No reversed views: the parameters are to be stored and sent.
  return jax.tree.map(lambda x: np.array(x, dtype, order='C'), params)


def check(params: Tree, where: str) -> None:
  """Checks parameters that come back from a work directory.

  Args:
    params: what should be those of `features`.
    where: they come from, for the message.

  Raises:
    UserError: they are not.
  """
  try:
    width, wanted = 3, {}
    for name in NAMES:
      features = np.shape(params[name]['kernel'])[-1]
      wanted[name] = _layer_shapes(width, features)
      width = features
    vector = jax.ShapeDtypeStruct((3,), np.float32)
    wanted['input'] = {'mean': vector, 'std': vector}
    shapes = jax.tree.map(np.shape, params)
    fit = shapes == jax.tree.map(lambda leaf: leaf.shape, wanted)
  except (TypeError, KeyError, IndexError):
    fit = False
  if not fit:
    raise errors.UserError(
      f'{where} does not hold VGG-16: restore it from a copy'
    )


def check_size(img_size: int, *, fourth_pool: bool) -> None:
  """Raises UserError where the features are fewer than 2 x 2.

  A single one is 0 once it is normalised, and the term with it.
  """
  least = 32 if fourth_pool else 16
  if img_size < least:
    raise errors.UserError(
      f'the perceptual term needs images of {least} px or more: '
      f'config.data.img_size is {img_size}'
    )


def features(params: Tree, x: Array, *, fourth_pool: bool) -> Array:
  """The output of VGG-16 at relu5_3.

  Args:
    params: of `load`.
    x: [B, S, S, 3] in [-1, 1], S at least 16, with the fourth pool 32 (see
      `check_size`).
    fourth_pool: whether to pool between stages 4 and 5 like VGG-16; the
      released code of MUNIT and UNIT leaves that out.

  Returns:
    [B, S / 8, S / 8, C], with the fourth pool [B, S / 16, S / 16, C], rounded
    down; of the type of x, float32 or better.
  """
  h = x.astype(layers.at_least_float32(x.dtype))
  mean, std = (params['input'][key].astype(h.dtype) for key in ('mean', 'std'))
  h = ((h + 1) * 127.5 - mean[None, None, None]) / std[None, None, None]
  for i, stage in enumerate(_STAGES):
    if i and (fourth_pool or i < 4):
      h = nn.max_pool(h, (2, 2), (2, 2))
    for name in stage:
      h = layers.convolve(h, params[name]['kernel'], 'SAME')
      bias = params[name]['bias'].astype(h.dtype)
      h = nn.relu(h + bias[None, None, None])
  return h


def _layer_shapes(width: int, features: int) -> dict[str, Any]:
  return {
    'kernel': jax.ShapeDtypeStruct((3, 3, width, features), np.float32),
    'bias': jax.ShapeDtypeStruct((features,), np.float32),
  }
