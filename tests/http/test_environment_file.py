"""The environment file: what each line says, and that no value reaches the log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sprockets.http._environment_file import Definition, Malformed, apply, parse


@pytest.mark.rule("T9.1")
@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("SIMPLE=1", "SIMPLE", "1"),
        ("export SIMPLE=1", "SIMPLE", "1"),
        ("NOT=2  # comment", "NOT", "2"),
        ('DQ="a b"', "DQ", "a b"),
        ("SQ='a b'", "SQ", "a b"),
        ('NEST="a=b=c"', "NEST", "a=b=c"),
        ("TRAIL=val   ", "TRAIL", "val"),
        (r'ESC="a\nb"', "ESC", r"a\nb"),
        ("EXP=$HOME/x", "EXP", "$HOME/x"),
        ("MIX=\"a'", "MIX", "\"a'"),
        ("GONE=", "GONE", None),
        ('EMPTYQ=""', "EMPTYQ", None),
        ('HASHQ="a#b"', "HASHQ", "a#b"),
        ("  export IND=1", "IND", "1"),
        ("export\tT=1", "T", "1"),
        ("SP = 1", "SP", "1"),
        ('LONE="', "LONE", '"'),
        ('BOTH="a#b" # comment "c"', "BOTH", "a#b"),
        ('INNER="say "hi#there" now"', "INNER", 'say "hi#there" now'),
        ("BLANK=' '", "BLANK", " "),
        ("NONE=# comment", "NONE", None),
        ("CR=1\r", "CR", "1"),
        ("export=1", "export", "1"),
        ("export = 1", "export", "1"),
        ("exported=1", "exported", "1"),
    ],
)
def test_a_line_defines_a_variable(line, name, value):
    """Every form that a definition may have, line by line."""
    assert list(parse(line)) == [Definition(name, value)]


@pytest.mark.rule("T9.1")
@pytest.mark.parametrize("line", ["", "   ", "# comment", "   # indented comment", "\t#A=1"])
def test_blank_lines_and_comments_say_nothing(line):
    """They are not worth a record."""
    assert list(parse(line)) == []


@pytest.mark.rule("T9.1")
@pytest.mark.parametrize("line", ["BAD LINE", "=x", "TWO WORDS=1", "export", "A#B=1", "N=a\0b"])
def test_what_is_no_definition_is_malformed(line):
    """A line without a name and an equals sign is passed over, and counted."""
    (found,) = parse(f"\n{line}")

    assert isinstance(found, Malformed)
    assert found.number == 2


@pytest.mark.rule("H9.6")
def test_lines_are_applied_from_top_to_bottom(tmp_path, log_records):
    """The last definition wins, and the last line needs no line break."""
    path = tmp_path / "env"
    path.write_bytes(b"\xef\xbb\xbfA=1\r\nB=1\nA=2\nB=\nC=3")
    environ = {"B": "0", "D": "4"}

    apply(path, environ)

    assert environ == {"A": "2", "C": "3", "D": "4"}
    assert len(log_records.records) == 5


@pytest.mark.rule("H9.7")
def test_the_log_names_variables_and_never_values(tmp_path, log_records):
    """Neither a value nor a stray line of a key in several lines is in a record."""
    path = tmp_path / "env"
    key = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"
    path.write_text(f"PASSWORD=s3cret\nGONE=\n=s3cret\nA B=s3cret\nBAD LINE\n{key}\n")

    apply(path, environ := {"GONE": "s3cret"})

    assert environ == {"PASSWORD": "s3cret"}
    output = "\n".join(log_records.formatted_records)
    assert {record.level_name for record in log_records.records} == {"INFO"}
    assert "PASSWORD" in output
    assert "GONE" in output
    assert "BAD LINE" in output
    assert "s3cret" not in output
    assert key not in output


def test_a_missing_file_is_the_callers_to_report(tmp_path):
    """What cannot be read is not passed over."""
    with pytest.raises(OSError, match="absent"):
        apply(tmp_path / "absent", {})


@given(text=st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("=#'\"\n \tAB")))
def test_whatever_the_file_says_fits_an_environment(text):
    """No name is empty or has an equals sign, and nothing has a NUL: the system takes it all."""
    for found in parse(text):
        if isinstance(found, Definition):
            assert found.name
            assert "=" not in found.name
            assert "\0" not in found.name
            assert found.value is None or found.value
            assert "\0" not in (found.value or "")


@given(
    name=st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True),
    value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\0"), min_size=1),
)
def test_a_quoted_value_comes_back_as_it_was(name, value):
    """Between quotes anything may stand that fits on a line, the other quotes included."""
    quote = "'" if '"' in value else '"'

    assert list(parse(f"{name}={quote}{value}{quote}")) == [Definition(name, value)]
