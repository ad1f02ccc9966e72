"""The logs of traffic.py, read."""
import struct

ROW = struct.Struct("=QQ")


def read_log(path):
    """[(serial, time in ns)] in the order in which they were logged."""
    with open(path, "rb") as f:
        return list(ROW.iter_unpack(f.read()))
