"""Idle threads sleep also in programs that have loaded torch before they make a model."""

import os
import subprocess
import sys

import pytest

CODE = """
import threading, time, torch, refilm

def threads():
    return int(open("/proc/self/status").read().split("Threads:")[1].split()[0])

before = threads()
for _ in range(2):
    refilm.create_model("flow-blend")
while "refilm-idle" in {each.name for each in threading.enumerate()} and threads() < before + WANTED:
    time.sleep(0.01)
print("refilm-idle" in {each.name for each in threading.enumerate()}, threads() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads as Linux does")
@pytest.mark.parametrize("policy", [None, "active"])
def test_a_team_of_idle_threads_is_kept_unless_the_user_has_a_policy(policy: str | None) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    if policy is not None:
        environment["OMP_WAIT_POLICY"] = policy
    wanted = (os.cpu_count() or 1) + 1  # one more than there are cores, which ends the long spinning
    done = subprocess.run(
        [sys.executable, "-c", CODE.replace("WANTED", str(wanted))],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    is_there, more = done.stdout.split()
    assert is_there == str(policy is None)
    assert policy or int(more) >= wanted
