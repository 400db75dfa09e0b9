"""The settings of StarGAN v2; a file in configs/ changes a few of them."""

import ml_collections


def default_config() -> ml_collections.ConfigDict:
  """Returns the published settings for AFHQ, on a folder of images."""
  config = ml_collections.ConfigDict()
  config.system = 'stargan_v2'
  config.seed = 777
  config.batch_size = 8  # of all devices together; less is known to fail
  config.micro_batches = 1  # parts of it that are in memory at a time
  config.shard_state = False  # divide parameters, optimisers, EMA among devices
  config.num_train_steps = 100_000
  config.log_every_steps = 10
  config.sample_every_steps = 5000
  config.checkpoint_every_steps = 10_000
  config.on_nan = 'stop'  # or 'restore': go back, leave the step out, thrice
  config.keep = 3  # the newest checkpoints
  config.keep_every_steps = 0  # and all at multiples of this; 0 for none

  config.data = data = ml_collections.ConfigDict()
  data.name = 'folder'  # or 'shapes', or 'tfds:<data set>'
  data.root = 'data'  # holds <split>/<domain>/<images>; for TFDS its data_dir
  data.train_split = 'train'
  data.val_split = 'val'
  data.domains = ()  # names of those to use; () for all that the data has
  data.img_size = 256
  data.augment = True  # random crops and flips
  data.check_images = True  # decode every image once before training
  data.skip_bad_images = False  # draw another one, or leave it out on_device
  data.timeout = 300.0  # seconds in which a file must have been read
  data.on_device = False  # keep all images in device memory and draw them there
  data.cache_dir = ''  # for on_device; '' for ~/.cache/jaxgan

  config.model = model = ml_collections.ConfigDict()
  model.channel_base = 2**14  # first width times img_size
  model.max_conv_dim = 512
  model.hidden_dim = 512  # of the mapping network
  model.style_dim = 64
  model.latent_dim = 16
  model.num_domains = 0  # 0: as many as the data has
  model.w_hpf = 0.0  # > 0: high-pass path with face masks; divides its kernel
  model.wing_file = ''  # wing.ckpt, weights of the face network, if w_hpf > 0
  model.dtype = 'float32'  # of computation: float32, bfloat16 or float64
  # Same results to rounding, other speed and memory:
  model.resample = 'auto'  # convolutions that resample: plain, phases, strided
  model.select_heads = True  # run the heads of the batch's domains only
  model.remat = False  # recompute blocks in the backward pass: less memory

  config.hparams = hparams = ml_collections.ConfigDict()
  hparams.lambda_reg = 1.0
  hparams.lambda_sty = 1.0
  hparams.lambda_ds = 2.0  # falls linearly to 0 at step ds_iter
  hparams.lambda_cyc = 1.0
  hparams.ds_iter = 100_000
  hparams.ema_decay = 0.999

  config.optim = optim = ml_collections.ConfigDict()
  optim.lr = 1e-4
  optim.f_lr = 1e-6  # of the mapping network
  optim.beta1 = 0.0
  optim.beta2 = 0.99
  optim.weight_decay = 1e-4  # L2 inside the gradient
  return config
