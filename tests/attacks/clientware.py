"""What each client of `test_positive_clients` does, and what it prints when it is well.

Commands for a shell in the devbox, in which `machine NAME` runs a program of the machine.
HOST, SUM, BRANCH and DIRECTORY stand for what is known later.
"""

from __future__ import annotations

SSH = (
    "ssh -i /tmp/key -o BatchMode=yes -o StrictHostKeyChecking=no"
    " -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
)
NODE = r"""
const http2 = require("http2"), https = require("https");
const ca = require("fs").readFileSync("/etc/ssl/certs/ca-certificates.crt");
https.get("https://HOST/", { ca }, (answer) => {
  answer.on("data", (data) => console.log("get", data.toString()));
});
const session = http2.connect("https://HOST:8443", { ca });
let left = 20;
for (let number = 0; number < 20; number++) {
  const stream = session.request({ ":path": "/", ":method": "POST" });
  let text = "";
  stream.on("data", (data) => (text += data));
  stream.on("end", () => {
    if (text !== "http 2 100000\n") throw new Error(text);
    if (--left === 0) { console.log("streams done"); session.close(); }
  });
  stream.end(Buffer.alloc(100000));
}
"""
PYTHON = r"""
import asyncio, ftplib, hashlib, io, smtplib, ssl, urllib.request
trust = ssl.create_default_context()
print(urllib.request.urlopen("http://HOST/", b"posted", timeout=9).read().decode())
print(urllib.request.urlopen("https://HOST/", timeout=9).read().decode())
async def streams():
    reader, writer = await asyncio.open_connection("HOST", 443, ssl=True)
    writer.write(b"GET / HTTP/1.1\r\nHost: HOST\r\n\r\n")
    print("asyncio", (await reader.readuntil(b"hello, ")).decode().split()[1])
    writer.close()
asyncio.run(streams())
with smtplib.SMTP("HOST", 587, timeout=9) as mail:
    mail.starttls(context=trust)
    mail.sendmail("a@a.test", ["b@HOST"], b"Subject: x\n\n" + b"line\n" * 10000)
    print("mail sent")
with smtplib.SMTP("HOST", 25, timeout=9) as mail:
    mail.sendmail("a@a.test", ["b@HOST"], b"plain")
with ftplib.FTP("HOST", timeout=9) as ftp:
    ftp.login("u", "p")
    held = io.BytesIO()
    ftp.retrbinary("RETR file", held.write)
    print("ftp", hashlib.sha256(held.getvalue()).hexdigest())
"""

CLIENTS: dict[str, tuple[str, list[str]]] = {
    "curl": ("curl -sSm9 http://HOST/ https://HOST/", ["hello, hello, "]),
    "curl, HTTP/2": (
        (
            "head -c 3000000 /dev/zero | curl -sSm9 --http2 --data-binary @-"
            " https://HOST:8443/"
        ),
        ["http 2 3000000"],
    ),
    "curl, FTP": ("curl -sSm9 ftp://u:p@HOST/file | sha256sum", ["SUM"]),
    "curl, mail": (
        (
            "echo hello | curl -vsSm9 --ssl-reqd --mail-from a@a.test --mail-rcpt b@HOST"
            " -T - smtp://HOST:587 2>&1"
        ),
        ["250 taken over TLS"],
    ),
    "wget": (
        (
            "machine wget -qO- --ca-certificate=/etc/ssl/certs/ca-certificates.crt"
            " http://HOST/ https://HOST/"
        ),
        ["hello, hello, "],
    ),
    "git, http": ("git clone -q http://HOST/repo.git 1 && sha256sum 1/big", ["SUM"]),
    "git, https": ("git clone -q https://HOST/repo.git 2 && sha256sum 2/big", ["SUM"]),
    "git": ("git clone -q git://HOST/repo.git 3 && sha256sum 3/big", ["SUM"]),
    "git, ssh": (
        (
            f"export GIT_SSH_COMMAND='{SSH}' && git clone -q root@HOST:DIRECTORY/repo.git 4"
            " && sha256sum 4/big && cd 4 && head -c 1000000 /dev/urandom >new"
            " && git add new && git -c user.name=a -c user.email=a@a.test commit -qm new"
            " && git push -q origin HEAD:refs/heads/BRANCH && git ls-remote origin BRANCH"
        ),
        ["SUM", "refs/heads/BRANCH"],
    ),
    "ssh": (f"{SSH} root@HOST sha256sum </client/upload", ["SUM"]),
    "rsync": ("machine rsync rsync://HOST/files/file 5 && sha256sum 5", ["SUM"]),
    "rsync, ssh": (
        (
            f"machine rsync -e '{SSH}' root@HOST:DIRECTORY/file 6 && sha256sum 6"
            f" && machine rsync -e '{SSH}' 6 root@HOST:DIRECTORY/BRANCH"
            f" && {SSH} root@HOST sha256sum DIRECTORY/BRANCH"
        ),
        ["SUM  6", "SUM  DIRECTORY/BRANCH"],
    ),
    "redis": (
        (
            "machine redis-cli -h HOST set k v && machine redis-cli --tls --cacert"
            " /etc/ssl/certs/ca-certificates.crt --sni HOST -h HOST -p 6380 get k"
        ),
        ["OK\nv"],
    ),
    **{
        f"postgres, {mode}": (
            f"machine psql -tAc 'select 1' 'host=HOST user=u dbname=d sslmode={mode}'",
            [said],
        )
        for mode, said in (("require", "True\n"), ("disable", "False\n"))
    },
    **{
        f"openssl, {port}": (
            (
                f"sleep 1 | openssl s_client -connect HOST:{port} -servername HOST"
                f" -verify_return_error {start} 2>&1"
            ),
            ["verify return:1"],
        )
        for port, start in (
            (443, ""),
            (25, "-starttls smtp"),
            (21, "-starttls ftp"),
            (3306, "-starttls mysql"),
            (5432, "-starttls postgres"),
        )
    },
    "node": (f"machine node -e '{NODE}'", ["get hello, ", "streams done"]),
    "python": (
        f"python3 -c '{PYTHON}'",
        ["hello, posted", "hello, ", "asyncio 200", "mail sent", "ftp SUM"],
    ),
}
