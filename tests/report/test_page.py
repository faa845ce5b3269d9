"""The pages as text: what is on them, that nothing gets out of its place, that nothing is loaded."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import report_case as case

pytest.importorskip("jinja2", reason="reports need jinja2 and matplotlib: pip install 'spark-shap[report]'")

from spark_shap.report import clouds, curves, figures
from spark_shap.report.evidence import Sample
from spark_shap.report.html import applicant_page, run_page
from spark_shap.report.reasoning import common_text

pytestmark = pytest.mark.filterwarnings("error")  # what matplotlib or pandas warn of, a lender's log would show
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Elements, attributes and texts of a page; and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def whole():
    return run_page(case.evidence(earlier=0.1))


@pytest.fixture(scope="module")
def page(whole):
    return Page(whole)


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without the figures' drawing, which takes most of their time."""
    for module in (figures, clouds):
        monkeypatch.setattr(
            module, "inline_svg", lambda figure, text: f'<svg role="img" aria-label="{escape(text)}"></svg>'
        )


def test_everything_is_on_the_page(page, whole):
    headings = re.findall(r"<h2>(.*?)</h2>", whole)
    assert headings == [
        "What matters",
        "Reasons",
        "What changed since the run before",
        "Checks",
        "Rejected applicants",
        "How it was made",
    ]
    for said in (
        "0123456789abcdef",
        "500 rows of 'near_cutoff', those where score between 600 and 620",
        "no closed form",
        "unknown purpose 'boat'",
        "304 = 300 explained + 4 rejected",
        "R00",
        "model's content",
    ):
        assert said in page.text
    assert page.open == []
    # Bars, beeswarm, 6 curves, 3 segments and 6 of two columns, reasons, their stability, changes.
    assert len(page.all("svg")) == 1 + 1 + 6 + 3 + 6 + 1 + 1 + 1


def test_the_numbers_are_those_of_the_summary(undrawn):
    found = case.evidence()
    overall = found.summary[found.summary["segment_by"] == ""].sort_values("rank")
    page = Page(run_page(found))
    first = overall.iloc[0]
    half = 1.96 * np.hypot(first["sampling_error"], first["monte_carlo_error"])
    assert f"{first['feature']} {first['mean_abs_shap']:.4f} ± {half:.5f}" in page.all("svg")[0]["aria-label"]
    row = [f"{value:.1f} %" for value in 100 * overall["mean_abs_shap"] / overall["mean_abs_shap"].sum()]
    assert all(share in page.text for share in row)


def test_nothing_is_loaded_and_nothing_runs(page, whole):
    assert not page.all("script")
    assert not page.all("link")
    assert not page.all("iframe")
    for tag, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            target = attributes.get(name) or "#"
            assert target.startswith(("#", "data:image/png;base64,")), (tag, target)
    policy = next(one for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"].startswith("default-src 'none'")
    assert not re.search(r"url\((?!#)|@import", whole)


def test_every_figure_says_what_it_shows(page):
    for attributes in page.all("svg"):
        assert attributes["role"] == "img"
        assert re.search(r"\d", attributes["aria-label"])
        assert len(attributes["aria-label"]) > 60


@pytest.mark.parametrize("make", ["run", "applicant"])
def test_names_and_texts_stay_text(make, page):
    plain = page if make == "run" else Page(applicant_page(case.applicant()))
    if make == "run":
        found = case.evidence(case.HOSTILE, outputs=(case.HOSTILE[0],), segments=case.HOSTILE[:3], texts=case.HOSTILE)
        found = replace(
            found,
            record=replace(
                found.record,
                model_uri=case.HOSTILE[1],
                reference_name=case.HOSTILE[3],
                method_reason=case.HOSTILE[4],
                config=json.dumps({"reasons": {"harm": "high", "top": 4, "cutoff": None, "where": case.HOSTILE[0]}}),
                reason_codes={case.HOSTILE[0]: case.HOSTILE[1]},
                reason_exclusions={case.HOSTILE[3]: 0.1},
                reason_uncoded=(case.HOSTILE[1],),
                versions={case.HOSTILE[0]: case.HOSTILE[3]},
            ),
            rejects=found.rejects.assign(message=case.HOSTILE[3], error_class=case.HOSTILE[0]),
        )
        text = run_page(found)
    else:
        found = case.applicant(case.HOSTILE, case.HOSTILE, key=case.HOSTILE[0])
        text = applicant_page(replace(found, kept={case.HOSTILE[1]: case.HOSTILE[3]}))
    page = Page(text)
    assert page.open == []
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in plain.elements}
    assert {name for _, attributes in page.elements for name in attributes} <= {
        name for _, attributes in plain.elements for name in attributes
    }
    for name in case.HOSTILE[:5]:
        assert name in page.text
    assert "#010101" in page.text  # a name that looks like a colour that figures are drawn in
    assert not re.search("[\x00-\x08\u202e]", text)


@pytest.mark.slow
def test_a_page_of_the_same_tables_is_the_same(whole):
    assert run_page(case.evidence(earlier=0.1)) == whole


def test_figures_take_the_colours_of_the_page(whole):
    text = whole
    style = (files("spark_shap.report") / "templates" / "style.css").read_text()
    assert "#0101" not in text
    used = set(re.findall(r"var\(--(\w+)\)", text))
    blocks = [set(re.findall(r"--(\w+):", block)) for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)]
    assert len(blocks) == 3  # light, dark, print
    assert all(used <= block for block in blocks)


def luminance(colour):
    parts = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


def test_text_and_marks_stand_out_from_the_paper():
    style = (files("spark_shap.report") / "templates" / "style.css").read_text()
    for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL):
        colours = {name: luminance(value) for name, value in re.findall(r"--(\w+): (#\w{6})", block)}
        for name in ("ink", "muted", "good", "warn", "bad", "main", "up", "down", "second"):
            # WCAG 2: 4.5 for text, 3 for graphics.
            needed = 3 if name in ("main", "up", "down", "second") else 4.5
            for ground in ("paper", "panel"):
                low, high = sorted((colours[name], colours[ground]))
                assert (high + 0.05) / (low + 0.05) >= needed, (name, ground)


def test_a_check_that_fails_is_at_the_top(undrawn):
    found = case.evidence(additivity_gap_max=0.01, rows_rejected=3)
    page = Page(run_page(found))
    assert "2 failed" in page.text
    assert page.text.count("✗ failed") == 2
    sample = found.samples[case.OUTPUT]
    broken = replace(sample, shap_values=sample.shap_values + 1e-4)
    page = Page(run_page(replace(case.evidence(), samples={case.OUTPUT: broken})))
    assert page.text.count("✗ failed") == 1
    assert "✗" not in Page(run_page(case.evidence())).text


def test_changes_are_told_from_none(undrawn):
    changed, same = Page(run_page(case.evidence(earlier=0.1))), Page(run_page(case.evidence()))
    assert "no change" in same.text
    assert re.search(r"\d+ changes? of [\d,]+ comparisons", changed.text)
    assert "by more than 2 % of a segment's total mean |SHAP|" in changed.text
    alone = Page(run_page(replace(case.evidence(), comparison=None)))
    assert "What changed" not in alone.text


def test_without_reasons_or_values_the_page_says_so(undrawn):
    found = case.evidence()
    sample = replace(found.samples[case.OUTPUT], features=pd.DataFrame(index=range(300)))
    page = Page(run_page(replace(found, reasons=None, swaps=None, samples={case.OUTPUT: sample})))
    assert "This run gave no reasons" in page.text
    assert "the points have no colours" in page.text
    assert "how values depend on features cannot be shown" in page.text


def test_a_code_that_features_share_counts_by_its_first_rank(undrawn):
    found = case.evidence()
    said = "the first, where several of an applicant's features have the same code"
    assert said not in Page(run_page(found)).text
    assert said in Page(run_page(replace(found, reasons=found.reasons.assign(shared=True)))).text


def test_stability_is_shown_once_for_all_code_sets(undrawn):
    found = case.evidence()
    both = {
        name: pd.concat([table, table.assign(code_set="other")])
        for name, table in (("reasons", found.reasons), ("swaps", found.swaps))
    }
    page = Page(run_page(replace(found, **both)))
    assert page.text.count("How often each reason was given") == 2
    assert page.text.count("How stable reasons are") == 1


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        ("Income", "Income", "Income"),
        ("Term of the loan: 12 months", "Term of the loan: 18 months", "Term of the loan: … months"),
        ("12 months", "42 months", "… months"),
        ("high", "low", "…"),
        ("Income of 1 is low", "Income of 10 is low", "Income of … is low"),
    ],
)
def test_no_applicants_value_is_in_the_text_of_a_reason(first, last, text):
    assert common_text(first, last) == text


def test_values_that_only_aggregates_were_made_for_are_called_rough(undrawn):
    settings = json.loads(case.record().config) | {"explain": {"audit": "aggregates"}, "reasons": None}
    record = case.record(config=json.dumps(settings))
    for make, found in ((run_page, case.evidence()), (applicant_page, case.applicant())):
        assert "was made for its aggregates" in Page(make(replace(found, record=record))).text
        assert "was made for its aggregates" not in Page(make(found)).text


def test_reasons_are_shares_of_the_applicants(undrawn):
    page = Page(run_page(case.evidence()))
    assert re.search(r"R00 income is too high or too low( \d+\.\d %){5}", page.text)
    assert re.search(r"1 300 93\.3 %", page.text)
    assert "name it, too, with a probability above 97.5 %" in page.text
    assert "150 of 300, whose probability is 0.2 or more" in page.text
    assert "age, for 12.5 % of these applicants it would have been one" in page.text
    assert "in-house 2026 (version 7)" in page.text


@pytest.mark.parametrize("n_features", [1, *(pytest.param(many, marks=pytest.mark.slow) for many in (2, 60))])
def test_any_number_of_features(n_features):
    names = [f"feature {place}" for place in range(n_features)]
    page = Page(run_page(case.evidence(names)))
    assert f"All numbers of {n_features} features" in page.text
    assert ("The 15 largest of 60" in page.text) == (n_features == 60)
    assert Page(applicant_page(case.applicant(names))).open == []


@pytest.mark.slow
def test_odd_values_are_drawn():
    found = case.evidence()
    sample = found.samples[case.OUTPUT]
    own = sample.features.assign(income=np.nan, age=3.0, purpose=None)
    own.loc[0, "loan amount"] = np.inf
    still = replace(sample, shap_values=np.zeros_like(sample.shap_values), prediction=sample.base_value, features=own)
    run_page(replace(found, samples={case.OUTPUT: still}))
    one = replace(sample, **{name: getattr(sample, name)[:1] for name in ("prediction", "base_value", "shap_values")})
    one = replace(one, std_errors=sample.std_errors[:1], features=sample.features.head(1))
    run_page(replace(found, samples={case.OUTPUT: one}))
    none = replace(one, **{name: getattr(one, name)[:0] for name in ("prediction", "base_value", "shap_values")})
    assert "No applicants to draw" in run_page(replace(found, samples={case.OUTPUT: none}))


@pytest.mark.slow
def test_outputs_without_figures_are_named(undrawn):
    outputs = [f"class {place}" for place in range(8)]
    page = Page(run_page(case.evidence(outputs=outputs)))
    assert "Without figures here: 2 more outputs (class 6, class 7)" in page.text


def test_an_applicants_page_leads_from_the_reference_to_the_prediction(undrawn):
    found = case.applicant()
    page, sample = Page(applicant_page(found)), found.rows[case.OUTPUT]
    assert "Applicant id 17" in page.text
    some = found.rows[case.OUTPUT].features.drop(columns="age")
    less = replace(found, rows={case.OUTPUT: replace(sample, features=some)})
    assert "What is not shown of the applicant's features" in Page(applicant_page(less)).text
    assert f"{sample.prediction[0]:.4f}" in page.text
    assert f"{case.BASE:.4f}" in page.text
    assert "500 rows of 'near_cutoff'" in page.text
    assert "Income is low R01" in page.text
    assert re.search(r"Not stable; it and the next would change places with a probability of 15 %", page.text)
    for name, value in zip(case.FEATURES, sample.shap_values[0], strict=True):
        sign = "+" if value > 0 else "\u2212"
        assert re.search(rf"{name}( = [\w, ]+)? {re.escape(sign)}\d", page.all("svg")[0]["aria-label"])


def test_features_beyond_the_largest_are_one_step_of_the_waterfall(undrawn):
    names = [f"feature {place}" for place in range(20)]
    found = case.applicant(names)
    label = Page(applicant_page(found)).all("svg")[0]["aria-label"]
    rest = re.search(r"8 other features ([+\u2212][\d.e-]+\d)", label)
    values = found.rows[case.OUTPUT].shap_values[0]
    smallest = np.argsort(np.abs(values))[:8]
    assert float(rest[1].replace("\u2212", "-")) == pytest.approx(values[smallest].sum(), rel=0.01)


def test_each_reference_has_its_own_figures_and_how_far_they_agree_is_said(undrawn):
    whole = run_page(case.against_several(case.evidence()))
    page = Page(whole)
    headings = re.findall(r"<h2>(.*?)</h2>", whole)
    assert headings[0] == "Whom applicants are compared with"
    assert headings[1:4] == [f"What matters, against {escape(name)}" for name in case.REFERENCES]
    assert "300 applicants compared with 3 references" in page.text
    for said in (
        "applicants just on the accepted side of the cutoff (0.5, band 0.2); 900 found among 5,000 scored",
        "applicants where bad = 0 & x < 1, weighted by w, as of 2026-03-01",
        "400 rows of 'approved <all>', those where bad = 0 & x < 1, as of 01 March 2026, weighted",
        "near_cutoff 81.4 % 62.0 %",
        "approved <all> 81.4 % 100.0 %",
    ):
        assert said in page.text, said
    radios = [attributes["id"] for attributes in page.all("input")]
    assert radios == ["reference-1", "reference-2", "reference-3"]
    assert page.open == []


def test_one_reference_needs_no_choice(whole):
    assert "fieldset" not in whole
    assert "against-1" in whole
    assert ":has(" not in whole


def test_an_applicant_against_each_reference(undrawn):
    page = Page(applicant_page(case.against_several(case.applicant())))
    drawn = [one["aria-label"] for one in page.all("svg")]
    assert len(drawn) == 3
    assert page.text.count("What the values compare with") == 3
    assert "Reasons, against everyone" in page.text
    assert "count the reasons against near_cutoff" in page.text


def test_curves_of_the_table_of_dependence_take_the_place_of_the_samples(monkeypatch):
    for module in (figures, clouds, curves):
        monkeypatch.setattr(module, "inline_svg", lambda figure, text: f'<svg aria-label="{escape(text)}"></svg>')
    found = replace(case.evidence(), curves=case.curves_of())
    page = Page(run_page(found))
    said = [one["aria-label"] for one in page.all("svg") if "by its value" in one["aria-label"]]
    assert len(said) == 5  # the sixth feature has no curve in the table
    assert "mean of all applicants in each bin" in said[0]
    assert "above 2,000 up to 250,000" in page.text
    assert "up to 2023-11-14T22:13:20" in page.text
    assert "1,203" in page.text
    assert "bins of a number hold about as many applicants each" in page.text
    assert "table dependence" in page.text
    # Without a sample there are curves all the same.
    empty = Sample(np.empty(0), np.empty(0), np.empty((0, 6)), np.empty((0, 6)), pd.DataFrame())
    alone = Page(run_page(replace(found, samples={case.OUTPUT: empty})))
    assert len([one for one in alone.all("svg") if "by its value" in one["aria-label"]]) == 5


def test_points_stand_in_the_bins_of_their_values():
    rows = case.curves_of()
    income = rows[rows["feature"] == "income"].sort_values("bin", ignore_index=True)
    own = pd.DataFrame({"income": [1000.0, 1000.5, 250_000.0, 1e9, np.nan]})
    sample = Sample(np.zeros(5), np.zeros(5), np.zeros((5, 1)), np.zeros((5, 1)), own)
    places, _ = curves._points(income, "income", ["income"], sample)
    assert np.rint(places).tolist() == [0, 1, 2, 3, 4]
    purpose = rows[rows["feature"] == "purpose"].sort_values("bin", ignore_index=True)
    named = pd.DataFrame({"purpose": ["furniture", "a new car", "boat"]})
    sample = Sample(np.zeros(3), np.zeros(3), np.arange(3.0)[:, None], np.zeros((3, 1)), named)
    places, values = curves._points(purpose, "purpose", ["purpose"], sample)
    assert np.rint(places).tolist() == [1, 0]
    assert values.tolist() == [0, 1]


def test_bins_that_hold_one_value_each_are_called_by_it():
    ends = [None, -2.0, -1.0, 0.0, None]
    rows = [(case.OUTPUT, "age", place, "?", low, high, 9) for place, (low, high) in enumerate(pairwise(ends))]
    rows.append((case.OUTPUT, "age", 9, "missing", None, None, 2))
    bins = pd.DataFrame(rows, columns=["output", "feature", "bin", "label", "low", "high", "n_rows"])

    def labels(own):
        own = pd.DataFrame({"age": own})
        sample = Sample(np.zeros(len(own)), np.zeros(len(own)), np.zeros((len(own), 1)), np.zeros((len(own), 1)), own)
        found = curves._single_values(bins, "age", sample)
        return found["label"].tolist(), np.rint(curves._points(found, "age", ["age"], sample)[0]).tolist()

    assert labels([-2.0, -2.0, 0.0, 7.0, np.nan]) == (["\u22122", "\u22121", "0", "7", "missing"], [0, 0, 2, 3, 4])
    assert labels([-2.0, -3.0, 0.0, 7.0])[0] == ["?"] * 4 + ["missing"]  # two values in one bin
    assert labels([-2.0, 0.0])[0] == ["?"] * 4 + ["missing"]  # nobody shows what the last one holds


def test_a_group_of_features_shows_what_its_members_were(undrawn):
    one = case.applicant()
    settings = json.loads(one.record.config) | {"explain": {"groups": {"income": ["wage", "rent"]}}}
    own = next(iter(one.rows.values())).features.drop(columns="income").assign(wage=1200.0, rent=np.nan)
    rows = {case.OUTPUT: replace(one.rows[case.OUTPUT], features=own)}
    page = Page(applicant_page(replace(one, record=replace(one.record, config=json.dumps(settings)), rows=rows)))
    assert "wage 1,200 " in page.text
    assert "income = " not in page.all("svg")[0]["aria-label"]
