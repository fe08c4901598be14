"""Cuts the packets of a capture behind their TCP headers."""

import struct

FILE_HEADER, RECORD_HEADER = 24, 16
ETHERNET, IPV6, TCP = 14, 40, 6


def header_octets(frame):
    """Octets of a frame up to the end of its TCP header: Ethernet, then IPv4 or IPv6 without extension headers."""
    if frame[12:14] == b"\x08\x00":
        ip = (frame[ETHERNET] & 15) * 4
    elif frame[12:14] == b"\x86\xdd" and frame[ETHERNET + 6] == TCP:
        ip = IPV6
    else:
        raise ValueError(f"expected TCP over IPv4 or IPv6, found the frame {frame[:40].hex()}")
    return ETHERNET + ip + (frame[ETHERNET + ip + 12] >> 4) * 4


def cut(capture):
    """The octets of a pcap file of this machine's byte order, each packet cut behind its headers; original lengths stay."""
    out, at = [capture[:FILE_HEADER]], FILE_HEADER
    while at < len(capture):
        seconds, fraction, kept, length = struct.unpack_from("=IIII", capture, at)
        frame = capture[at + RECORD_HEADER:at + RECORD_HEADER + kept]
        kept = min(kept, header_octets(frame))
        out += [struct.pack("=IIII", seconds, fraction, kept, length), frame[:kept]]
        at += RECORD_HEADER + len(frame)
    return b"".join(out)
