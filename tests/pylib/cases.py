"""The small test runner that every Python test here shares.

Each case prints one line; the last line is always "N passed, N failed, N skipped", which tests/run
adds up. The exit status is 0, 1 (a case failed) or 77 (nothing ran, and why was printed).
"""
import sys
import time
import traceback


class Skip(Exception):
    """Raised by a case that cannot run here; the text says why."""


class Failed(Exception):
    """Raised by a case whose expectation did not hold; the text says which, with both values."""


def expect(condition, text):
    """Ends the case with the text unless the condition holds."""
    if not condition:
        raise Failed(text)


def equal(got, want, what):
    """Ends the case unless both are equal; the message shows both."""
    if got != want:
        raise Failed(f"{what}: got {got!r}, want {want!r}")


class Cases:
    """Runs cases one by one, prints a line for each, and counts."""

    def __init__(self, only=None):
        self.passed = self.failed = self.skipped = 0
        self.only = only

    def run(self, name, function, *args, **kwargs):
        """Runs one case. Returns what the function returned, or None where it did not pass."""
        if self.only and self.only not in name:
            return None
        begin = time.monotonic()
        try:
            result = function(*args, **kwargs)
        except Skip as why:
            self.skipped += 1
            say(f"  skip  {name}: {why}")
            return None
        except Failed as why:
            self.failed += 1
            say(f"  FAIL  {name}: {why}")
            return None
        except Exception as why:  # a fault of a test is a failure too, never an exit
            self.failed += 1
            say(f"  FAIL  {name}: {type(why).__name__}: {why}")
            for line in traceback.format_exc().rstrip().splitlines()[-7:-1]:
                say("        " + line)
            return None
        self.passed += 1
        took = time.monotonic() - begin
        note = f"  ({result})" if isinstance(result, str) else ""
        say(f"  ok    {name}  {took:.1f} s{note}")
        return True if result is None else result

    def finish(self):
        """Prints the counts and ends the program."""
        say(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        if self.failed:
            sys.exit(1)
        sys.exit(77 if self.skipped and not self.passed else 0)


def say(line):
    """One line, at once: these lines are read while a long test runs."""
    print(line, flush=True)
