"""What the host, the runtime and the agent lack under each mutant: see `mutants`.

Each function is given a module of the product, just imported, and changes it.
"""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from typing import Any, Final

#: The status of what was killed; and longer than a test waits for it.
KILLED: Final = 128 + 9
LATE: Final = 30.0


def _rendered(ruleset: Any, pattern: str, replacement: str) -> None:
    """Change the text of the ruleset. An unknown pattern is an error."""
    render = ruleset.render_base

    def changed(*arguments: Any) -> str:
        text, count = re.subn(
            pattern, replacement, render(*arguments), flags=re.MULTILINE
        )
        assert count, f"no {pattern!r} in the ruleset"
        return text

    ruleset.render_base = changed


def any_source(ruleset: Any) -> None:
    """Let in whatever comes."""
    _rendered(ruleset, r"counter name spoofed drop", "counter name spoofed accept")


def no_refusals(ruleset: Any) -> None:
    """Hand all datagrams and connections to the gateway, whatever their destination."""
    _rendered(ruleset, r"^.* (goto refuse|counter name multicast drop)$", "")


def port_53_is_any_port(ruleset: Any) -> None:
    """Hand questions to other resolvers to the services for all other traffic."""
    _rendered(ruleset, r"^.* dport 53 tproxy .*$", "")


def silent_refusals(ruleset: Any) -> None:
    """Drop what is refused."""
    _rendered(ruleset, r"^.*reject with.*$", "\t\tdrop")


def forwarding(ruleset: Any) -> None:
    """Let devboxes' packets to each other pass on."""
    _rendered(ruleset, r"^\s*(ip6? daddr \S+) goto refuse$", r"\t\t\1 accept")
    _rendered(ruleset, r"counter name forwarded drop", "counter name forwarded accept")


def forwarding_sysctls(sysctls: Any) -> None:
    """Have the gateway namespace route."""
    sysctls.GATEWAY = {
        key: "1" if key.endswith(("_forward", "/forwarding")) else value
        for key, value in sysctls.GATEWAY.items()
    }


def all_let_in(ruleset: Any) -> None:
    """Let in whatever comes over the link, to all that listens."""
    _rendered(ruleset, r"policy drop", "policy accept")
    _rendered(ruleset, r"goto refuse|counter name \w+ drop", "accept")


def plain_links(sysctls: Any) -> None:
    """Have interfaces with addresses of their own, and sockets for echo requests."""
    mode = {"ipv6/conf/default/addr_gen_mode": "0"}
    sysctls.GATEWAY = {**sysctls.GATEWAY, **mode}
    pings = {"ipv4/ping_group_range": "0\t2147483647"}
    sysctls.DEVBOX = {**sysctls.DEVBOX, **mode, **pings}


def answering_links(links: Any) -> None:
    """Have the gateway's end of a link answer who asks for its addresses."""
    usual = links.batch
    links.batch = lambda netns, lines, *options: usual(
        netns, [line for line in lines if not line.endswith(" arp off")], *options
    )


def open_network(network: Any) -> None:
    """Answer what is sent to all, as services for a local network do; read nothing back."""
    usual = network.GatewayNetwork.configure

    def configure(self: Any) -> None:
        usual(self)
        with self.netns.entered():
            for port in (1900, 5353):
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                sock.bind(("", port))
                threading.Thread(target=_echo, args=(sock,), daemon=True).start()

    network.GatewayNetwork.configure = configure
    network.GatewayNetwork.verify = lambda self: []


def _echo(sock: socket.socket) -> None:
    while True:
        data, sender = sock.recvfrom(65_536)
        sock.sendto(data, sender)


def no_guard(guard: Any) -> None:
    """Never read the network back."""
    guard.NetworkGuard._read_and_repair = lambda self: {}


def late_ends(agent: Any) -> None:
    """Notice much later that a devbox was killed."""
    usual = agent.Devbox.wait

    async def wait(self: Any) -> Any:
        ended = await usual(self)
        if ended.status == KILLED:
            await asyncio.sleep(LATE)
        return ended

    agent.Devbox.wait = wait


def no_filter(seccomp: Any) -> None:
    """Allow every system call, by every convention there is."""
    conventions = {
        "x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "aarch64": ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
    }
    seccomp.profile = lambda machine, **_: {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": conventions.get(machine, []),
    }


def all_capabilities(bundle: Any) -> None:
    """Give root of the devbox every capability over what is its own, and its files."""
    bundle.CAPABILITIES = (*bundle.CAPABILITIES, "CAP_NET_RAW", "CAP_NET_ADMIN",
                           "CAP_SYS_ADMIN")  # fmt: skip
    bundle._READ_ONLY = bundle._MASKED = ()


def shared_processes(bundle: Any) -> None:
    """Give the devbox the machine's view of processes, and a variable of its."""
    linux, environment = bundle._linux, bundle.environment

    def shared(*arguments: Any) -> Any:
        made = linux(*arguments)
        made["namespaces"] = [n for n in made["namespaces"] if n["type"] != "cgroup"]
        return made

    bundle._linux = shared
    bundle.environment = lambda *given: {**environment(*given), "STOCKADE_RUN_DIR": "x"}


def forgetful(records: Any) -> None:
    """Remember no lookup."""
    records.RecordBook._remember = lambda self, record: None


def no_restart(supervisor: Any) -> None:
    """Notice the end of a gateway, and do nothing about it."""

    async def watch(self: Any) -> None:
        await asyncio.Event().wait()

    supervisor.GatewaySupervisor._watch = watch


def no_removal(removal: Any) -> None:
    """Leave everything where it is."""
    removal.remove = removal.dispose = lambda directory: None
    removal.sweep = lambda run_dir: []


def any_order(spec: Any) -> None:
    """Let any push follow any other."""
    spec.PolicyPush.check_follows = lambda self, current: None


def careless_files(policyfile: Any) -> None:
    """Take a policy file that cannot be read for one that says nothing."""
    strict = policyfile.parse_policy

    def parse(text: str, path: Any) -> Any:
        try:
            return strict(text, path)
        except policyfile.InvalidRequest:
            return policyfile.NetworkPolicy(name="whatever")

    policyfile.parse_policy = parse


def any_pattern(names: Any) -> None:
    """Read what is no pattern generously."""
    strict = names.HostPattern.parse.__func__

    def parse(cls: Any, text: str) -> Any:
        try:
            return strict(cls, text)
        except names.HostnameError:
            return strict(cls, "a.test")

    names.HostPattern.parse = classmethod(parse)
