"""StarGAN (Choi et al. 2018): the names that `systems` asks for."""

from jaxgan.systems.stargan.config import FREE_SETTINGS as FREE_SETTINGS
from jaxgan.systems.stargan.config import HOST_SETTINGS as HOST_SETTINGS
from jaxgan.systems.stargan.config import default_config as default_config
from jaxgan.systems.stargan.config import domain_names as domain_names
from jaxgan.systems.stargan.data import create_datasets as create_datasets
from jaxgan.systems.stargan.data import create_eval_data as create_eval_data
from jaxgan.systems.stargan.data import example_batch as example_batch
from jaxgan.systems.stargan.evaluate import evaluate as evaluate
from jaxgan.systems.stargan.labelled import view as view
from jaxgan.systems.stargan.official import export_official as export_official
from jaxgan.systems.stargan.official import import_official as import_official
from jaxgan.systems.stargan.sample import Translator as Translator
from jaxgan.systems.stargan.sample import sample as sample
from jaxgan.systems.stargan.sample import translate_batch as translate_batch
from jaxgan.systems.stargan.step import SIGNS as SIGNS
from jaxgan.systems.stargan.step import check_config as check_config
from jaxgan.systems.stargan.step import check_frozen as check_frozen
from jaxgan.systems.stargan.step import create_frozen as create_frozen
from jaxgan.systems.stargan.step import create_training as create_training
from jaxgan.systems.stargan.step import inference_params as inference_params
from jaxgan.systems.stargan.step import train_step as train_step
