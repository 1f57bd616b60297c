import pytest

from agent.events import redaction
from agent.events.redaction import CUT, MAX_HOST, MAX_METHOD, MAX_PARAMETERS, MAX_QUERY


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("shop.example", ("shop.example", None)),
        ("Shop.Example:443", ("shop.example", 443)),
        ("shop.example:", ("shop.example", None)),
        ("[2001:db8::1]:8443", ("2001:db8::1", 8443)),
        ("2001:db8::1", ("2001:db8::1", None)),
        ("user:geheim@shop.example:80", ("shop.example", 80)),
        ("a@b@shop.example", ("shop.example", None)),
        ("shop.example:70000", ("shop.example:70000", None)),
        ("\x1b[2J\u202e", ("%1B[2j%E2%80%AE", None)),
        (
            "a8f3b2c1d4e5f6071829304a5b6c7d8e-1234567.elb.example",
            ("a8f3b2c1d4e5f6071829304a5b6c7d8e-1234567.elb.example", None),
        ),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", ("REDACTED", None)),
        ("shop.example:80/login?next=sesame", ("shop.example", 80)),
        ("/login?next=sesame", ("", None)),
        ("alice:sesame", ("REDACTED", None)),
        ("shop.example:80:sesame", ("REDACTED", None)),
        ("alice%3Asesame%40shop.example", ("REDACTED", None)),
        ("fe80::1%25eth0", ("fe80::1%25eth0", None)),
        ("::ffff:192.0.2.7", ("::ffff:192.0.2.7", None)),
        ("", ("", None)),
    ],
)
def test_a_host_is_a_name_and_a_port(text: str, told: tuple[str, int | None]) -> None:
    assert redaction.host(text) == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ""),
        ("page=2&sort=name", "page=2&sort=name"),
        ("q=red+shoes&password=hunter2", "q=red+shoes&password=REDACTED"),
        ("a=1;token=x", "a=1&token=REDACTED"),
        ("user%5Bpassword%5D=x", "user%5Bpassword%5D=REDACTED"),
        ("to=https%3A%2F%2Fu%3Ap%40a.example%2F", "to=REDACTED"),
        ("mail=a%40b.example&x=a%2540b.example", "mail=REDACTED&x=REDACTED"),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "REDACTED"),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a=1", "REDACTED"),
        ("card=4111111111111111&n=4111111111111111", "card=REDACTED&n=REDACTED"),
        ("q=\x1b[31m\n", "q=%1B[31m%0A"),
        ("password=", "password="),
        ("token", "token"),
        ("&&", "&&"),
    ],
)
def test_a_query_loses_its_secrets(text: str, told: str) -> None:
    assert redaction.query(text) == told


def test_a_long_query_is_cut_between_two_parameters() -> None:
    assert redaction.query("a=b&c=gh", is_cut=True) == f"a=b&{CUT}"
    many = redaction.query("&".join(["a"] * (MAX_PARAMETERS + 9)))
    assert many == "&".join(["a"] * MAX_PARAMETERS + [CUT])
    assert redaction.query("a=" + "b" * MAX_QUERY) == CUT


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/users/23/orders", "/users/23/orders"),
        ("/a/550e8400-e29b-41d4-a716-446655440000", "/a/550e8400-e29b-41d4-a716-446655440000"),
        ("/mail/alice%40example.com/x", "/mail/REDACTED/x"),
        ("/reset-password/hunter2", "/reset-password/REDACTED"),
        ("/password//sesame", "/password//REDACTED"),
        ("/a/password%2Fsesame", "/a/REDACTED"),
        ("/proxy/https:/alice:sesame@box/x", "/proxy/https:/REDACTED/x"),
        ("/cart;jsessionid=abc;v=1/items", "/cart;jsessionid=REDACTED;v=1/items"),
        ("/services/T0ABCDEF1/B0ABCDEF2/aBcDeFgHiJkL", "/REDACTED"),
        ("/caf\xe9\x00", "/caf%E9%00"),
        ("/\u202e", "/%E2%80%AE"),
        ("", ""),
    ],
)
def test_a_path_as_it_was_sent_loses_its_secrets(text: str, told: str) -> None:
    assert redaction.path(text) == told


def test_what_stands_at_a_cut_is_not_told() -> None:
    assert redaction.path("/a/ghp", is_cut=True) == f"/a/{CUT}"
    assert redaction.path("/a" * 1000).endswith(f"/{CUT}")


def test_methods_and_hosts_are_of_bounded_length() -> None:
    assert redaction.method("BREW") == "BREW"
    assert len(redaction.method("BREW-A-POT-" * 10)) == MAX_METHOD
    assert len(redaction.host("a." * 1000)[0]) == MAX_HOST


@pytest.mark.parametrize(
    "text", ["password=x", "A\tB\x1b", "GET\t/login?next=sesame", "a=sesamePOST", '{"a":1}PUT', ""]
)
def test_what_is_no_method_may_be_a_query_or_a_body(text: str) -> None:
    assert redaction.method(text) == "REDACTED"
