"""The studio: its functions, what its server gives away, and its page."""

import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from etils import epath
from PIL import Image

from jaxgan.apps import trained_model
from jaxgan.runs import report, workdir
from jaxgan.runtime import errors, host, images
from tests import cells, report_test, tiny, tiny_stargan, view_test

gradio = pytest.importorskip('gradio', reason='pip install -e ".[studio]"')

from jaxgan.apps import studio  # noqa: E402  its Gradio may not be installed
from jaxgan.apps.studio import LATENT, REFERENCE, Style  # noqa: E402

ROOT = pathlib.Path(__file__).parents[1]
CHROMIUM, DRIVER = shutil.which('chromium'), shutil.which('chromedriver')
_PATIENCE = 120  # seconds
# What is set for other programs: nothing answers at port 9.
SURROUNDINGS = {
  'http_proxy': 'http://127.0.0.1:9',
  'HTTPS_PROXY': 'http://127.0.0.1:9',
  'all_proxy': 'socks5://127.0.0.1:9',
  'NO_PROXY': 'example.org',
  'GRADIO_ALLOWED_PATHS': '/',
  'GRADIO_ROOT_PATH': '/elsewhere',
  'GRADIO_NUM_PORTS': '0',
}


@pytest.fixture(scope='module', autouse=True)
def no_proxies():
  """The tests are clients of this machine, too."""
  with host.without_proxies():
    yield


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  directory = tmp_path_factory.mktemp('runs') / 'shapes'
  tiny.write_run(directory)
  return directory


@pytest.fixture(scope='module')
def model(run):
  return trained_model.load(run, chunk=1)


@pytest.fixture
def functions(model, tmp_path):
  return studio.Studio(model, tmp_path)


def _write_picture(path, seed=0):
  pixels = np.random.default_rng(seed).integers(0, 256, (40, 52, 3), np.uint8)
  Image.fromarray(pixels).save(path)
  return str(path)


def _close(a, b):
  """As pictures: the same but for rounding."""
  np.testing.assert_allclose(np.int32(a), np.int32(b), atol=1)


def test_a_style_is_as_far_from_the_first_as_the_mix_says(
  functions, model, tmp_path
):
  source, other = (_write_picture(tmp_path / f'{i}.png', i) for i in (0, 1))
  pixels = [model.read(source)]
  latents = model.latent_styles('square', studio.NUM_LATENTS, seed=3, psi=0.5)
  encoded = model.reference_styles([model.read(other)], 'square')[0]
  chosen = Style(LATENT, 2, None), Style(REFERENCE, 0, other)

  def expect(code):
    return model.translate(pixels, 'square', code[None])[0][0]

  def translate(mix):
    return functions.translate(source, 'square', 3, 0.5, chosen, mix)

  _close(translate(0), expect(latents[2]))
  _close(translate(1), expect(encoded))
  _close(translate(0.25), expect(0.75 * latents[2] + 0.25 * encoded))
  for image, code in zip(
    functions.row(source, 'square', 3, 0.5), latents, strict=True
  ):
    _close(image, expect(code))


def test_a_result_may_have_the_form_of_its_source(functions, tmp_path):
  source = _write_picture(tmp_path / 'a.png')
  with Image.open(source) as image:
    clear = image.convert('RGBA')
  clear.putalpha(Image.linear_gradient('L').resize(clear.size))
  clear.save(source)
  chosen = 2 * [Style(LATENT, 0, None)]
  arguments = source, 'square', 0, 0.7, chosen, 0
  small, large = (functions.translate(*arguments, k) for k in (False, True))
  assert (small.mode, small.size) == ('RGBA', (tiny.SIZE, tiny.SIZE))
  assert (large.mode, large.size) == ('RGBA', clear.size)
  np.testing.assert_array_equal(large.getchannel('A'), clear.getchannel('A'))
  # Beside others it is on white, which is at the top.
  first = np.asarray(functions.row(source, 'square', 0, 0.7)[0])
  assert first.shape == (tiny.SIZE, tiny.SIZE, 3) and first[0].min() > 240


def test_a_reference_is_asked_for_only_where_it_counts(functions, tmp_path):
  source = _write_picture(tmp_path / 'a.png')
  chosen = Style(LATENT, 0, None), Style(REFERENCE, 0, None)
  functions.translate(source, 'square', 0, 0.7, chosen, 0)
  with pytest.raises(errors.UserError, match='choose a reference'):
    functions.translate(source, 'square', 0, 0.7, chosen, 0.1)


@pytest.mark.parametrize(
  'change, message',
  [
    ({'seed': None}, 'the seed'),
    ({'seed': -1}, 'the seed'),
    ({'seed': 2**32}, 'the seed'),
    ({'psi': None}, 'psi is'),
    ({'psi': 1e9}, 'psi is'),
    ({'mix': float('nan')}, 'the mix is'),
    ({'mix': 7}, 'the mix is'),
    ({'number': 99}, 'a style of 1 to 6'),
    ({'number': -1}, 'a style of 1 to 6'),
    ({'number': None}, 'a style of 1 to 6'),
    ({'domain': 'x'}, "no domain 'x'"),
    ({'source': 'none.png'}, 'none.png'),
  ],
)
def test_what_the_page_would_not_send_is_named(
  functions, tmp_path, change, message
):
  values = {
    'source': _write_picture(tmp_path / 'a.png'),
    'domain': 'square',
    'seed': 0,
    'psi': 0.7,
    'mix': 0.5,
    'number': 0,
  } | change
  styles = 2 * [Style(LATENT, values.pop('number'), None)]
  with pytest.raises(errors.UserError, match=message):
    functions.translate(styles=styles, **values)


def test_gradio_does_not_open_what_is_uploaded(tmp_path):
  path = tmp_path / 'a.png'
  path.write_bytes(b'no picture')
  upload = studio.upload_image(None)
  data = gradio.data_classes.ImageData
  assert upload.preprocess(data(path=str(path))) == str(path)
  assert upload.preprocess(None) is None
  for other in ({'url': 'data:image/png;base64,AAAA'}, {'url': 'http://x/y'}):
    with pytest.raises(gradio.Error, match='has to be uploaded'):
      upload.preprocess(data(**other))


@pytest.mark.parametrize('name', view_test.TINY)
def test_an_upload_is_viewed_once(tmp_path, name):
  for split in ('train', 'val'):
    for i, domain in enumerate(('circle', 'square', 'triangle')):
      folder = tmp_path / 'data' / split / domain
      folder.mkdir(parents=True)
      _write_picture(folder / '1.png', i)
  run = view_test.write_run(tmp_path / 'run', name, tmp_path / 'data')
  model = trained_model.load(run, chunk=1)
  functions = studio.Studio(model, tmp_path)
  source = str(tmp_path / 'data/val/circle/1.png')
  pixels = view_test.seen_in_training(run, 'circle')
  styles = view_test.styles_of(model)
  (expected,) = view_test.by_networks(name, pixels[None], styles[0].code)
  if name == 'stargan':
    _close(functions.translate_to(source, 'triangle'), expected)
  else:
    chosen = 2 * [Style(LATENT, 0, None)]
    _close(functions.translate(source, 'triangle', 3, 1, chosen, 0), expected)
    _close(functions.row(source, 'triangle', 3, 1)[0], expected)
    reference = str(tmp_path / 'data/val/triangle/1.png')
    code = functions._encode(reference, 'triangle')
    seen = view_test.seen_in_training(run, 'triangle')
    (own,) = model.reference_styles([seen], 'triangle')
    np.testing.assert_allclose(code, own, atol=1e-6)

  # A sample is a whole picture, of which the same part is taken.
  samples = studio.load_samples(workdir.require_config(run), tmp_path)
  sample = next(s for s in samples if s.domain == 'circle')
  with Image.open(sample.path) as stored, Image.open(source) as picture:
    np.testing.assert_array_equal(stored, picture)
  np.testing.assert_array_equal(model.read(sample.path), pixels)


def test_grid_and_video_show_the_source(functions, tmp_path, monkeypatch):
  monkeypatch.setattr(studio, 'VIDEO_FRAMES', 3)
  source = _write_picture(tmp_path / 'a.png')
  grid = functions.grid(source, 0, 0.7)
  shown = cells.read(grid, tiny.SIZE, 1 + tiny.DOMAINS, studio.NUM_LATENTS)
  _close(shown[0, 0], functions.model.read(source))
  assert (shown[0, 1:] == 255).all()
  # Labels are whole: the names of the domains to the left.
  monkeypatch.setattr(images, 'labelled_grid', lambda rows, top, left: left)
  assert functions.grid(source, 0, 0.7) == [
    *('source', 'circle', 'square', 'triangle')
  ]
  chosen = Style(LATENT, 0, None), Style(LATENT, 1, None)
  seen = []
  path = functions.video(source, 'circle', 0, 0.7, chosen, seen.append)
  assert path.endswith('video.mp4') and os.path.getsize(path) > 1000
  assert seen == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])

  # Those of an hour ago are removed.
  other = functions.video(source, 'circle', 1, 0.7, chosen, seen.append)
  os.utime(os.path.dirname(path), (0, 0))
  functions.video(source, 'circle', 2, 0.7, chosen, seen.append)
  assert not os.path.exists(path) and os.path.exists(other)


def test_samples_are_of_every_domain_or_none(run, tmp_path):
  config = workdir.require_config(run)
  samples = studio.load_samples(config, tmp_path)
  domains = [sample.domain for sample in samples]
  assert domains == sorted(config.data.domains * studio.NUM_SAMPLES)
  for sample in samples:
    with Image.open(sample.path) as image:
      assert image.size == (32, 32)
  config.data.name, config.data.root = 'folder', str(tmp_path / 'none')
  assert studio.load_samples(config, tmp_path) == []


@contextlib.contextmanager
def _serving(run, *flags):
  """(address, the program's temporary directory)."""
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    port = s.getsockname()[1]
  with tempfile.TemporaryDirectory() as scratch:
    program = subprocess.Popen(
      [
        *(sys.executable, '-m', 'jaxgan.tools.studio', f'--workdir={run}'),
        *(f'--port={port}', *flags),
      ],
      cwd=ROOT,
      env={
        **os.environ,
        **SURROUNDINGS,
        'TMPDIR': scratch,
        'JAX_PLATFORMS': 'cpu',
        'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
      },
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )
    try:
      for line in program.stdout:
        if found := re.match(r'studio: (\S+)', line):
          break
      else:
        pytest.fail('the studio did not start')
      yield found[1], pathlib.Path(scratch)
    finally:
      program.terminate()
      program.communicate(timeout=_PATIENCE)
    assert not list(pathlib.Path(scratch).glob('jaxgan_studio_*'))


@pytest.fixture(scope='module')
def server(run):
  with _serving(run) as (address, scratch):
    yield address, scratch


def _status(address, data=None, headers=()):
  request = urllib.request.Request(address, data, dict(headers))
  try:
    with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
      return answer.status, answer.read()
  except urllib.error.HTTPError as e:
    return e.code, e.read()


def _upload(address, name, data):
  body = (
    b'--edge\r\nContent-Disposition: form-data; name="files"; filename="'
    + name.encode()
    + b'"\r\nContent-Type: image/png\r\n\r\n'
    + data
    + b'\r\n--edge--\r\n'
  )
  headers = {'Content-Type': 'multipart/form-data; boundary=edge'}
  return _status(f'{address}gradio_api/upload', body, headers.items())


def test_proxies_and_settings_of_others_do_not_reach_it(server):
  address, _ = server
  assert address.startswith('http://127.0.0.1:')
  status, page = _status(address)
  assert status == 200 and b'/elsewhere' not in page


def test_no_file_but_its_own_is_served(server, run):
  address, scratch = server
  assert address.startswith('http://127.0.0.1:')
  for path in (
    '/etc/passwd',
    run / 'config.json',
    ROOT / 'README.md',
    'README.md',
    f'{scratch}/../../../../etc/passwd',
  ):
    for route in ('gradio_api/file=', 'file=', 'file/', 'gradio_api/file/'):
      status, body = _status(f'{address}{route}{path}')
      assert status in (403, 404), (route, path, body[:200])


def test_uploads_stay_where_they_belong_and_are_limited(server):
  address, scratch = server
  before = set(scratch.rglob('*'))
  status, body = _upload(address, '../../../up.png', b'x' * 100)
  assert status == 200
  (path,) = json.loads(body)
  assert pathlib.Path(path).resolve().is_relative_to(scratch.resolve())
  new = {p for p in scratch.rglob('*') if p.is_file()} - before
  assert [p.resolve() for p in new] == [pathlib.Path(path).resolve()]


_NEEDS_PROC = pytest.mark.skipif(
  not pathlib.Path('/proc/net').exists(), reason='reads /proc'
)


@_NEEDS_PROC
def test_it_listens_to_this_machine_alone(server):
  assert _listening(server[0]) == {'0100007F'}  # 127.0.0.1


@_NEEDS_PROC
def test_the_host_opens_it_to_others(run):
  with _serving(run, '--host=0.0.0.0') as (address, _):
    assert _listening(address) == {'00000000'}


def _listening(address):
  """Hosts at which the port of an address is listened to, in hexadecimal."""
  port = int(address.rstrip('/').rpartition(':')[2])
  listening = set()
  for table in ('tcp', 'tcp6'):
    for line in pathlib.Path('/proc/net', table).read_text().splitlines()[1:]:
      local, _, state = line.split()[1:4]
      host, _, number = local.partition(':')
      if state == '0A' and int(number, 16) == port:
        listening.add(host)
  return listening


def test_nothing_goes_past_the_queue(server):
  address, _ = server
  body = json.dumps({'data': [None, 'square', 0, 0.7]}).encode()
  headers = {'Content-Type': 'application/json'}
  status, _ = _status(
    f'{address}gradio_api/run/render_grid', body, headers.items()
  )
  assert status == 404


@pytest.mark.parametrize(
  'flag, status, message',
  [
    ('--host=nonsense.invalid', 1, r'--host=nonsense.invalid cannot be had'),
    ('--port=99999', 2, '--port=99999: .* not an integer in the range'),
  ],
)
def test_an_address_that_cannot_be_is_one_line(run, flag, status, message):
  done = subprocess.run(
    [sys.executable, '-m', 'jaxgan.tools.studio', f'--workdir={run}', flag],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=_PATIENCE,
  )
  assert done.returncode == status, done.stderr
  assert re.search(message, done.stderr.splitlines()[-1]), done.stderr


@pytest.fixture(scope='module')
def browser():
  """Chromium without a screen, by the driver of the distribution."""
  webdriver = pytest.importorskip(
    'selenium.webdriver', reason='pip install -r requirements-test.txt'
  )
  if not (CHROMIUM and DRIVER):
    pytest.skip('no chromium and chromedriver: apt install chromium-driver')
  options = webdriver.ChromeOptions()
  options.binary_location = CHROMIUM
  with tempfile.TemporaryDirectory() as profile:
    for flag in (
      'headless',
      'no-sandbox',
      'disable-gpu',
      'disable-background-networking',
      'disable-component-update',
      'disable-sync',
      'no-first-run',
      f'user-data-dir={profile}',
      'window-size=1200,1600',
    ):
      options.add_argument(f'--{flag}')
    service = webdriver.ChromeService(DRIVER)
    driver = webdriver.Chrome(options, service)
    driver.set_script_timeout(_PATIENCE)
    yield driver
    driver.quit()


def _wait(fn):
  """What a function gives when it gives anything."""
  end = time.monotonic() + _PATIENCE
  while time.monotonic() < end:
    if value := fn():
      return value
    time.sleep(0.1)
  pytest.fail('nothing came')


def _content(browser, selector):
  """Bytes of the image or video that a selector finds; None without one."""
  data = browser.execute_async_script(
    """
    const [selector, done] = arguments;
    const shown = document.querySelector(selector);
    if (!shown || !shown.src) { done(null); return; }
    fetch(shown.src).then((answer) => answer.arrayBuffer()).then(
      (b) => done(Array.from(new Uint8Array(b))), () => done(null));
    """,
    selector,
  )
  return data and bytes(data)


def _picture(browser, name):
  """Pixels of the image in a part of the page; None where there is none."""
  data = _content(browser, f'#{name} img')
  return data and np.asarray(Image.open(io.BytesIO(data)))


def _shows(browser, name, expected):
  """Waits until a part of the page shows a picture, but for rounding."""
  expected = np.int32(expected)

  def same():
    picture = _picture(browser, name)
    if picture is None or picture.shape != expected.shape:
      return False
    return np.abs(np.int32(picture) - expected).max() <= 1

  _wait(same)


def test_the_page_translates_in_a_browser(server, browser, model, tmp_path):
  from selenium.webdriver.common.by import By

  address, _ = server
  browser.get(address)
  _wait(lambda: _picture(browser, 'result') is not None)

  # An image of one's own.
  source = _write_picture(tmp_path / 'own.png')
  upload = _wait(
    lambda: browser.find_elements(By.CSS_SELECTOR, '#source input[type=file]')
  )
  upload[0].send_keys(source)
  pixels = [model.read(source)]

  def expect(domain, mix):
    first, second = model.latent_styles(domain, 2)
    code = (1 - mix) * first + mix * second
    return model.translate(pixels, domain, code[None])[0][0]

  _shows(browser, 'result', expect('square', 0))

  # Half way to the second style.
  slider = _wait(
    lambda: browser.find_elements(By.CSS_SELECTOR, '#mix input[type=range]')
  )
  browser.execute_script(
    """
    const [slider, value] = arguments;
    slider.value = value;
    slider.dispatchEvent(new Event('input', {bubbles: true}));
    """,
    slider[0],
    0.5,
  )
  _shows(browser, 'result', expect('square', 0.5))

  # Another domain.
  for label in browser.find_elements(By.CSS_SELECTOR, '#domain label'):
    if label.text.strip() == 'triangle':
      label.click()
  _shows(browser, 'result', expect('triangle', 0.5))

  # What is wrong with an upload is said on the page, which goes on.
  large = tmp_path / 'large.png'
  Image.new('1', (9000, 9000)).save(large)
  other = browser.find_element(By.CSS_SELECTOR, '#source input[type=file]')
  other.send_keys(str(large))
  _wait(lambda: '9000 x 9000 pixels, and the limit' in browser.page_source)
  browser.find_element(By.CSS_SELECTOR, '#source input[type=file]').send_keys(
    source
  )
  _shows(browser, 'result', expect('triangle', 0.5))
  errors_shown = [
    entry
    for entry in browser.get_log('browser')
    if entry['level'] == 'SEVERE'
    and address in entry['message']
    # Gradio writes a picture again that is computed again, while it is read.
    and 'ERR_CONTENT_LENGTH_MISMATCH' not in entry['message']
  ]
  assert not errors_shown


def test_the_page_takes_a_sample_and_a_style_and_draws(
  server, browser, model, run, tmp_path
):
  from selenium.webdriver.common.by import By

  def click(selector, number=0):
    found = _wait(lambda: browser.find_elements(By.CSS_SELECTOR, selector))
    browser.execute_script('arguments[0].click()', found[number])

  samples = studio.load_samples(workdir.require_config(run), tmp_path)
  browser.get(server[0])
  _wait(lambda: _picture(browser, 'result') is not None)
  source, domain = samples[2].path, 'square'
  assert samples[2].domain == 'circle'  # the page begins with another one
  styles = model.latent_styles(domain, studio.NUM_LATENTS)
  click('#samples button.thumbnail-item', 2)
  (first,), (fifth,) = (
    model.translate([model.read(source)], domain, styles[[i]]) for i in (0, 4)
  )
  _shows(browser, 'result', first[0])
  click('#style1_row button.thumbnail-item', 4)
  _shows(browser, 'result', fifth[0])

  functions = studio.Studio(model, tmp_path)
  click('#draw_grid')
  _shows(browser, 'grid', functions.grid(source, 0, functions.model.psi))
  click('#make_video')
  video = _wait(lambda: _content(browser, '#video video'))
  assert video[4:8] == b'ftyp' and len(video) > 1000


def test_a_system_without_styles_has_a_page_of_its_own(browser, tmp_path):
  from selenium.webdriver.common.by import By

  run = tmp_path / 'labels'
  tiny_stargan.write_run(run)
  model = trained_model.load(run, chunk=1)
  functions = studio.Studio(model, tmp_path)
  samples = studio.load_samples(workdir.require_config(run), tmp_path)
  assert functions.has_labels and {s.domain for s in samples} == set(
    model.domains
  )
  with _serving(run) as (address, _):
    browser.get(address)

    def expect(domain):
      return model.translate([model.read(samples[0].path)], domain)[0][0]

    _shows(browser, 'result', expect('square'))  # the first is a circle
    for label in browser.find_elements(By.CSS_SELECTOR, '#domain label'):
      if label.text.strip() == 'triangle':
        label.click()
    _shows(browser, 'result', expect('triangle'))
    draw = browser.find_element(By.CSS_SELECTOR, '#draw_grid')
    browser.execute_script('arguments[0].click()', draw)
    _shows(browser, 'grid', functions.label_grid(samples[0].path))
    assert not browser.find_elements(By.CSS_SELECTOR, '#psi')


def test_a_report_fits_a_phone(browser, tmp_path):
  run = tmp_path / 'runs' / ('a_run_of_a_long_name' * 5)
  report_test._write_run(run)
  path = '/a/path/without/a/gap' * 5
  workdir.History(epath.Path(run)).append(20, said=path)
  os.rename(
    run / 'samples/10/cycle.png', run / f'samples/10/{"x" * 99}_cycle.png'
  )
  page = report.write(run, report_test.SIGNS)
  try:
    for width in (360, 390, 1200):
      browser.execute_cdp_cmd(
        'Emulation.setDeviceMetricsOverride',
        {
          **{'width': width, 'height': 800, 'deviceScaleFactor': 1},
          'mobile': width < 400,
        },
      )
      browser.get(f'file://{page}')
      _wait(lambda: browser.find_elements('css selector', '.main-svg'))
      found = browser.execute_script(
        """
        document.querySelectorAll('details').forEach((d) => { d.open = true; });
        const edge = document.documentElement.clientWidth;
        return [
          document.documentElement.scrollWidth, window.innerWidth,
          [...document.querySelectorAll('section, button, .main-svg, #grid')]
            .filter((x) => x.getBoundingClientRect().right > edge)
            .map((x) => x.outerHTML.slice(0, 80)),
        ];
        """
      )
      scroll_width, inner_width, wide = found
      assert scroll_width <= inner_width == width, width
      assert not wide, (width, wide)
  finally:
    browser.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})
