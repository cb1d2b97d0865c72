import base64
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from io import BytesIO

import pytest
import torch

import forerun
from forerun.diffusion import Denoising, Schedule
from forerun.engine.rounds import Round, RoundTiming
from forerun.engine.solution import RunTiming
from forerun.view import Deviation, PageFrame, RunPage, write_page
from forerun.view.page_html import MAX_FRAMES, MAX_PICTURES, MAX_ROWS, MAX_SLOTS, render_page
from forerun.worlds.digits import ExactDenoiser

image = pytest.importorskip("matplotlib.image")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
browsed = pytest.mark.skipif(BROWSER is None, reason="neither chromium, chromium-browser nor google-chrome is on PATH")
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --enable-logging=stderr --virtual-time-budget=30000 --window-size=360,800
    --dump-dom"""
HELP = """<script>const one = (words) => document.querySelector(words), told = [];
    const tell = (...words) => { told.push(words); document.title = JSON.stringify(told); };"""
NASTY = """a "cat" & <script>alert('it is')</script> ${prompt} </textarea>"""


def entry(start, accepted, residuals):
    return Round(start, start + len(residuals), accepted, tuple(residuals), 0.5, 1, len(residuals), RoundTiming())


def picture(seed, *shape):
    return torch.randint(256, shape or (3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


LOG = [entry(0, 2, [0, 0.2, 2, 9]), entry(2, 3, [0, 0, 0.1]), entry(4, 1, [0]), entry(5, 1, [0])]
WAY = [PageFrame(number, [picture(number)]) for number in range(5)]
PAGE = RunPage(title="Six steps", pictures=[picture(9)], length=6, log=LOG, status="Ended.", frames=WAY)


class Reader(HTMLParser):
    """Elements as (tag, attributes), and the text inside every tag."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.texts, self.inside = [], {}, []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.inside += [tag] if tag not in {"meta", "link", "img", "input", "br"} else []

    def handle_endtag(self, tag):
        assert self.inside.pop() == tag

    def handle_data(self, data):
        self.texts.setdefault("".join(self.inside[-1:]), []).append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def data(html):
    return json.loads(Reader(html).texts["script"][0])


def decoded(source):
    """The pixels behind a `data:` address, `(H, W, 3)`."""
    kind, content = re.fullmatch(r"data:image/(png|webp);base64,(.+)", source).groups()
    pixels = torch.tensor(image.imread(BytesIO(base64.b64decode(content)), format=kind))[..., :3]
    return (pixels * 255).round().byte() if pixels.is_floating_point() else pixels


def browse(tmp_path, html, *, fragment="", script=""):
    """The page in a narrow browser, and what `script` told by `tell(...)`; an error in the console fails."""
    file = tmp_path / "run.html"
    file.write_text(html.replace("</body>", f"{HELP}{script}</script></body>"), encoding="utf-8")
    command = [BROWSER, *FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}", f"{file.as_uri()}{fragment}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr, done.stderr
    return (read := Reader(done.stdout)), json.loads(read.texts["title"][0]) if script else []


def test_what_a_user_wrote_is_text():
    run = replace(PAGE, title=NASTY, prompt=NASTY, command=NASTY, status=NASTY, notes=[NASTY])
    html = render_page(replace(run, highlights={NASTY: NASTY}, figures={NASTY: {NASTY: NASTY}}))
    read = Reader(html)
    assert all(NASTY in read.texts[tag] for tag in ("title", "h1", "blockquote", "code", "li", "h2", "dt", "dd"))
    assert read.all("img")[0]["alt"] == NASTY
    assert html.count("alert(") == html.count(escape("alert('it is')"))
    assert len(read.all("script")) == 2


def test_it_loads_nothing():
    html = render_page(PAGE)
    assert not re.search(r"https?://|@import|url\(|srcset", html)
    assert """<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;""" in html
    loads = [value for _, each in Reader(html).elements for name, value in each.items() if name in {"src", "href"}]
    assert [address[:5] for address in loads] == ["data:", "data:"]


def test_the_script_is_told_the_log_and_the_frames_before_its_end():
    run = replace(PAGE, log=[entry(0, 1, [0, 1 / 3, float("nan"), float("inf")]), *LOG], rounds_before=7, in_order=2.0)
    told = data(render_page(run))
    assert [row["before"] for row in told["log"]] == [7, 8, 9, 10, 11]
    assert [row["residuals"] for row in told["log"]][:2] == [[0, 0.333, None, None], [0, 0.2, 2, 9]]
    assert [told["log"][3][name] for name in ("start", "stop", "accepted", "threshold")] == [4, 5, 1, 0.5]
    assert (told["length"], told["rounds"], told["in_order"]) == (6, 12, 2.0)
    frames = data(render_page(PAGE))["frames"]
    assert [frame["round"] for frame in frames] == [0, 1, 2, 3]
    assert torch.equal(decoded(frames[2]["sources"][0]), WAY[2].pictures[0].permute(1, 2, 0))


@pytest.mark.parametrize("shape", [(3, 4, 5), (4, 5, 3), (4, 5)])
def test_small_pictures_are_kept_bit_by_bit(shape):
    pixels = picture(0, *shape)
    images = Reader(render_page(replace(PAGE, pictures=[pixels, 255 - pixels], frames=[]))).all("img")
    expected = pixels.expand(3, 4, 5).permute(1, 2, 0) if shape != (4, 5, 3) else pixels
    assert torch.equal(decoded(images[0]["src"]), expected)
    assert torch.equal(decoded(images[1]["src"]), 255 - expected)
    assert (images[1]["width"], images[1]["height"], images[1]["alt"]) == ("5", "4", "Six steps, sample 2 of 2")


def test_large_pictures_find_room(monkeypatch):
    monkeypatch.setattr("forerun.view.pictures.MAX_INLINED", 60_000)
    big = [picture(seed, 3, 384, 480) for seed in range(2)]
    html = render_page(replace(PAGE, pictures=big, frames=[PageFrame(1, big), PageFrame(2, big), PageFrame(3, big)]))
    sources = [found["src"] for found in Reader(html).all("img")]
    assert 10_000 < sum(map(len, sources)) <= 60_000
    assert 10_000 < sum(len(source) for frame in data(html)["frames"] for source in frame["sources"]) <= 60_000
    assert decoded(sources[0]).shape[1] / decoded(sources[0]).shape[0] == pytest.approx(480 / 384, rel=0.05)
    assert decoded(sources[0]).float().mean() == pytest.approx(127.5, abs=3)


def test_of_many_rounds_steps_frames_and_samples_some_are_left_out():
    log = [entry(step, 1, [0.0, *[step + 0.1234567] * 199]) for step in range(3 * MAX_ROWS)]
    frames = [PageFrame(number, [picture(0)] * 20) for number in range(500)]
    html = render_page(replace(PAGE, log=log, length=3 * MAX_ROWS + 199, pictures=[picture(0)] * 20, frames=frames))
    told = data(html)
    assert len(Reader(html).all("img")) == MAX_PICTURES
    assert f"The first {MAX_PICTURES} of 20 samples." in html
    assert 0.5 * MAX_FRAMES < len(told["frames"]) <= MAX_FRAMES
    assert 0.5 * MAX_ROWS < len(told["log"]) <= MAX_ROWS
    assert 0.1 * MAX_SLOTS < sum(len(row["residuals"]) for row in told["log"]) <= MAX_SLOTS
    assert len(html) < 1_000_000


@pytest.mark.parametrize("wrong", [torch.zeros(3, 4, 4), picture(0, 4, 4, 4), picture(0, 1, 3, 4, 4)])
def test_what_is_no_picture_is_refused_like_a_missing_pillow(monkeypatch, wrong):
    with pytest.raises(ValueError, match="a picture is uint8"):
        render_page(replace(PAGE, pictures=[wrong], frames=[]))
    with pytest.raises(ValueError, match="round 0 has 1 pictures for 2 samples"):
        render_page(replace(PAGE, pictures=[picture(0)] * 2))
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ImportError, match=r"pip install 'forerun\[plot\]'"):
        render_page(PAGE)


@pytest.fixture(scope="module")
def run():
    """A sampler that is watched: its solution, and a frame a round."""
    denoiser = ExactDenoiser(torch.randn(20, 16, generator=torch.Generator().manual_seed(0)))
    seen, frames = [], []

    def watched(x, t):
        found = denoiser(x, t)
        seen.append(found[-2:])  # both samples, as the last step in flight foresees them
        return found

    def pictures(samples):
        return [((sample.clamp(-1, 1) + 1) * 127.5).round().byte() for sample in samples.reshape(-1, 4, 4)]

    def follow(event):
        frames.append(PageFrame((frames[-1].round if frames else 0) + event.round.rounds, pictures(seen[-1])))

    process = Denoising(watched, Schedule.linear().spaced(30))
    state = torch.randn(2, 16, generator=torch.Generator().manual_seed(1))
    solution = forerun.solve(process, state, window=forerun.Full(), callback=follow)
    return replace(solution, seconds=RunTiming(0.02, 0.01, 0.0, 0.01)), pictures(solution.state), frames


def test_the_page_of_a_solution(run, tmp_path):
    solution, pictures, frames = run
    told = RunPage.from_solution(solution, pictures, title="Points", frames=frames, about={"device": "a CPU"})
    assert told.highlights["rounds instead of 30"] == str(solution.rounds) == str(told.rounds) == str(frames[-1].round)
    assert list(told.highlights)[1:] == ["evaluations a step", "deviation from the run in order, estimated"]
    write_page(tmp_path / "run.html", told)
    terms = Reader((tmp_path / "run.html").read_text(encoding="utf-8")).texts
    assert {"steps accepted", "device", "ahead"} <= set(terms["dt"])
    assert {"30 of 30", "a CPU", "40 ms"} <= set(terms["dd"])


@pytest.mark.parametrize("in_order, word, number", [(0.1, "faster", "2.5×"), (0.02, "slower", "2×")])
def test_time_and_deviation_are_told_as_they_are(run, in_order, word, number):
    solution, pictures, _ = run
    told = RunPage.from_solution(
        solution, pictures, title="Points", in_order=in_order, deviation=Deviation(1.23e-4, 0.0)
    )
    assert told.highlights[f"{word} than in order"] == number
    assert told.highlights["largest deviation from the run in order"] == "1.2×10⁻⁴"
    assert list(told.figures["Deviation"].values())[:2] == ["1.2×10⁻⁴", "0"]


def test_a_resumed_run_claims_no_time_unless_it_was_measured(run):
    solution, pictures, _ = run
    rest = replace(solution, log=[entry for entry in solution.log if entry.start > 6])
    told = RunPage.from_solution(rest, pictures, title="Points", in_order=0.1)
    assert told.rounds_before == solution.rounds - len(rest.log) < rest.log[0].start
    assert list(told.figures["Time"]) == ["in order"]
    assert not [words for words in told.highlights if "than in order" in words]
    measured = RunPage.from_solution(rest, pictures, title="Points", in_order=0.1, ahead=0.2)
    assert measured.figures["Time"] == {"in order": "100 ms", "ahead": "200 ms"}
    assert measured.seconds.total == pytest.approx(0.2)
    assert measured.seconds.evaluate == solution.seconds.evaluate


def test_steps_taken_alone_before_the_log_are_its_first_rounds(run):
    solution, pictures, _ = run
    log = [replace(entry, start=entry.start + 2, stop=entry.stop + 2) for entry in solution.log]
    end = replace(solution.checkpoint, rounds=solution.rounds + 2, step=32)
    told = RunPage.from_solution(replace(solution, log=log, length=32, checkpoint=end), pictures, title="Points")
    assert (told.log[0].start, told.log[0].stop, told.log[0].rounds) == (0, 2, 2)
    assert (told.rounds_before, told.rounds) == (0, solution.rounds + 2)
    in_order = replace(end, rounds=32)
    alone = RunPage.from_solution(replace(solution, log=[], length=32, checkpoint=in_order), pictures, title="Points")
    assert [(entry.start, entry.stop, entry.accepted) for entry in alone.log] == [(0, 32, 32)]


@browsed
def test_a_fragment_chooses_the_round(tmp_path):
    html = render_page(PAGE)
    read, _ = browse(tmp_path, html, fragment="#round=3")
    assert (read.texts["output"], read.texts["b"]) == (["round ", " of 4"], ["3"])
    (shown,), (slider,) = read.all("img"), read.all("input")
    assert [shown["src"]] == data(html)["frames"][3]["sources"]
    assert shown["alt"] == "Six steps, as foreseen after round 3"
    assert (slider["min"], slider["max"], slider["aria-valuetext"]) == ("0", "4", "after round 3 of 4")


SAID = [
    "Before the first round that is drawn.",
    "Round 1: steps 0 to 3 in flight, 2 accepted. The farthest of the others moved by 18 times the threshold.",
    "Round 2: steps 2 to 4 in flight, all accepted.",
    "The check sent the run back to step 4. Round 3: step 4 alone, accepted.",
    "Round 4: step 5 alone, accepted.",
]


@browsed
def test_the_slider_moves_picture_words_and_wavefront(tmp_path):
    html = render_page(PAGE)
    script = """for (const round of [4, 0, 1, 2, 3, 4]) {
        const slider = one("#round"), canvas = one("canvas");
        if (told.length) { slider.value = round; slider.dispatchEvent(new Event("input")); }
        tell(one("output").textContent, one("#caption").textContent, one("img").src, canvas.toDataURL());
    }"""
    end, *told = browse(tmp_path, html, script=script)[1]
    assert end == told[-1]
    assert [words[0] for words in told] == [f"round {number} of 4" for number in range(5)]
    assert [words[1] for words in told] == SAID
    assert [words[2] for words in told[:4]] == [frame["sources"][0] for frame in data(html)["frames"]]
    assert len({words[3] for words in told}) == 5


@browsed
def test_keys_and_the_button_walk_through_the_rounds(tmp_path):
    script = """const state = () => tell(one("output").textContent, one(".play").ariaLabel);
        const key = (name) => document.body.dispatchEvent(new KeyboardEvent("keydown", {key: name, bubbles: true}));
        key("ArrowLeft"); key("ArrowLeft"); state(); key("ArrowRight"); state();
        const play = () => { one(".play").click(); state(); }, later = (act, time) => setTimeout(act, 1000 * time);
        play(); play(); play(); later(state, 9); later(play, 10); later(state, 19);
        later(() => { location.hash = "#round=1"; later(state, 1); }, 20);"""
    _, told = browse(tmp_path, render_page(PAGE), script=script)
    assert [int(words.split()[1]) for words, _ in told] == [2, 3, 3, 3, 3, 4, 0, 4, 1]
    assert [label == "Pause" for _, label in told] == [False, False, True, False, True, False, True, False, False]


@browsed
def test_the_wavefront_tells_a_slot_and_its_round(tmp_path):
    script = """const canvas = one("canvas"), box = canvas.getBoundingClientRect();
        const at = {clientX: box.right - 0.45 * box.width, clientY: box.top + 31, bubbles: true};
        const state = () => tell(one("output").textContent, one(".tip").innerText, one("#caption").textContent);
        const act = (event) => { canvas.dispatchEvent(event); state(); };
        act(new PointerEvent("pointermove", at)); act(new PointerEvent("pointerdown", at));
        act(new PointerEvent("pointermove", {...at, clientY: at.clientY + 90, buttons: 1}));
        act(new PointerEvent("pointerleave")); tell(one(".tip").hidden);
        for (const key of ["ArrowDown", "ArrowLeft"]) act(new KeyboardEvent("keydown", {key}));"""
    hover, press, drag, leave, (hidden,), down, right = browse(tmp_path, render_page(PAGE), script=script)[1]
    assert hover == ["round 4 of 4", "Step 3, round 1\nresidual 9, 18 × the threshold, still moving", SAID[4]]
    assert press == ["round 1 of 4", hover[1], SAID[1]]
    assert drag == ["round 3 of 4", "Step 3, round 3\naccepted before", SAID[3]]
    assert (leave[2], hidden, down[2]) == (SAID[3], True, "Step 5, round 4: residual 0: exact, accepted.")
    assert right == ["round 4 of 4", "Step 4, round 4\naccepted before", "Step 4, round 4: accepted before."]


@browsed
def test_it_fits_a_phone_draws_in_its_colours_and_copies_the_command(tmp_path):
    wordy = replace(PAGE, prompt="w" * 400, command="forerun 'a & b' " + "x" * 300, status="y" * 300, in_order=1.0)
    wordy = replace(wordy, seconds=RunTiming(0.3, 0.1), highlights={"a": "1.2×10⁻⁴", "b" * 40: "3×", "c": "9"})
    script = """const canvas = one("canvas"), found = new Set();
        const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        for (let i = 0; i < pixels.length; i += 4) found.add(pixels.slice(i, i + 3).join());
        const wide = document.documentElement.scrollWidth;
        tell(wide <= innerWidth, innerWidth < 600, found.has("11,122,108"), found.size > 20);
        Object.defineProperty(navigator, "clipboard", {value: {writeText: (text) => tell(text)}});
        one(".copy").click();"""
    read, (seen, copied) = browse(tmp_path, render_page(wordy), script=script)
    assert (seen, copied) == ([True] * 4, [wordy.command])
    assert [found["style"][7:] for found in read.all("i") if "style" in found] == ["100%;", "30%;", "10%;"]
    assert "advance 100 ms, 25 %" in read.texts["li"]


@browsed
def test_runs_of_no_round_and_in_order(tmp_path):
    script = "tell(one('.wave').hidden, one('#caption').textContent)"
    run = replace(
        PAGE, log=[Round(0, 50, 50, (0.0,) * 50, 1.0, 50, 50, RoundTiming(), in_order=True)], length=50, frames=[]
    )
    assert browse(tmp_path, render_page(run), script=script)[1] == [[False, "Round 50: step 49 alone, accepted."]]
    assert browse(tmp_path, render_page(replace(run, log=[])), script=script)[1][0][0]
