"""The figures that were copied from papers."""

from cfgtoy.datasets.published import ho2022_tables


def test_every_setting_has_every_weight() -> None:
    rows = ho2022_tables()
    weights = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 2.0, 3.0, 4.0]
    settings = {row.setting for row in rows}
    assert settings == {"p0.1", "p0.2", "p0.5", "T128", "T256", "T1024"}
    for setting in settings:
        assert [row.w for row in rows if row.setting == setting] == weights


def test_the_best_weights_are_those_the_paper_names() -> None:
    rows = ho2022_tables()
    best = {
        s: min((r for r in rows if r.setting == s), key=lambda r: r.fid)
        for s in ("p0.1", "p0.2", "p0.5", "T256")
    }
    assert {s: r.w for s, r in best.items()} == {"p0.1": 0.1, "p0.2": 0.1, "p0.5": 0.1, "T256": 0.3}
    assert best["p0.1"].fid == 1.55
