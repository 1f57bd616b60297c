"""Variables as kustomize-controller puts them in: the cases are those of fluxcd/pkg/envsubst that the tree may use."""

import pytest

from bundle.flux.substitution import SubstitutionError, substitute

VARIABLES = {"a": "1", "empty": "", "registry": "registry.example.com"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", ""),
        ("no variable: $a $1 $ {a} }", "no variable: $a $1 $ {a} }"),
        ("${a}${a}", "11"),
        ("x${a}y", "x1y"),
        ("${b:=2}", "2"),
        ("${b:-2}", "2"),
        ("${b=2}", "2"),
        ("${a:=2}", "1"),
        ("${empty:=2}", "2"),
        ("[${empty}]", "[]"),
        ("[${b:=}]", "[]"),
        ("oci://${registry:=ghcr.io}/charts", "oci://registry.example.com/charts"),
        ("${image:=${registry:=quay.io}/prometheus:v1}", "registry.example.com/prometheus:v1"),
        ("${image:=${other:=quay.io}/prometheus:v1}", "quay.io/prometheus:v1"),
        ("a text: $${a}, and ${a}", "a text: ${a}, and 1"),
        ('matches("{64}$")', 'matches("{64}$")'),
    ],
)
def test_variables_and_defaults(text: str, result: str) -> None:
    assert substitute(text, VARIABLES) == result


@pytest.mark.parametrize(
    ("text", "excerpt", "problem"),
    [
        ("x: ${b}\ny", "${b}", "the variable b is not set; give it a value in vars.yaml or write ${b:=default}"),
        ("${c:=${b}}", "${b}", "the variable b is not set"),
        ("${__rate_interval}", "${__rate_interval}", "the variable __rate_interval is not set"),
        ("${1}", "${1}", "is no variable"),
        ("${}", "${}", "is no variable"),
        ("${", "${", "is no variable"),
        ("${a\n}", "${a", "allowed are ${name} and ${name:=default}"),
        ("${a^^}", "${a^^}", "allowed are"),
        ("${a:pipe}", "${a:pipe}", "allowed are"),
        ("${a:=1\nmore", "${a:=1", "the closing brace is missing"),
    ],
)
def test_what_would_fail_the_step_is_named(text: str, excerpt: str, problem: str) -> None:
    with pytest.raises(SubstitutionError) as error:
        substitute(text, VARIABLES)

    assert error.value.text == excerpt
    assert str(error.value).startswith(problem)
