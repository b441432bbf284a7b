"""The reference of metrics names them all, and its questions are PromQL."""

import json
import subprocess
from pathlib import Path

from known_metrics import all_names
from tools.reference.metric_families import names_of
from tools.reference.metrics import build_question, sources

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "metrics.md").read_text()


def test_every_family_of_everybody_who_speaks_to_prometheus_is_in_it() -> None:
    assert names_of([family for source in sources() for family in source.families]) == all_names()
    missing = [family.name for source in sources() for family in source.families if family.name not in PAGE]
    assert missing == []


def test_prometheus_understands_every_question(tmp_path: Path) -> None:
    questions = [build_question(family, source.by) for source in sources() for family in source.families]
    rules = [{"record": f"question_{i}", "expr": question} for i, question in enumerate(questions)]
    file = tmp_path / "questions.yaml"
    file.write_text(json.dumps({"groups": [{"name": "questions", "rules": rules}]}))
    judged = subprocess.run(
        ["promtool", "check", "rules", str(file)], check=False, capture_output=True, text=True
    )
    assert judged.returncode == 0, judged.stderr
    assert len(questions) > 50
