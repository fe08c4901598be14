"""The servers, each from its Debian package, run inside the server's namespace with a
configuration in a scratch folder. Every function takes the running scenario and returns once its
ports are open."""

import json
import random
import subprocess
import time
from pathlib import Path

from clients import SHARES
from net import HERE, Failed

POSTGRES_BIN = "/usr/lib/postgresql"


class Stock:
    """What the servers serve: made once, shared by all scenarios."""

    def __init__(self, procs, scratch):
        self.procs, self.root = procs, scratch / "stock"
        self.rng = random.Random(4)
        self.root.mkdir()
        self._web()
        self._keys()
        self._git()
        self._tree()
        self._database()

    def _web(self):
        for size in SHARES:
            self._file(self.root / "web/f" / str(size), size)

    def _file(self, path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.rng.randbytes(size))

    def _keys(self):
        self.procs.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=server.example",
                        "-keyout", self.root / "tls.key", "-out", self.root / "tls.crt"])
        for name in ("host_key", "user_key"):
            self.procs.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.root / name])
        write(self.root / "passwords", "user:" + self.procs.run(["openssl", "passwd", "-apr1", "right"]))

    def _git(self):
        work = self.root / "work"
        git = ["git", "-C", work, "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        self.procs.run(["git", "init", "-q", "-b", "main", work])
        for i in range(12):
            self._file(work / f"file{i % 7}", self.rng.choice([300, 900, 2500, 6000]))
            self.procs.run([*git, "add", "."])
            self.procs.run([*git, "commit", "-q", "-m", f"change {i}"])
        bare = self.root / "web/git/small.git"
        self.procs.run(["git", "clone", "-q", "--bare", work, bare])
        self.procs.run(["git", "-C", bare, "update-server-info"])

    def _tree(self):
        for i in range(14):
            self._file(self.root / f"tree/d{i % 3}/f{i}", self.rng.choice([120, 800, 2600, 7000, 15000]))

    def _database(self):
        data = self.root / "pg"
        self.procs.run(["install", "-d", "-o", "postgres", data])
        self.procs.run(["runuser", "-u", "postgres", "--", newest_postgres() / "initdb", "-D", data, "-A", "trust", "-N",
                        "-E", "UTF8", "--no-locale"])
        with open(data / "pg_hba.conf", "a") as hba:
            hba.write("host all all 0.0.0.0/0 trust\nhost all all ::/0 trust\n")


def newest_postgres():
    found = sorted(Path(POSTGRES_BIN).glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if not found:
        raise Failed(f"no initdb below {POSTGRES_BIN}")
    return found[-1].parent


def start(t, argv, ports, limit_s=20):
    """Starts a server and waits until it listens on all its TCP ports."""
    log = open(t.scratch / f"{Path(str(argv[0])).name}-{ports[0]}.log", "wb")
    p = t.procs.start(t.net.inside(t.net.server_ns, *argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    end = time.monotonic() + limit_s
    waiting = {str(x) for x in ports}
    while waiting:
        if p.poll() is not None or time.monotonic() > end:
            raise Failed(f"{argv[0]} does not listen on {', '.join(sorted(waiting))}: {Path(log.name).read_text(errors='replace')[-600:]}")
        time.sleep(0.05)
        open_now = t.net.run(t.net.server_ns, "ss", "-Hltn")
        waiting -= {line.split()[3].rsplit(":", 1)[1] for line in open_now.splitlines()}


def write(path, text):
    path.write_text(text)
    return path


def nginx(t):
    stock = t.stock.root
    conf = write(t.scratch / "nginx.conf", f"""
daemon off; worker_processes 2; pid {t.scratch}/nginx.pid; error_log {t.scratch}/nginx-error.log; user www-data;
events {{ worker_connections 2000; }}
http {{
 access_log off; sendfile on; tcp_nopush on; keepalive_timeout 20s; client_max_body_size 20m; types {{ }} default_type application/octet-stream;
 client_body_temp_path {t.scratch}/body; proxy_temp_path {t.scratch}/proxy; fastcgi_temp_path {t.scratch}/f; uwsgi_temp_path {t.scratch}/u; scgi_temp_path {t.scratch}/sc;
 root {stock}/web;
 ssl_certificate {stock}/tls.crt; ssl_certificate_key {stock}/tls.key; ssl_session_cache shared:s:1m;
 server {{ listen 80 fastopen=64 backlog=512; listen [::]:80 fastopen=64 backlog=512; location /app/ {{ proxy_pass http://127.0.0.1:8000; }}
  location /private/ {{ alias {stock}/web/f/; auth_basic private; auth_basic_user_file {stock}/passwords; }} }}
 server {{ listen 8080; listen [::]:8080; keepalive_timeout 1s; limit_rate 60k; }}
 server {{ listen 443 ssl http2; listen [::]:443 ssl http2; location /app/ {{ proxy_pass http://127.0.0.1:8000; }} }}
}}
""")
    start(t, ["/usr/bin/python3", HERE / "backend.py"], [8000])
    start(t, ["nginx", "-c", conf], [80, 443, 8080])


def sshd(t):
    stock = t.stock.root
    conf = write(t.scratch / "sshd_config", f"""
HostKey {stock}/host_key
AuthorizedKeysFile {stock}/user_key.pub
PidFile none
StrictModes no
UsePAM yes
PermitRootLogin yes
PrintMotd no
MaxStartups 200
Subsystem sftp internal-sftp
""")
    start(t, ["/usr/sbin/sshd", "-D", "-e", "-f", conf], [22])


def postgres(t):
    data = t.scratch / "pg"
    t.procs.run(["cp", "-a", t.stock.root / "pg", data])
    start(t, ["runuser", "-u", "postgres", "--", newest_postgres() / "postgres", "-D", data, "-c", "listen_addresses=*",
              "-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=150"], [5432])


def redis(t):
    start(t, ["redis-server", "--save", "", "--dir", t.scratch, "--bind", "*", "-::*", "--protected-mode", "no", "--port", 6379], [6379])


def exim(t):
    spool = t.scratch / "exim"
    t.procs.run(["install", "-d", "-o", "Debian-exim", "-g", "Debian-exim", spool])
    conf = write(t.scratch / "exim.conf", f"""
exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = {spool}
log_file_path = {spool}/%slog
primary_hostname = mail.example.org
queue_only = true
rfc1413_query_timeout = 0s
smtp_accept_max = 100
acl_smtp_rcpt = take
acl_smtp_data = take
tls_advertise_hosts = *
tls_certificate = {spool}/tls.crt
tls_privatekey = {spool}/tls.key
begin acl
take:
  accept
begin routers
drop:
  driver = redirect
  data = :blackhole:
""")
    for name in ("tls.crt", "tls.key"):
        t.procs.run(["install", "-o", "Debian-exim", t.stock.root / name, spool / name])
    start(t, ["exim4", "-C", conf, "-bdf", "-oP", spool / "pid", "-oX", "<; 0.0.0.0; ::0"], [25])


def dovecot(t):
    base, mail = t.scratch / "dovecot", t.scratch / "mail"
    t.procs.run(["install", "-d", "-o", "mail", "-g", "mail", mail])
    conf = write(t.scratch / "dovecot.conf", f"""
base_dir = {base}
state_dir = {base}
log_path = /dev/stderr
protocols = imap
listen = *, ::
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{mail}/%u
first_valid_uid = 1
default_vsz_limit = 0
service imap-login {{
  chroot =
  inet_listener imap {{
    port = 143
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={mail}/%u
}}
""")
    start(t, ["dovecot", "-F", "-c", conf], [143])


def nsd(t):
    rng, zone = random.Random(7), ["$ORIGIN example.org.", "$TTL 300", "@ SOA ns a 1 60 60 60 60", "@ NS ns", "ns A 192.0.2.1"]
    for i in range(40):
        zone += [f"h{i} A 192.0.2.{i + 2}", f"h{i} AAAA 2001:db8::{i + 2:x}", f"_s{i}._tcp SRV 0 0 80 h{i}"]
        zone += [f't{i} TXT "{"".join(rng.choices("abcdefgh", k=rng.randint(20, 220)))}"' for _ in range(rng.choice([1, 1, 3, 12]))]
    write(t.scratch / "zone", "\n".join(zone) + "\n")
    conf = write(t.scratch / "nsd.conf", f"""
server:
  ip-address: 0.0.0.0
  ip-address: ::0
  username: ""
  zonesdir: "{t.scratch}"
  pidfile: ""
  database: ""
  xfrdfile: "{t.scratch}/xfrd"
  zonelistfile: "{t.scratch}/zonelist"
  cookie-secret-file: ""
  tcp-timeout: 10
remote-control:
  control-enable: no
zone:
  name: example.org
  zonefile: zone
  provide-xfr: 0.0.0.0/0 NOKEY
  provide-xfr: ::/0 NOKEY
""")
    start(t, ["nsd", "-d", "-c", conf], [53])


def gitd(t):
    start(t, ["git", "daemon", "--reuseaddr", f"--base-path={t.stock.root}/web/git", "--export-all"], [9418])


def rsyncd(t):
    conf = write(t.scratch / "rsyncd.conf", f"use chroot = no\nuid = root\n[tree]\n path = {t.stock.root}/tree\n"
                 f"[drop]\n path = {t.scratch}\n read only = no\n")
    start(t, ["rsync", "--daemon", "--no-detach", f"--config={conf}", "--log-file=/dev/null"], [873])


def ftpd(t):
    empty = t.scratch / "empty"
    empty.mkdir()
    conf = write(t.scratch / "vsftpd.conf", f"""
listen=NO
listen_ipv6=YES
anonymous_enable=YES
local_enable=NO
anon_root={t.stock.root}/tree
secure_chroot_dir={empty}
background=NO
seccomp_sandbox=NO
""")
    start(t, ["vsftpd", conf], [21])


def iperf(t, port=5201):
    start(t, ["iperf3", "-s", "-p", port], [port])


def mosquitto(t):
    conf = write(t.scratch / "mosquitto.conf", "listener 1883\nallow_anonymous true\n")
    start(t, ["mosquitto", "-c", conf], [1883])


def peer(t, ports, backlog=128):
    """Our own server: on each port it plays a script (see peer.py)."""
    start(t, ["/usr/bin/python3", HERE / "peer.py", "serve", json.dumps({"ports": ports, "backlog": backlog})], list(ports))
