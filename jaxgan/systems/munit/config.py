"""The settings of MUNIT; a file in configs/ changes a few of them."""

import ml_collections

OFFICIAL = 'NVlabs/MUNIT'  # a value of config.parity


def default_config() -> ml_collections.ConfigDict:
  """Returns the published settings for edges and photographs at 256 px."""
  config = ml_collections.ConfigDict()
  config.system = 'munit'
  # '': as the paper has it. 'NVlabs/MUNIT': as the released code does. There
  # the learning rate falls an iteration earlier, and VGG lacks its fourth pool.
  config.parity = ''
  config.seed = 0
  config.batch_size = 1  # of each domain, of all devices together
  config.micro_batches = 1  # parts of it that are in memory at a time
  config.shard_state = False  # divide parameters, optimisers among devices
  config.num_train_steps = 1_000_000
  config.log_every_steps = 10
  config.sample_every_steps = 10_000
  config.checkpoint_every_steps = 10_000
  config.on_nan = 'stop'  # or 'restore': go back, leave the step out, thrice
  config.keep = 3  # the newest checkpoints
  config.keep_every_steps = 0  # and all at multiples of this; 0 for none

  config.data = data = ml_collections.ConfigDict()
  # 'folder': <root>/<split>/<domain>/<images>; 'unpaired': <root>/<split>A and
  # <root>/<split>B, as the originals have it; 'shapes'; or 'tfds:<data set>'.
  data.name = 'folder'
  data.root = 'data'
  data.train_split = 'train'
  data.val_split = 'test'
  data.domains = ()  # names of the two to use; () where there are just two
  data.img_size = 256
  data.load_size = 0  # shortest side before a square is cut; 0 for img_size
  data.augment = True  # random squares and flips
  data.check_images = True  # decode every image once before training
  data.skip_bad_images = False  # draw another one, or leave it out on_device
  data.timeout = 300.0  # seconds in which a file must have been read
  data.on_device = False  # keep all images in device memory and draw them there
  data.cache_dir = ''  # for on_device; '' for ~/.cache/jaxgan

  config.model = model = ml_collections.ConfigDict()
  model.dim = 64  # first width of the encoders
  model.n_downsample = 2  # halvings of the content encoder
  model.n_res = 4  # residual blocks of content encoder, and of decoder
  model.latent_dim = 8  # of a style
  model.mlp_dim = 256  # of the layers between a style and the norms
  model.d_dim = 64  # first width of the discriminators
  model.d_layers = 4  # their halvings
  model.d_scales = 3  # sizes of an image that they look at
  model.num_domains = 0  # two; 0: as many as the data has
  model.vgg_file = ''  # weights of VGG-16, if lambda_vgg > 0
  model.dtype = 'float32'  # of computation: float32, bfloat16 or float64
  # Same results to rounding, another speed:
  model.resample = 'auto'  # convolutions that resample: plain, phases

  config.hparams = hparams = ml_collections.ConfigDict()
  hparams.gan_type = 'lsgan'  # or 'nsgan'
  hparams.lambda_gan = 1.0
  hparams.lambda_x = 10.0  # reconstruction of images,
  hparams.lambda_s = 1.0  # of styles,
  hparams.lambda_c = 1.0  # of contents
  hparams.lambda_cyc = 0.0  # style-augmented cycle; 10 where much is shared
  hparams.lambda_vgg = 0.0  # domain-invariant perceptual term

  config.optim = optim = ml_collections.ConfigDict()
  optim.lr = 1e-4
  optim.step_size = 100_000  # iterations after which the rate falls; 0: never
  optim.gamma = 0.5  # to this share of itself
  optim.beta1 = 0.5
  optim.beta2 = 0.999
  optim.weight_decay = 1e-4  # L2 inside the gradient
  return config
