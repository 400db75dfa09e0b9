"""The settings of StarGAN; a file in configs/ changes a few of them."""

from typing import Any

import ml_collections

from jaxgan.systems.stargan import labels

OFFICIAL = 'yunjey/stargan'  # a value of config.parity
_ATTRIBUTE_DATA = ('celeba', 'shapes_attributes')


def default_config() -> ml_collections.ConfigDict:
  """Returns the published settings for CelebA at 128 px."""
  config = ml_collections.ConfigDict()
  config.system = 'stargan'
  # '': as the paper has it. 'yunjey/stargan': as the released code does, which
  # says that the learning rate falls to 0, but lowers it by 0.1 % in all.
  config.parity = ''
  config.seed = 0
  config.batch_size = 16  # of all devices together, and of each data set
  config.micro_batches = 1  # parts of it that are in memory at a time
  config.shard_state = False  # divide parameters, optimisers among devices
  config.num_train_steps = 200_000
  config.log_every_steps = 50  # of n_critic a multiple, or G is not logged
  config.sample_every_steps = 5000
  config.checkpoint_every_steps = 10_000
  config.on_nan = 'stop'  # or 'restore': go back, leave the step out, thrice
  config.keep = 3  # the newest checkpoints
  config.keep_every_steps = 0  # and all at multiples of this; 0 for none

  config.data = data = ml_collections.ConfigDict()
  # 'celeba': <root>/images and <root>/list_attr_celeba.txt, labels are
  # attributes. 'folder': <root>/<split>/<domain>/<images>, or
  # 'tfds:<data set>', labels are domains. 'shapes', 'shapes_attributes': drawn.
  data.name = 'celeba'
  data.root = 'data/celeba'
  data.crop_size = 178  # the square in the middle that is seen; 0 for all
  data.train_split = 'train'
  data.val_split = 'test'
  data.num_test = 1999  # images of celeba that are not trained on
  # Attributes or domains to use; () for all that the data has.
  data.domains = ('Black_Hair', 'Blond_Hair', 'Brown_Hair', 'Male', 'Young')
  # A second data set, with the same splits, to be trained together with it.
  data.joint_name = ''
  data.joint_root = ''
  data.joint_crop_size = 0
  data.joint_domains = ()
  data.img_size = 128
  data.augment = True  # flips
  data.check_images = True  # decode every image once before training
  data.skip_bad_images = False  # draw another one, or leave it out on_device
  data.timeout = 300.0  # seconds in which a file must have been read
  data.on_device = False  # keep all images in device memory and draw them there
  data.cache_dir = ''  # for on_device; '' for ~/.cache/jaxgan

  config.model = model = ml_collections.ConfigDict()
  model.g_conv_dim = 64  # first width of the generator
  model.g_repeat_num = 6  # its residual blocks
  model.d_conv_dim = 64  # first width of the discriminator
  model.d_repeat_num = 6  # its halvings
  model.num_domains = 0  # labels; 0: as many as the data has
  model.dtype = 'float32'  # of computation: float32, bfloat16 or float64
  # Same results to rounding, another speed:
  model.resample = 'auto'  # convolutions that resample: plain, phases

  config.hparams = hparams = ml_collections.ConfigDict()
  hparams.lambda_cls = 1.0
  hparams.lambda_rec = 10.0
  hparams.lambda_gp = 10.0
  hparams.n_critic = 5  # the generator is updated in every fifth iteration

  config.optim = optim = ml_collections.ConfigDict()
  optim.lr = 1e-4
  optim.decay_start = 100_000  # from here it falls linearly
  optim.decay_steps = 100_000  # until it is 0
  optim.lr_update_step = 1000  # of parity: it is changed at multiples of this
  optim.beta1 = 0.5
  optim.beta2 = 0.999
  return config


def find_labels(config: ml_collections.ConfigDict) -> labels.Labels:
  """The labels of a config that is complete: what the data has is in it."""
  data = config.data
  sets = [(data.name, data.domains)]
  if data.joint_name:
    sets.append((data.joint_name, data.joint_domains))
  return labels.Labels(
    tuple(
      labels.LabelSet(tuple(domains), name not in _ATTRIBUTE_DATA)
      for name, domains in sets
    )
  )


def images_per_step(config: ml_collections.ConfigDict) -> int:
  """Sources in an iteration, of all data sets."""
  num_sets = 2 if config.data.joint_name else 1
  return config.batch_size * num_sets


def old_step_iterations(config: ml_collections.ConfigDict) -> int:
  """Iterations in a step of a checkpoint of format 1."""
  n_critic: int = config.hparams.n_critic
  return n_critic


def facts(found: labels.Labels) -> dict[str, Any]:
  """What the labels of the data decide, by the config's names for it."""
  decided: dict[str, Any] = {'model.num_domains': len(found.names)}
  for i, labelled in enumerate(found.sets):
    decided[f'data.{"joint_" if i else ""}domains'] = labelled.names
  return decided
