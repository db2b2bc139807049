"""Jobs that attack from within their container: the machine, the engine, the worker, its next job."""

import docker
import pytest

from tests.hostile.conftest import LOG, StartVictim, Victim

MEMORY_MIB = 256
"""What jobs of this module get."""


@pytest.fixture(scope="module")
def victim(start_victim: StartVictim, docker_client: docker.DockerClient) -> Victim:
    """A worker that gives jobs little memory."""
    total_mib = docker_client.info()["MemTotal"] // 2**20
    return start_victim(MEMORY_RESERVE_MIB=str(total_mib - MEMORY_MIB))


REFUSED = {
    "mount_a_file_system": "mount -t tmpfs x /tmp && umount /tmp",
    "mount_the_host's_disk": "mknod /tmp/disk b 8 0 || mount /dev/sda1 /tmp",
    "make_a_device_of_the_memory": "mknod /tmp/mem c 1 1",
    "make_any_device_among_its_outputs": "mknod /files/output/null c 1 3",
    "change_the_kernel's_settings": "cat /proc/sys/kernel/panic > /proc/sys/kernel/panic",
    "set_the_clock": "adjtimex -t 10000",
    "change_the_network": "ip link set lo down && ip link set lo up",
    "listen_to_the_network": "ping -c 1 127.0.0.1",
    "read_the_kernel's_log": "dmesg > /dev/null",
    "enter_the_namespaces_of_others": "nsenter -t 1 -m -u -i -n -p true && unshare -m true",
    "make_a_user_namespace": "unshare -U true",
    "change_the_root": "chroot / true",
    "take_priority": "renice -n -20 -p $$",
    "take_the_disk_before_all_others": "ionice -c 1 true",
    "give_its_programs_a_capability": "setpriv --inh-caps +sys_admin --ambient-caps +sys_admin true",
}
OF_THE_MACHINE = {
    "use_the_kernel's_emergency_keys": "echo h > /proc/sysrq-trigger",
    "be_called_when_a_control_group_ends": "echo /x > /sys/fs/cgroup/memory/release_agent",
    "restart_the_machine": "reboot -f",
}
"""What the control below does not try, since it would be done."""
WOULD_DO = ("MKNOD", "NET_ADMIN", "NET_RAW", "SYSLOG", "SYS_ADMIN", "SYS_CHROOT", "SYS_NICE", "SYS_TIME")


def test_container_has_no_right_to_anything_of_the_machine(victim: Victim) -> None:
    lines = REFUSED | OF_THE_MACHINE
    jobs = {what: {"app": {"cmd": [f"( {line} ) && echo GRANTED"]}} for what, line in lines.items()}
    for what, fate in victim.attack_all(jobs, up={"output": "output"}).items():
        assert fate.status == "error", what
        assert "GRANTED" not in fate.log, what


def test_who_has_the_rights_could_do_all_of_that(docker_client: docker.DockerClient, job_image: str) -> None:
    """A control: none of the lines above fails for a reason of its own."""
    api = docker_client.api
    line = "\n".join(f'( {line} ) > /dev/null && echo "{what}"' for what, line in REFUSED.items())
    host_config = api.create_host_config(
        cap_add=list(WOULD_DO), security_opt=["seccomp=unconfined", "apparmor=unconfined"], network_mode="none"
    ) | {"ReadonlyPaths": [], "MaskedPaths": []}
    container = api.create_container(
        job_image, ["sh", "-c", f"mkdir -p /files/output\n{line}\ntrue"], host_config=host_config
    )["Id"]
    try:
        api.start(container)
        assert api.wait(container)["StatusCode"] == 0
        assert api.logs(container, stderr=False).decode().splitlines() == list(REFUSED), api.logs(container)
    finally:
        api.remove_container(container, force=True)


def test_setuid_program_gains_nothing(victim: Victim) -> None:
    """Without `no-new-privileges`, the copy of busybox would be root for whoever runs it."""
    line = (
        "echo u:x:1234:1234::/:/bin/sh >> /etc/passwd; cp /bin/busybox /tmp/; chmod 4755 /tmp/busybox;"
        " su u -c '/tmp/busybox su -c id'; grep -E '^(NoNewPrivs|CapBnd)' /proc/self/status"
    )
    fate = victim.attack(line)
    assert "must be suid to work properly" in fate.log
    assert "uid=0" not in fate.log
    assert "NoNewPrivs:\t1" in fate.log
    assert "CapBnd:\t00000000000000fb" in fate.log  # the seven of `confinement.CAPABILITIES`


def test_neither_the_worker_nor_the_engine_nor_other_jobs_are_to_be_found(victim: Victim) -> None:
    line = (
        "cat /proc/*/environ | tr '\\0' '\\n' | grep -E 'PASSWORD|SECRET|API_URL'; ls /proc | grep -c '^[0-9]*$';"
        " find / -xdev -type s; find / -xdev -name '*docker*'; ls /files/..; ls -A /files; grep -c /files /proc/mounts"
    )
    lines = victim.attack(line).log.splitlines()
    assert int(lines[0]) < 8  # processes: all of them its own
    assert [each for each in lines if "docker" in each] == ["/sbin/docker-init", "/.dockerenv"]
    assert "job.json" not in lines
    assert lines[-1] == "1"


@pytest.mark.usefixtures("memory_runs_out")
def test_fork_bomb_goes_off_below_the_limit_of_processes(victim: Victim) -> None:
    line = "i=0; while [ $i -lt 5000 ]; do sleep 600 & i=$((i + 1)); done; echo GRANTED"
    fate = victim.attack(line)
    assert fate.status == "error"
    assert "GRANTED" not in fate.log
    assert "can't fork" in fate.told or "killed for memory" in fate.told


@pytest.mark.usefixtures("memory_runs_out")
@pytest.mark.parametrize("line", ["tail /dev/zero", "x=x; while :; do x=$x$x; done", "cat /dev/zero | sort"])
def test_memory_hog_is_killed_and_its_user_told_why(victim: Victim, line: str) -> None:
    fate = victim.attack(f"exec {line}" if line.startswith("tail") else line)
    assert fate.status == "error"
    assert "memory" in fate.told


@pytest.mark.usefixtures("memory_runs_out")
@pytest.mark.parametrize(
    "line", ["tail /dev/zero; true", "(exec tail /dev/zero) & wait; echo on", "tail /dev/zero | true; sleep 0.5"]
)
def test_child_that_is_killed_for_memory_fails_a_command_that_ends_well(victim: Victim, line: str) -> None:
    """What it has made may be incomplete, although nobody looked at the child's exit code."""
    fate = victim.attack(f"echo made > /files/output/made; {line}", up={"output": "output"})
    assert fate.status == "error"
    assert fate.told.startswith("A process of the command was killed for memory, although the command ended with")
    assert fate.outputs["output/output/made"] == b"made\n"


def test_shared_memory_is_part_of_the_memory(victim: Victim) -> None:
    fate = victim.attack("dd if=/dev/zero of=/dev/shm/x bs=1M count=1000; df -m /dev/shm | awk 'END {print $2}'")
    assert fate.log.splitlines()[-1] == str(MEMORY_MIB // 2)
    assert "No space left on device" in fate.log


@pytest.mark.parametrize(
    ("line", "kept"),
    [("tr '\\0' x", 60_000_000), ("cat", 10_000_000)],
    ids=["letters", "NULs"],
)
def test_chatty_command_does_not_fill_the_engines_disk_and_the_log_says_that_it_was_cut(
    victim: Victim, line: str, kept: int
) -> None:
    fate = victim.attack(f"head -c 90000000 /dev/zero | {line}; echo the end")
    log = fate.outputs[LOG]
    assert fate.status == "finished"
    assert len(log) < kept + 1_000_000
    assert b"the end\n\n[job-fetcher] The last 60 MB of this log are kept" in log


def test_line_of_ten_megabytes_is_a_line(victim: Victim) -> None:
    fate = victim.attack("head -c 10485760 /dev/zero | tr '\\0' x")
    assert fate.outputs[LOG] == b"x" * 10 * 2**20
    assert len(fate.told) < 4000


def test_what_it_prints_is_text_for_its_user_and_nothing_for_the_worker(victim: Victim) -> None:
    """Control characters (a database refuses NUL, a terminal obeys the others), fake lines of logs, fake secrets."""
    line = (
        "printf '\\033[2J\\033]0;owned\\007NUL:\\0 BAD:\\377\\n2026-01-01 00:00:00 ERROR   forged\\n';"
        " echo 'Authorization: Bearer abc https://host/x?signature=abc'; exit 3"
    )
    fate = victim.attack(line)
    assert "NUL:\0 BAD:\ufffd" in fate.log
    assert "NUL: BAD:\ufffd" in fate.told
    assert all(each.isprintable() or each in "\n\t\ufffd" for each in fate.told)
    assert "forged" not in victim.worker.log


EXITS = {
    "exit 255": "exit code 255",
    "exit 300": "exit code 44",
    "exit 137": "exit code 137 (SIGKILL)",
    "exit 143": "exit code 143 (SIGTERM)",
    "exit 126": "exit code 126 (the command cannot be executed)",
    "kill -9 -1; exit 9": "exit code 9",
    "kill -9 $$; exit 5": "exit code 137 (SIGKILL)",
    "rm -rf /bin /etc /files/*; exit 4": "exit code 4",
    "chmod 000 / /bin /files; exit 6": "exit code 6",
}


@pytest.mark.usefixtures("memory_suffices")
def test_odd_end_is_told_as_it_was_and_the_command_is_not_run_again(victim: Victim) -> None:
    for line, fate in victim.attack_all({line: {"app": {"cmd": [f"echo once; {line}"]}} for line in EXITS}).items():
        assert (fate.status, fate.outputs[LOG].count(b"once")) == ("error", 1), line
        assert fate.told.startswith(f"The command ended with {EXITS[line]}."), line


def test_processes_that_it_leaves_behind_end_with_it(victim: Victim) -> None:
    fate = victim.attack("(trap '' TERM HUP INT; while :; do sleep 1; done) & setsid sleep 600 & echo left")
    assert (fate.status, fate.log) == ("finished", "left\n")


def test_command_that_ignores_sigterm_is_ended_with_its_job(victim: Victim) -> None:
    line = "trap '' TERM INT QUIT HUP; while :; do sleep 1; done"
    job = victim.platform.submit(line, image=victim.images.job)
    victim.platform.wait_for_status(job, "running", "error")
    victim.platform.cancel(job)
    victim.survive()
