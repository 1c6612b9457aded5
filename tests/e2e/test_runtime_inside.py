"""What a devbox finds inside: user, environment, directory, files, mounts."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from stockade.errors import InvalidRequest
from stockade.spec import Mount
from tests.e2e.runtime_boxes import Boxes, make_authority

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def boxes() -> Iterator[Boxes]:
    with Boxes() as made:
        yield made


@pytest.fixture(params=["crun", "runc"])
def either(request: pytest.FixtureRequest) -> Iterator[Boxes]:
    with Boxes(request.param) as made:
        yield made


@pytest.mark.parametrize(
    ("user", "ids", "home", "name"),
    [
        ("root", "0 0 0", "/root", "root"),
        ("user", "1000 1000 1000", "/home/user", "user"),
        ("1000", "1000 1000 1000", "/home/user", "user"),
        ("1000:0", "1000 0 0", "/home/user", "user"),
        ("user:games", "1000 60 60", "/home/user", "user"),
        ("4321", "4321 0 0", "/", "4321"),
        ("4321:1234", "4321 1234 1234", "/", "4321"),
    ],
)
def test_the_user_is_the_one_asked_for(
    boxes: Boxes, user: str, ids: str, home: str, name: str
) -> None:
    script = "echo $(id -u) $(id -g) $(id -G); echo $HOME $USER; pwd"
    done = boxes.sh(script, user=user)
    assert done.stdout.splitlines() == [ids, f"{home} {name}", home]


@pytest.mark.parametrize("user", ["nobody-here", "root:nothing", "70000", "-1", ""])
def test_a_user_that_does_not_exist_is_refused(boxes: Boxes, user: str) -> None:
    with pytest.raises(InvalidRequest, match="the image has no"):
        boxes.run("true", user=user)


def test_the_environment_is_the_default_and_what_was_given(boxes: Boxes) -> None:
    env = {"FOO": "a b\nc", "LANG": "de_DE.UTF-8"}
    done = boxes.run("env", "-0", env=env, trust_host_cas=False)
    found = dict(line.split("=", 1) for line in done.stdout.rstrip("\0").split("\0"))
    assert found == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "USER": "root",
        **env,
    }


def test_a_missing_working_directory_is_made_for_the_user(boxes: Boxes) -> None:
    done = boxes.sh("pwd; touch x && stat -c %U .", workdir="/srv/a/b", user="user")
    assert done.stdout == "/srv/a/b\nuser\n"
    assert boxes.run("pwd", workdir="/usr/bin").stdout == "/usr/bin\n"


@pytest.mark.parametrize(
    ("workdir", "message"),
    [("relative", "must be absolute"), ("/etc/passwd", "not a directory")],
)
def test_an_impossible_working_directory_is_refused(
    boxes: Boxes, workdir: str, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        boxes.run("true", workdir=workdir)


@pytest.mark.parametrize("workdir", ["/proc", "/proc/self", "/sys", "/dev"])
def test_a_working_directory_of_the_system_is_refused(
    boxes: Boxes, workdir: str
) -> None:
    with pytest.raises(InvalidRequest, match="cannot be the working directory"):
        boxes.run("true", workdir=workdir)


def test_name_resolution_is_ours(boxes: Boxes) -> None:
    servers = (IPv4Address("192.0.2.1"), IPv6Address("2001:db8::1"))
    script = "cat /etc/resolv.conf /etc/hostname; hostname; getent hosts mybox"
    done = boxes.sh(script, nameservers=servers, hostname="mybox")
    assert done.stdout.splitlines() == [
        "nameserver 192.0.2.1",
        "nameserver 2001:db8::1",
        "options timeout:2 attempts:2",
        "mybox",
        "mybox",
        "127.0.1.1       mybox",
    ]


def test_files_written_for_it_belong_to_root_inside(boxes: Boxes) -> None:
    script = "stat -c '%n %u:%g %a' /etc /etc/resolv.conf /etc/hosts /etc/hostname"
    assert boxes.sh(script).stdout.splitlines() == [
        "/etc 0:0 755",
        "/etc/resolv.conf 0:0 644",
        "/etc/hosts 0:0 644",
        "/etc/hostname 0:0 644",
    ]


def test_sudo_works_only_when_it_is_allowed(boxes: Boxes) -> None:
    allowed = boxes.run("sudo", "id", "-u", user="user", allow_sudo=True)
    assert (allowed.stdout, allowed.stderr) == ("0\n", "")
    refused = boxes.run("sudo", "id", "-u", user="user")
    assert refused.status == 1
    assert "no new privileges" in refused.stderr


def test_any_port_can_be_served(boxes: Boxes) -> None:
    script = "import socket; s = socket.create_server(('127.0.0.1', 80)); print('ok')"
    assert boxes.python(script, user="user").stdout == "ok\n"


def test_pipes_can_be_opened_again_by_the_user(boxes: Boxes) -> None:
    done = boxes.sh("echo a > /dev/stdout; echo b > /dev/stderr", user="user")
    assert (done.stdout, done.stderr) == ("a\n", "b\n")


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory of user 4000 on the machine."""
    place = tmp_path / "shared"
    place.mkdir()
    (place / "file").write_text("from outside\n")
    for path in (place, place / "file"):
        os.chown(path, 4000, 4001)
    return place


@pytest.mark.parametrize("user", ["root", "user", "4321:1234"])
def test_a_mount_belongs_to_the_user_inside_and_to_its_owner_outside(
    either: Boxes, shared: Path, user: str
) -> None:
    script = "cat /mnt/file; echo new > /mnt/new; mkdir /mnt/d; echo more >> /mnt/file"
    stats = "; stat -c %u:%g /mnt /mnt/file /mnt/new; id -u; id -g"
    mounts = (Mount(shared, "/mnt"),)
    done = either.sh(script + stats, mounts=mounts, user=user)
    lines = done.stdout.splitlines()
    owner = ":".join(lines[-2:])
    assert lines[:4] == ["from outside", owner, owner, owner]
    assert (shared / "file").read_text() == "from outside\nmore\n"
    for name in ("new", "d"):
        status = (shared / name).stat()
        assert (status.st_uid, status.st_gid) == (4000, 4001)


def test_a_read_only_mount_cannot_be_written(either: Boxes, shared: Path) -> None:
    mounts = (Mount(shared, "/mnt", read_only=True),)
    done = either.sh("cat /mnt/file; echo x > /mnt/new; rm /mnt/file", mounts=mounts)
    assert done.stdout == "from outside\n"
    assert done.stderr.count("Read-only file system") == 2
    assert list(shared.iterdir()) == [shared / "file"]


def test_a_file_can_be_mounted_alone(either: Boxes, shared: Path) -> None:
    mounts = (Mount(shared / "file", "/opt/deep/down/config"),)
    done = either.sh("cat /opt/deep/down/config; ls /opt/deep/down", mounts=mounts)
    assert done.stdout == "from outside\nconfig\n"


def test_what_others_own_in_a_mount_is_nobodys(boxes: Boxes, shared: Path) -> None:
    secret = shared / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    mounts = (Mount(shared, "/mnt"),)
    done = boxes.sh("stat -c %U /mnt/secret; cat /mnt/secret", mounts=mounts)
    assert done.stdout == "nobody\n"
    assert "Permission denied" in done.stderr


def test_a_mount_carries_no_set_user_id_and_no_devices(
    boxes: Boxes, shared: Path
) -> None:
    os.mknod(shared / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    mounts = (Mount(shared, "/mnt"),)
    options = boxes.sh("grep ' /mnt ' /proc/self/mounts", mounts=mounts).stdout
    assert {"nosuid", "nodev"} <= set(options.split()[3].split(","))
    refused = boxes.sh("echo x > /mnt/null", mounts=mounts)
    assert "Permission denied" in refused.stderr


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("missing", "/mnt", "does not exist"),
        ("", "mnt", "absolute path"),
        ("", "/a/../etc", "absolute path"),
        ("", "/", "cannot replace /"),
        ("", "/proc/sys", "belongs to the devbox"),
        ("", "/dev", "belongs to the devbox"),
        ("", "/.stockade/init", "belongs to the devbox"),
        ("fifo", "/mnt", "only directories and files"),
    ],
)
def test_impossible_mounts_are_refused(
    boxes: Boxes, shared: Path, source: str, target: str, message: str
) -> None:
    os.mkfifo(shared / "fifo")
    with pytest.raises(InvalidRequest, match=message):
        boxes.run("true", mounts=(Mount(shared / source, target),))


def test_removal_keeps_what_was_mounted(boxes: Boxes, shared: Path) -> None:
    running = boxes.start("sh", "-c", "read line", mounts=(Mount(shared, "/mnt"),))
    running.remove()
    assert (shared / "file").read_text() == "from outside\n"


def test_the_machines_authorities_are_trusted(boxes: Boxes, tmp_path: Path) -> None:
    certificate = _certificate(tmp_path)
    script = (
        "env | grep -cE '^(CURL_CA_BUNDLE|GIT_SSL_CAINFO|PIP_CERT|REQUESTS_CA_BUNDLE"
        "|SSL_CERT_FILE|NODE_EXTRA_CA_CERTS)=/etc/'; python3 -c \"import ssl;"
        "c = ssl.create_default_context().get_ca_certs();"
        "print([x for x in c if 'Stockade test' in str(x['subject'])] != [])\""
    )
    trusting = boxes.sh(script, extra_ca_files=(certificate,), trust_host_cas=False)
    assert trusting.stdout == "6\nTrue\n"
    again = boxes.sh(script, extra_ca_files=(certificate,))
    assert again.stdout == "6\nTrue\n"
    plain = boxes.sh(script, trust_host_cas=False)
    assert plain.stdout == "0\nFalse\n"


def _certificate(directory: Path) -> Path:
    path = directory / "authority.pem"
    path.write_bytes(make_authority("Stockade test"))
    return path
