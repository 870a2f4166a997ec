"""Documents with secrets in them: dropped, with the kinds told and the secrets untold."""

from curate.privacy.leaks import Secrets

KEY = "AKIA" + "QZ7RT5XWPL3MNB2K"
TEXTS = [f"id = {KEY}", "nothing to see", "api_key = 'q7Zr2Xw9LmK4tB8vYc3N5pQs'"]


def test_documents_with_secrets_in_published_forms_go_and_their_kinds_are_told(apply_stage):
    verdicts, columns = apply_stage(Secrets(), TEXTS)
    assert {row: one["reason"] for row, one in verdicts.items()} == {0: "secrets"}
    assert columns["secrets"] == ["aws_access_key", None, "assigned"]
    assert KEY not in str((verdicts, columns))


def test_what_only_looks_like_a_secret_goes_on_request_and_nothing_where_any_number_may_be(apply_stage):
    assert {one["reason"] for one in apply_stage(Secrets(max_guessed=0), TEXTS)[0].values()} == {
        "secrets",
        "guessed_secrets",
    }
    assert apply_stage(Secrets(max_secrets=None), TEXTS)[0] == {}
