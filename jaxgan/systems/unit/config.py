"""The settings of UNIT; a file in configs/ changes a few of them."""

import ml_collections

OFFICIAL = 'mingyuliutw/UNIT'  # a value of config.parity
# How much the discriminators of the two domains have in common, and what they
# look at; 'shared' is of the paper's faces, 'separate' of its animals,
# 'multiscale' of its streets.
D_KINDS = ('shared', 'separate', 'multiscale')


def default_config() -> ml_collections.ConfigDict:
  """Returns the published settings for animals at 216 px."""
  config = ml_collections.ConfigDict()
  config.system = 'unit'
  # '': as the paper has it. 'mingyuliutw/UNIT': as the released code does. Its
  # KL term is the mean square of the code, twice the divergence: with shared
  # blocks of the code after the noise is added, otherwise before; and without
  # shared blocks the learning rate falls an iteration earlier, and VGG lacks
  # its fourth pool.
  config.parity = ''
  config.seed = 0
  config.batch_size = 1  # of each domain, of all devices together
  config.micro_batches = 1  # parts of it that are in memory at a time
  config.shard_state = False  # divide parameters, optimisers among devices
  config.num_train_steps = 500_000
  config.log_every_steps = 10
  config.sample_every_steps = 5000
  config.checkpoint_every_steps = 5000
  config.on_nan = 'stop'  # or 'restore': go back, leave the step out, thrice
  config.keep = 3  # the newest checkpoints
  config.keep_every_steps = 0  # and all at multiples of this; 0 for none

  config.data = data = ml_collections.ConfigDict()
  # 'folder': <root>/<split>/<domain>/<images>; 'unpaired': <root>/<split>A and
  # <root>/<split>B; 'shapes'; or 'tfds:<data set>'.
  data.name = 'folder'
  data.root = 'data'
  data.train_split = 'train'
  data.val_split = 'test'
  data.domains = ()  # names of the two to use; () where there are just two
  data.img_size = 216
  data.load_size = 0  # shortest side before a square is cut; 0 for img_size
  data.augment = True  # random squares and flips
  data.check_images = True  # decode every image once before training
  data.skip_bad_images = False  # draw another one, or leave it out on_device
  data.timeout = 300.0  # seconds in which a file must have been read
  data.on_device = False  # keep all images in device memory and draw them there
  data.cache_dir = ''  # for on_device; '' for ~/.cache/jaxgan

  config.model = model = ml_collections.ConfigDict()
  # Whether the blocks next to the code belong to both domains. The later code
  # has none that do, other blocks, and discriminators of several scales.
  model.shared = True
  model.dim = 64  # first width
  model.n_downsample = 2  # halvings
  model.n_res = 3  # residual blocks of a domain, of encoder and of decoder
  model.n_shared = 1  # those of both domains, of encoder and of decoder
  model.normalize = True  # norms beside the residual blocks too, but the stem
  model.dropout = 0.0  # of residual blocks
  model.d_kind = 'separate'  # of D_KINDS; not read without shared blocks
  model.d_dim = 64  # first width of the discriminators
  model.d_layers = 6  # their halvings
  model.d_front = 2  # those of each domain, of d_kind 'shared'
  model.d_scales = 3  # sizes of an image, of several scales
  model.num_domains = 0  # two; 0: as many as the data has
  model.vgg_file = ''  # weights of VGG-16, if lambda_vgg > 0
  model.dtype = 'float32'  # of computation: float32, bfloat16 or float64
  # Same results to rounding, another speed:
  model.resample = 'auto'  # convolutions that resample: plain, phases

  config.hparams = hparams = ml_collections.ConfigDict()
  hparams.gan_type = 'nsgan'  # or 'lsgan', of the later code
  hparams.lambda_gan = 10.0
  hparams.lambda_x = 100.0  # reconstruction of images
  hparams.lambda_kl = 0.1  # their codes, to the prior
  hparams.lambda_cyc = 100.0  # cycle
  hparams.lambda_klc = 0.1  # the codes of translations, to the prior
  hparams.lambda_vgg = 0.0  # domain-invariant perceptual term

  config.optim = optim = ml_collections.ConfigDict()
  optim.lr = 1e-4
  optim.step_size = 0  # iterations after which the rate falls; 0: never
  optim.gamma = 0.5  # to this share of itself
  optim.beta1 = 0.5
  optim.beta2 = 0.999
  optim.weight_decay = 1e-4  # L2 inside the gradient
  return config


def unshared_config() -> ml_collections.ConfigDict:
  """Returns the settings of the later code, without shared blocks."""
  config = default_config()
  config.num_train_steps = 1_000_000
  config.sample_every_steps = 10_000
  config.checkpoint_every_steps = 10_000
  config.data.img_size = 256
  config.model.shared = False
  config.model.n_res = 4
  config.model.n_shared = 0
  config.model.d_layers = 4
  config.hparams.update(
    gan_type='lsgan',
    lambda_gan=1.0,
    lambda_x=10.0,
    lambda_kl=0.01,
    lambda_cyc=10.0,
    lambda_klc=0.01,
  )
  config.optim.step_size = 100_000
  return config
