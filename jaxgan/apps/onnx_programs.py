"""Programs in ONNX, made by jax2onnx and compared before they are given out.

jax2onnx replaces functions of JAX and Flax while it traces a program, and some
of its versions convert a layer wrongly without a word. So what it makes is run
in ONNX Runtime, and is an error where the numbers differ.
"""

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import export

from jaxgan.runtime import errors

MAX_DIFFERENCE = 1e-3  # of images in [-1, 1]
_BATCH = 3


class Converted(NamedTuple):
  """An ONNX program, and how far its images were from those of JAX."""

  data: bytes
  difference: float


def import_libraries() -> tuple[Any, Any]:
  """jax2onnx and ONNX Runtime; raises UserError where they are missing."""
  try:
    with _silence():
      import jax2onnx
      import onnxruntime
  except ImportError as e:
    raise errors.UserError(
      f'--onnx needs jax2onnx and onnxruntime ({e}): pip install onnx onnx-ir '
      'onnxruntime einops, then pip install --no-deps jax2onnx==0.17.1'
    ) from e
  return jax2onnx, onnxruntime


def convert(
  program: Callable[..., jax.Array],
  arguments: Mapping[str, jax.ShapeDtypeStruct],
  num_domains: int,
) -> Converted:
  """Converts a program to ONNX, and compares them on noise.

  Args:
    program: of `Translator.programs`.
    arguments: what it takes, in order, the batch open.
    num_domains: what integers among them are below.

  Raises:
    UserError: jax2onnx cannot convert it, or what it makes gives other images.
  """
  jax2onnx, onnxruntime = import_libraries()
  shapes = tuple(arguments.values())
  try:
    with _silence():
      proto = jax2onnx.to_onnx(
        program, shapes, input_names=[*arguments], output_names=['image']
      )
      # Of shapes inside, some are wrong where the program is right.
      del proto.graph.value_info[:]
      data = proto.SerializeToString()
      options = onnxruntime.SessionOptions()
      options.log_severity_level = 3  # errors
      session = onnxruntime.InferenceSession(
        data, options, providers=['CPUExecutionProvider']
      )
      inputs = _noise(arguments, num_domains)
      (image,) = session.run(None, inputs)
  except Exception as e:  # of every kind
    reason = ' '.join(str(e).split())[:200]
    raise errors.UserError(
      f'jax2onnx cannot convert the run ({type(e).__name__}: {reason}): leave '
      'out --onnx'
    ) from e
  expected = export.export(jax.jit(program))(*shapes).call(*inputs.values())
  difference = np.inf
  if image.shape == expected.shape:
    difference = float(np.max(np.abs(image - np.asarray(expected))))
  if not difference <= MAX_DIFFERENCE:  # NaN, too
    raise errors.UserError(
      f'the images of ONNX differ from those of JAX by {difference:.2g}: take '
      'jax2onnx 0.17.1 (pip install --no-deps jax2onnx==0.17.1), or leave out '
      '--onnx'
    )
  return Converted(data, difference)


def _noise(
  arguments: Mapping[str, jax.ShapeDtypeStruct], num_domains: int
) -> dict[str, np.ndarray]:
  rng = np.random.default_rng(0)
  made: dict[str, np.ndarray] = {}
  for name, argument in arguments.items():
    shape = (_BATCH, *argument.shape[1:])
    if argument.dtype == np.int32:
      made[name] = np.arange(_BATCH, dtype=np.int32) % num_domains
    elif name == 'z':
      made[name] = rng.standard_normal(shape, np.float32)
    else:
      made[name] = rng.uniform(-1, 1, shape).astype(np.float32)
  return made


@contextlib.contextmanager
def _silence() -> Iterator[None]:
  """Inside, the converter's remarks on its own examples are not shown."""
  names = ('jax2onnx', 'onnx_ir')
  before = {name: logging.getLogger(name).level for name in names}
  try:
    for name in names:
      logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      yield
  finally:
    for name, level in before.items():
      logging.getLogger(name).setLevel(level)
