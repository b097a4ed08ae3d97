"""A job on a Ray cluster gives the packets of one machine, also when a node is killed; several node processes here."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from media import CLIPS, even, packet_hashes, write

import refilm
from refilm.cli.main import run
from refilm.errors import JobError, UsageError
from refilm.jobs import ray_pool
from refilm.jobs.pieces import PieceSpec
from refilm.jobs.source import fingerprint
from refilm.jobs.work_folder import sha256

ray = pytest.importorskip("ray")
FILM = replace(CLIPS["b-frames"], times=even(120, 24), audio=("eng",))


@pytest.fixture(scope="module")
def cluster():
    """A head that makes no pieces, and two nodes with one processor each."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  # beside other tests, workers would wait for minutes
    own = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    own.workers = [own.add_node(num_cpus=1) for _ in range(2)]
    ray.init(own.address, log_to_driver=False, logging_level="ERROR")
    yield own
    ray.shutdown()
    own.shutdown()


def test_the_packets_are_those_of_one_machine_though_a_node_is_lost(cluster, tmp_path):
    film = write(tmp_path / "film.mp4", FILM).path
    options = {"times": 2, "model": "flow-blend", "threads": 1, "preset": "ultrafast"}
    here = refilm.interpolate(film, tmp_path / "here.mp4", **options)
    lost = []

    def lose_one(progress):
        if not lost:
            lost.append(cluster.workers.pop())
            cluster.remove_node(lost[0], allow_graceful=False)

    there = refilm.interpolate(film, tmp_path / "there.mp4", on="ray", on_progress=lose_one, **options)
    assert lost
    assert packet_hashes(tmp_path / "there.mp4", "v:0") == packet_hashes(tmp_path / "here.mp4", "v:0")
    assert (there.frames_in, there.frames_out) == (here.frames_in, here.frames_out)
    assert not list(tmp_path.glob("*.refilm"))


def test_a_command_that_is_killed_goes_on(cluster, tmp_path):
    film = write(tmp_path / "film.mp4", FILM).path
    options = ["--times", "2", "--model", "flow-blend", "--threads", "1", "--preset", "ultrafast"]
    command = [sys.executable, "-m", "refilm.cli.main", "interpolate", str(film), str(tmp_path / "there.mp4")]
    command += ["--on", "ray", *options]
    environment = os.environ | {"RAY_ADDRESS": cluster.address}
    killed = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    folder = tmp_path / "there.mp4.refilm"
    while not list(folder.glob("[0-9]*.json")) and killed.poll() is None:
        time.sleep(0.02)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL, "the job ended before it was killed"
    done = subprocess.run([*command, "--json"], env=environment, check=True, capture_output=True, text=True)
    start = next(event for event in map(json.loads, done.stdout.splitlines()) if event["event"] == "start")
    assert start["resumed_from"] > 0
    assert run(["interpolate", str(film), str(tmp_path / "here.mp4"), *options]) == 0
    assert packet_hashes(tmp_path / "there.mp4", "v:0") == packet_hashes(tmp_path / "here.mp4", "v:0")


def test_a_full_disk_is_told_apart_from_what_is_wrong_with_the_film(cluster, tmp_path, monkeypatch):
    def full(spec):
        raise OSError(errno.ENOSPC, "no space left")

    (tmp_path / "job.json").write_text("{}")
    film = write(tmp_path / "film.mp4", replace(FILM, times=even(4, 24))).path
    spec = PieceSpec(0, 24, film, None, None, None, True, None, None, None, None, tmp_path)
    order = ray_pool.Order(spec, 1, fingerprint(film), None, sha256(tmp_path / "job.json"))
    monkeypatch.setattr(ray_pool, "make_piece", full)
    with pytest.raises(ray_pool._DiskFullError, match=r"the disk of .* is full") as told:
        ray_pool._make(order)
    assert told.value.node in {node["NodeID"] for node in ray.nodes()}
    with pytest.raises(JobError, match=r"has refilm .*, wanted \('0.0', '0'\)"):
        ray_pool._make(replace(order, versions=("0.0", "0")))


def test_a_source_that_a_worker_does_not_see_is_fetched_by_its_content(cluster, tmp_path, monkeypatch):
    film = write(tmp_path / "film.mp4", replace(FILM, times=even(30, 24))).path
    monkeypatch.setattr(ray_pool.RayPool, "_everywhere", lambda *_: [False])
    pools = []
    made = ray_pool.RayPool.__init__

    def note(pool, *arguments):
        made(pool, *arguments)
        # as it is for machines that see neither the film nor the work folder
        pool._order = replace(pool._order, source="another", job="another")
        pools.append(pool._order)

    monkeypatch.setattr(ray_pool.RayPool, "__init__", note)
    options = {"times": 2, "model": "flow-blend", "threads": 1, "preset": "ultrafast"}
    refilm.interpolate(film, tmp_path / "there.mp4", on="ray", **options)
    monkeypatch.undo()
    refilm.interpolate(film, tmp_path / "here.mp4", **options)
    assert packet_hashes(tmp_path / "there.mp4", "v:0") == packet_hashes(tmp_path / "here.mp4", "v:0")
    fetched = Path(os.environ.get("TMPDIR", "/tmp")) / "refilm-sources" / f"{pools[0].content[0]}.mp4"
    assert fetched.read_bytes() == film.read_bytes()
    fetched.unlink()


def test_wrong_usage(tmp_path):
    film = write(tmp_path / "film.mp4", replace(FILM, times=even(4, 24))).path
    for wrong, said in (
        ({"on": "spark"}, "takes ray, or an address"),
        ({"on": "ray", "preview": 1}, "made on this machine"),
    ):
        with pytest.raises(UsageError, match=said):
            refilm.denoise(film, tmp_path / "out.mp4", **wrong)
    with pytest.raises(UsageError, match="needs files"):
        refilm.denoise(film, "-", on="ray")
    with pytest.raises(UsageError, match="written to a file"):
        refilm.recognize(film, on="ray")
