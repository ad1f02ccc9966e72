"""Running a test as an ordinary user who is root of namespaces of his own and of nothing else."""
import os
import sys

INSIDE = "SALLYPORT_TEST_INSIDE"


def inside():
    """Are we in such a namespace already?"""
    return bool(os.environ.get(INSIDE))


def enter():
    """Runs this program again there. Exits 77 with the reason where this machine does not allow it."""
    again = [sys.executable, *sys.argv]
    os.environ[INSIDE] = "1"
    command = ["unshare", "-Urmn", "--map-root-user", "sh", "-c",
               'mount -t tmpfs tmpfs /run && mkdir -p /run/netns && ip link set lo up && exec "$@"', "sh", *again]
    if os.getuid() == 0:
        # A fresh device node, since the machine's own may be closed to users; then give up being root.
        device = "mount -t tmpfs -o mode=755 tmpfs /dev/net && mknod -m 666 /dev/net/tun c 10 200"
        command = ["unshare", "-m", "sh", "-c", device + ' && exec "$@"', "sh", "setpriv", "--reuid=65534", "--regid=65534",
                   "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", *command]
    elif not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        print("this user may not open /dev/net/tun (chmod 666 /dev/net/tun, or run as root)", flush=True)
        sys.exit(77)
    sys.stdout.flush()
    os.execvp(command[0], command)
